//! Measures the store in memory beside governor and limitador, in nanoseconds of CPU per
//! operation.
//!
//! One thread, 1 000 users that come in turn, no limit that is ever reached, the clock included:
//!
//! - ours: reserve and commit over three windows. "The store alone" gets requests that were made
//!   before; "whole" also makes the request with its id, as a caller does.
//! - governor: `check_key(&String)` of one counter, which neither reserves nor commits.
//! - limitador: `reserve` and `commit_reservation` of one counter.
//!
//! The contenders take turns in batches; ratios are medians over the rounds.

use std::{hint::black_box, num::NonZeroU32, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bench::{Contender, goal, goal_at_least, goals, per_operation, take_turns};
use governor::{Quota, RateLimiter};
use limitador::limit::{Context, Expression, Limit};
use quota_store::{
    Amount, Bound, Commit, CounterKey, CounterStore, Decision, Hold, Holds, KnownGeneration,
    MemoryCounterStore, MemoryOptions, Orphans, QuotaName, Requester, ReservationId, Reserve,
    Scope, Sends, SystemClock, UnixMillis, UserId, Window, WindowSpan,
};
use smallvec::smallvec;
use tokio::runtime::Runtime;

const USERS: u32 = 1_000;
const ROUNDS: usize = 301;
/// limitador is so much slower that fewer of its operations do.
const LIMITADOR_USERS: u32 = 100;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let ours = Ours::new()?;
    let names: Vec<String> = (0..USERS).map(|user| format!("user-{user:08}")).collect();
    let governor = RateLimiter::keyed(Quota::per_second(NonZeroU32::MAX));
    let limitador = limitador::RateLimiter::new(u64::from(USERS));
    limitador.add_limit(Limit::new(
        "api",
        1 << 52,
        86_400,
        [],
        [Expression::parse("user")?],
    ));
    let contexts: Vec<Context<'_>> = names
        .iter()
        .map(|name| {
            Context::from(
                [("user".to_owned(), name.clone())]
                    .into_iter()
                    .collect::<std::collections::HashMap<_, _>>(),
            )
        })
        .collect();
    let namespace = "api".into();

    let series = take_turns(
        ROUNDS,
        vec![
            Contender::new("governor: check_key", || {
                per_operation(USERS, || {
                    for name in &names {
                        black_box(governor.check_key(black_box(name))).ok();
                    }
                })
            }),
            Contender::new("ours: reserve + commit, the store alone", || {
                let requests: Vec<_> = ours.requests().collect();
                per_operation(USERS, || ours.run(&runtime, requests.iter().cloned()))
            }),
            Contender::new("ours: reserve + commit, whole", || {
                per_operation(USERS, || ours.run(&runtime, ours.requests()))
            }),
            Contender::new("limitador: reserve + commit_reservation", || {
                let ttl = Some(Duration::from_secs(30));
                per_operation(LIMITADOR_USERS, || {
                    for context in contexts.iter().take(LIMITADOR_USERS as usize) {
                        let held = limitador
                            .reserve(&namespace, context, 1, ttl)
                            .ok()
                            .and_then(|held| held.reservation_id)
                            .expect("no limit is reached");
                        let committed =
                            limitador.commit_reservation(&namespace, context, Some(&held), 1);
                        assert!(committed.is_ok(), "it is charged");
                    }
                })
            }),
        ],
    );
    println!("| memory, 1 000 users, 1 thread | ns, median | of governor |\n| --- | --- | --- |");
    for one in &series {
        let (name, median) = (&one.name, one.median());
        println!("| {name} | {median:.0} | {:.2} |", one.ratio(&series[0]));
    }
    goals();
    goal(
        "the store alone, times governor",
        series[1].ratio(&series[0]),
        4.0,
    );
    goal("whole, times governor", series[2].ratio(&series[0]), 4.0);
    goal_at_least(
        "limitador, times the store alone",
        series[3].ratio(&series[1]),
        30.0,
    );
    goal_at_least("limitador, times whole", series[3].ratio(&series[2]), 30.0);
    Ok(())
}

struct Ours {
    store: MemoryCounterStore,
    requesters: Vec<Requester>,
    holds: Holds,
}

impl Ours {
    fn new() -> Result<Self> {
        let store = MemoryCounterStore::new(&MemoryOptions::default(), SystemClock);
        let quota = QuotaName::new("messages")?;
        let now = store.now();
        let hold = |window| {
            Some(Hold {
                counter: CounterKey {
                    scope: Scope::User,
                    quota: quota.clone(),
                    window,
                    span: WindowSpan::new(
                        UnixMillis::from_seconds(now.seconds()),
                        now.saturating_add(Duration::from_hours(1)),
                    )?,
                }.into(),
                hard: Bound::AtMost(Amount::MAX),
                amount: Amount::ONE,
            })
        };
        let holds: Option<Holds> = [Window::Minute, Window::Day, Window::Month]
            .into_iter()
            .map(hold)
            .collect();
        let requesters = (0..USERS).map(|user| {
            Ok(Requester {
                tenant: None,
                user: UserId::new(&format!("user-{user:08}"))?,
            })
        });
        Ok(Self {
            store,
            requesters: requesters.collect::<Result<_>>()?,
            holds: holds.context("the windows are not empty")?,
        })
    }

    fn requests(&self) -> impl Iterator<Item = Arc<Reserve>> {
        self.requesters.iter().map(|requester| {
            let now = self.store.now();
            Arc::new(Reserve {
                id: ReservationId::generate(now),
                requester: requester.clone(),
                not_after: now.saturating_add(Duration::from_secs(10)),
                ttl: Duration::from_secs(30),
                user_generation: KnownGeneration::Untracked,
                plans_generation: KnownGeneration::Untracked,
                tenant_generation: KnownGeneration::Untracked,
                max_in_flight: 100,
                orphans: Orphans::Release,
                holds: self.holds.clone(),
            })
        })
    }

    fn run(&self, runtime: &Runtime, requests: impl Iterator<Item = Arc<Reserve>>) {
        runtime.block_on(async {
            for request in requests {
                let decision = self.store.reserve(&request, Sends::Once).await;
                let Ok(Decision::Allowed(allowed)) = decision else {
                    panic!("{decision:?}");
                };
                let commit = Commit {
                    reservation: allowed.reservation,
                    amounts: smallvec![Amount::ONE; 3],
                    attempt: None,
                };
                black_box(self.store.commit(&commit).await).expect("it is charged");
            }
        });
    }
}

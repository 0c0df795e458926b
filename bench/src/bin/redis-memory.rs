//! Measures the bytes that an idle subject with four counters takes in Redis.
//!
//! 10 000 users, without a tenant, with ids of 16 bytes; four quotas with names of 12 bytes, each
//! over one month. One request of each user is reserved and committed. The figure is the
//! difference of `used_memory` over the number of users.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bench::{RedisServer, goal, goals};
use quota_store::{
    Amount, Bound, Commit, CounterKey, CounterStore, Decision, Hold, Holds, KnownGeneration,
    Orphans, QuotaName, RedisCounterStore, RedisOptions, Requester, ReservationId, Reserve, Scope,
    Sends, SystemClock, UnixMillis, UserId, Window, WindowSpan,
};
use smallvec::smallvec;

const USERS: u32 = 10_000;
const QUOTAS: [&str; 4] = [
    "messages_in1",
    "messages_out",
    "tokens_input",
    "tokens_outpt",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let server = RedisServer::start().await?;
    let options = RedisOptions::new(server.url().parse()?);
    let store = RedisCounterStore::connect(options, Arc::new(SystemClock)).await?;
    // The scripts and the connections are there before the first reading.
    charge(&store, USERS).await?;
    let before = server.info("used_memory").await?;
    for user in 0..USERS {
        charge(&store, user).await?;
    }
    let after = server.info("used_memory").await?;
    let bytes = (after - before) / f64::from(USERS);
    goals();
    goal(
        "bytes in Redis of an idle subject with 4 counters",
        bytes,
        320.0,
    );
    Ok(())
}

async fn charge(store: &RedisCounterStore, user: u32) -> Result<()> {
    let now = store.now();
    let day = Duration::from_hours(24);
    let start = UnixMillis::from_seconds(now.seconds() - day.as_secs());
    let span = WindowSpan::new(start, now.saturating_add(29 * day));
    let span = span.context("the window is not empty")?;
    let hold = |quota: &str| {
        Ok(Hold {
            counter: CounterKey {
                scope: Scope::User,
                quota: QuotaName::new(quota)?,
                window: Window::Month,
                span,
            }.into(),
            hard: Bound::AtMost(Amount::MAX),
            amount: Amount::ONE,
        })
    };
    let request = Arc::new(Reserve {
        id: ReservationId::generate(now),
        requester: Requester {
            tenant: None,
            user: UserId::new(&format!("user-{user:011}"))?,
        },
        not_after: now.saturating_add(Duration::from_secs(10)),
        ttl: Duration::from_secs(30),
        user_generation: KnownGeneration::Untracked,
        plans_generation: KnownGeneration::Untracked,
        tenant_generation: KnownGeneration::Untracked,
        max_in_flight: 100,
        orphans: Orphans::Release,
        holds: QUOTAS
            .iter()
            .copied()
            .map(hold)
            .collect::<Result<Holds>>()?,
    });
    let Decision::Allowed(allowed) = store.reserve(&request, Sends::Once).await? else {
        anyhow::bail!("the store denied a request");
    };
    let commit = Commit {
        reservation: allowed.reservation,
        amounts: smallvec![Amount::ONE; 4],
        attempt: None,
    };
    store.commit(&commit).await?;
    Ok(())
}

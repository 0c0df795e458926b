use std::{
    future::pending,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{breaker::monotonic_now, *};
use crate::{
    Bound, CounterStore, Generation, Hold, KnownGeneration, Orphans, QuotaName, ReservationId,
    Scope, UserId, Window, WindowSpan,
};

mod breaker;
mod policies;
mod prompt;

const TIMEOUT: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Answer,
    /// Answers after ten milliseconds.
    AnswerLater,
    Fail(StoreErrorKind),
    Hang,
}

/// Does what it is told, and counts how often it was asked; a `PROMPT` one says that it never
/// waits.
struct Double<const PROMPT: bool = false> {
    behaviour: Mutex<Behaviour>,
    asked: AtomicUsize,
    now: Mutex<UnixMillis>,
}

impl Double {
    fn new(behaviour: Behaviour) -> Arc<Self> {
        Self::of(behaviour)
    }
}

impl Double<true> {
    fn prompt(behaviour: Behaviour) -> Arc<Self> {
        Self::of(behaviour)
    }
}

impl<const PROMPT: bool> Double<PROMPT> {
    fn of(behaviour: Behaviour) -> Arc<Self> {
        Arc::new(Self {
            behaviour: Mutex::new(behaviour),
            asked: AtomicUsize::new(0),
            now: Mutex::new(UnixMillis::new(500)),
        })
    }

    fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn answer<T>(&self, answer: T) -> Result<T, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let behaviour = *self.behaviour.lock().unwrap();
        match behaviour {
            Behaviour::Answer => Ok(answer),
            Behaviour::AnswerLater => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(answer)
            }
            Behaviour::Fail(kind) => Err(StoreError::new(kind, "as told")),
            Behaviour::Hang => pending().await,
        }
    }
}

impl<const PROMPT: bool> CounterStore for Double<PROMPT> {
    const NEVER_WAITS: bool = PROMPT;

    fn now(&self) -> UnixMillis {
        *self.now.lock().unwrap()
    }
    async fn advance_plans(&self, _: Generation) -> Result<(), StoreError> {
        self.answer(()).await
    }
    async fn reserve(&self, _: &Arc<Reserve>, _: Sends) -> Result<Decision, StoreError> {
        self.answer(Decision::Void).await
    }
    async fn commit(&self, _: &Commit) -> Result<Settled, StoreError> {
        self.answer(Settled::Already).await
    }
    async fn release(&self, _: &Reservation) -> Result<Settled, StoreError> {
        self.answer(Settled::Already).await
    }
    async fn abort(&self, _: &Arc<Reserve>) -> Result<Settled, StoreError> {
        self.answer(Settled::Already).await
    }
    async fn correct(&self, _: &Correction) -> Result<Settled, StoreError> {
        self.answer(Settled::Already).await
    }
    async fn renew(&self, _: &[Reservation]) -> Result<Vec<Renewed>, StoreError> {
        self.answer(Vec::new()).await
    }
    async fn read(&self, _: &Requester, _: &[CounterKey]) -> Result<Vec<CounterValue>, StoreError> {
        self.answer(Vec::new()).await
    }
    async fn administer(&self, _: &Operation) -> Result<Administered, StoreError> {
        self.answer(Administered::Generation(Generation(1))).await
    }
    async fn check(&self) -> Result<(), StoreError> {
        self.answer(()).await
    }
}

fn guard<const PROMPT: bool>(double: &Arc<Double<PROMPT>>) -> GuardedStore {
    GuardedStore::new(
        Arc::<Double<PROMPT>>::clone(double),
        GuardOptions::default(),
    )
}

fn amount(units: u64) -> Amount {
    Amount::new(units).unwrap()
}

fn hold(quota: &str, hard: Bound, units: u64) -> Hold {
    let span = WindowSpan::new(UnixMillis::new(0), UnixMillis::new(1000)).unwrap();
    Hold {
        counter: CounterKey {
            scope: Scope::User,
            quota: QuotaName::new(quota).unwrap(),
            window: Window::Second,
            span,
        }
        .into(),
        hard,
        amount: amount(units),
    }
}

fn request(user: &str, holds: &[Hold]) -> Arc<Reserve> {
    Arc::new(Reserve {
        id: ReservationId::generate(UnixMillis::new(500)),
        requester: Requester {
            tenant: None,
            user: UserId::new(user).unwrap(),
        },
        not_after: UnixMillis::new(20_000),
        ttl: Duration::from_secs(30),
        user_generation: KnownGeneration::Untracked,
        plans_generation: KnownGeneration::Untracked,
        tenant_generation: KnownGeneration::Untracked,
        max_in_flight: 100,
        orphans: Orphans::Release,
        holds: holds.iter().cloned().collect(),
    })
}

/// One unit of a limit of 100.
fn one() -> Arc<Reserve> {
    request("alice", &[hold("messages", Bound::AtMost(amount(100)), 1)])
}

async fn open(guarded: &GuardedStore, double: &Double) {
    double.set(Behaviour::Fail(StoreErrorKind::Unreachable));
    while guarded.breaker_state() == BreakerState::Closed {
        guarded.check().await.unwrap_err();
    }
}

#[track_caller]
fn unavailable(admission: Admission) -> Unavailable {
    match admission {
        Admission::Unavailable(unavailable) => unavailable,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn let_through(admission: Admission) -> LetThrough {
    match admission {
        Admission::LetThrough(let_through) => let_through,
        other => panic!("{other:?}"),
    }
}

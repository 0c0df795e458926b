//! What the store in memory keeps, and what it drops.

use smallvec::smallvec;

use super::*;
use crate::{
    Amount, Bound, Generation, Hold, KnownGeneration, Orphans, QuotaName, ReservationId, Scope,
    StoreErrorKind, UserId, Window, WindowSpan,
};

fn span(from: UnixMillis, length: Duration) -> WindowSpan {
    WindowSpan::new(from, from.saturating_add(length)).unwrap()
}

fn ask(user: &str, span: WindowSpan, now: UnixMillis) -> Arc<Reserve> {
    let counter = CounterKey {
        scope: Scope::User,
        quota: QuotaName::new("messages").unwrap(),
        window: Window::Hour,
        span,
    };
    let hold = Hold {
        counter: counter.into(),
        hard: Bound::Unlimited,
        amount: Amount::ONE,
    };
    Arc::new(Reserve {
        id: ReservationId::generate(now),
        requester: Requester {
            tenant: None,
            user: UserId::new(user).unwrap(),
        },
        not_after: now.saturating_add(Duration::from_secs(10)),
        ttl: Duration::from_secs(30),
        user_generation: KnownGeneration::Untracked,
        plans_generation: KnownGeneration::Untracked,
        tenant_generation: KnownGeneration::Untracked,
        max_in_flight: 100,
        orphans: Orphans::Release,
        holds: [hold].into(),
    })
}

impl Memory {
    /// Reserves a unit in a window of an hour from `START` on.
    pub(super) async fn reserve(&self, user: &str) -> Result<Reservation, StoreErrorKind> {
        self.reserve_in(user, span(START, Duration::from_hours(1)))
            .await
    }

    async fn reserve_in(
        &self,
        user: &str,
        span: WindowSpan,
    ) -> Result<Reservation, StoreErrorKind> {
        let request = ask(user, span, self.clock.now());
        match self.store.reserve(&request, Sends::Once).await {
            Ok(Decision::Allowed(allowed)) => Ok(allowed.reservation),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.kind()),
        }
    }

    pub(super) async fn commit(&self, reservation: Reservation) {
        let amounts = smallvec![Amount::ONE];
        let commit = Commit {
            reservation,
            amounts,
            attempt: None,
        };
        let settled = self.store.commit(&commit).await.unwrap();
        assert!(matches!(settled, Settled::Done(_)), "{settled:?}");
    }

    pub(super) async fn used(&self, user: &str) -> u64 {
        let request = ask(user, span(START, Duration::from_hours(1)), START);
        let counters = [(*request.holds[0].counter).clone()];
        let values = self.store.read(&request.requester, &counters).await;
        values.unwrap()[0].used.get()
    }

    /// How many subjects, counters and records the shards count.
    fn kept(&self) -> (usize, usize, usize) {
        let shards = self.store.shards.iter().map(Part::lock);
        shards.fold((0, 0, 0), |(subjects, counters, records), shard| {
            (
                subjects + shard.subject_room.used(),
                counters + shard.counter_room.used(),
                records + shard.record_room.used(),
            )
        })
    }

    /// Sweeps as often as it takes to come by every subject.
    fn sweep_all(&self) {
        for _ in 0..4 {
            self.store.sweep();
        }
    }
}

#[tokio::test]
async fn new_subjects_are_refused_at_the_limit_and_old_ones_are_not() {
    let memory = Memory::with(&MemoryOptions::default().with_max_subjects(5));
    for user in 0..5 {
        let held = memory.reserve(&user.to_string()).await.unwrap();
        memory.commit(held).await;
    }
    assert_eq!(
        memory.reserve("new").await.err(),
        Some(StoreErrorKind::Full)
    );
    for user in 0..5 {
        memory.reserve(&user.to_string()).await.unwrap();
        assert_eq!(memory.used(&user.to_string()).await, 1);
    }
}

#[tokio::test]
async fn clients_without_a_token_fill_a_tenth_at_most() {
    let memory = Memory::with(&MemoryOptions::default().with_max_subjects(20));
    let client = |number: u32| format!("{}10.0.0.{number}", UserId::ANONYMOUS_PREFIX);
    for number in 0..2 {
        let held = memory.reserve(&client(number)).await.unwrap();
        memory.commit(held).await;
    }
    assert_eq!(
        memory.reserve(&client(2)).await.err(),
        Some(StoreErrorKind::Full)
    );
    for user in 0..18 {
        memory.reserve(&user.to_string()).await.unwrap();
    }
    // A client that is known goes on, and one that was forgotten makes room.
    memory.reserve(&client(0)).await.unwrap();
    memory.clock.advance(Duration::from_hours(2));
    memory.sweep_all();
    let later = span(memory.clock.now(), Duration::from_hours(1));
    memory.reserve_in(&client(2), later).await.unwrap();
}

#[tokio::test]
async fn a_counter_is_kept_as_long_as_its_window_and_the_memory_last() {
    let memory = Memory::with(&MemoryOptions::default().with_max_subjects(1));
    let held = memory.reserve("old").await.unwrap();
    memory.commit(held).await;
    // The window lasts an hour, the memory 15 + 10 minutes.
    memory
        .clock
        .advance(Duration::from_mins(85) - Duration::from_millis(1));
    memory.sweep_all();
    assert_eq!(memory.used("old").await, 1);
    assert_eq!(memory.kept(), (1, 1, 0));
    memory.clock.advance(Duration::from_millis(1));
    memory.sweep_all();
    assert_eq!(memory.used("old").await, 0);
    assert_eq!(memory.kept(), (0, 0, 0));

    let now = span(memory.clock.now(), Duration::from_hours(1));
    memory.reserve_in("new", now).await.unwrap();
}

#[tokio::test]
async fn a_lifetime_and_a_live_reservation_are_never_forgotten() {
    let memory = Memory::start().await;
    let held = memory.reserve_in("lifetime", WindowSpan::LIFETIME).await;
    memory.commit(held.unwrap()).await;
    let live = memory.reserve("live").await.unwrap();
    for _ in 0..100 {
        memory.clock.advance(Duration::from_secs(20));
        let renewed = memory.store.renew(std::slice::from_ref(&live)).await;
        assert_eq!(renewed.unwrap(), [Renewed::Held]);
        memory.sweep_all();
    }
    assert_eq!(memory.kept(), (2, 2, 1));
    memory.clock.advance(Duration::from_hours(10_000));
    memory.sweep_all();
    assert_eq!(
        memory.kept(),
        (1, 1, 1),
        "a lifetime, and the marker of the expiry"
    );
    memory.clock.advance(Duration::from_mins(25));
    memory.sweep_all();
    assert_eq!(memory.kept(), (1, 1, 0));
}

#[tokio::test]
async fn reservations_and_counters_are_refused_at_their_limits() {
    let memory = Memory::with(&MemoryOptions::default().with_max_records(3));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(memory.reserve("ama").await.unwrap());
    }
    assert_eq!(
        memory.reserve("ama").await.err(),
        Some(StoreErrorKind::Full)
    );
    memory.commit(held.remove(0)).await;
    memory.reserve("ama").await.unwrap();

    let memory = Memory::with(&MemoryOptions::default().with_max_counters(1));
    memory.reserve("ama").await.unwrap();
    assert_eq!(
        memory.reserve("kofi").await.err(),
        Some(StoreErrorKind::Full)
    );
    memory.reserve("ama").await.unwrap();
}

#[tokio::test]
async fn a_generation_outlives_its_last_change_by_ten_minutes() {
    let memory = Memory::start().await;
    let mut request = (*ask("ama", span(START, Duration::from_hours(1)), START)).clone();
    request.user_generation = KnownGeneration::Fresh(Generation(4));
    let request = Arc::new(request);
    let decision = memory.store.reserve(&request, Sends::Once).await.unwrap();
    let Decision::Allowed(allowed) = decision else {
        panic!("{decision:?}");
    };
    memory.store.release(&allowed.reservation).await.unwrap();
    memory
        .clock
        .advance(Duration::from_mins(10) - Duration::from_millis(1));
    memory.sweep_all();
    assert_eq!(memory.kept().0, 1);
    memory.clock.advance(Duration::from_millis(1));
    memory.sweep_all();
    assert_eq!(memory.kept(), (0, 0, 0));
}

#[tokio::test]
async fn windows_of_a_second_that_passed_are_dropped_while_new_ones_come() {
    let memory = Memory::start().await;
    for _ in 0..3_000 {
        let second = span(memory.clock.now(), Duration::from_secs(1));
        let held = memory.reserve_in("ama", second).await.unwrap();
        memory.commit(held).await;
        memory.clock.advance(Duration::from_secs(1));
    }
    // The present second and those that ended within the last 25 minutes.
    assert_eq!(memory.kept(), (1, 1_501, 0));
}

#[tokio::test(start_paused = true)]
async fn the_sweeper_frees_what_expired_and_ends_with_the_store() {
    let memory = Memory::start().await;
    let tasks = tokio::runtime::Handle::current();
    memory.store.start_sweeper();
    let _held = memory.reserve("ama").await.unwrap();
    memory.clock.advance(Duration::from_mins(1));
    tokio::time::advance(Duration::from_secs(1)).await;
    while memory.leftovers().await != Vec::<String>::new() {
        tokio::task::yield_now().await;
    }
    drop(memory);
    tokio::time::advance(Duration::from_secs(1)).await;
    while tasks.metrics().num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

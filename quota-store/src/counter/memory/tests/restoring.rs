//! Counters that come back, and reservations that nobody settled.

use tokio::sync::mpsc;

use super::{Memory, START};
use crate::{
    Amount, Bound, CounterKey, CounterStore as _, Hold, KnownGeneration, MemoryOptions, Orphans,
    Requester, ReservationId, Reserve, Scope, Sends, StoreErrorKind, Subject, TenantId, UserId,
    Window, WindowSpan, ledger::Balance,
};
use std::{sync::Arc, time::Duration};

fn key(scope: Scope) -> CounterKey {
    CounterKey {
        scope,
        quota: "messages".parse().unwrap(),
        window: Window::Lifetime,
        span: WindowSpan::LIFETIME,
    }
}

fn member(name: &str) -> Requester {
    Requester {
        tenant: Some(TenantId::new("acme").unwrap()),
        user: UserId::new(name).unwrap(),
    }
}

fn balance(requester: &Requester, scope: Scope, used: u64) -> Balance {
    Balance {
        subject: requester.subject(scope).unwrap(),
        counter: key(scope),
        used: Amount::saturating(used),
    }
}

#[tokio::test]
async fn counters_come_back_and_are_never_lowered() {
    let memory = Memory::with(&MemoryOptions::default());
    let ama = member("ama");
    let balances = [
        balance(&ama, Scope::User, 7),
        balance(&ama, Scope::Tenant, 9),
        balance(&member("bob"), Scope::User, 1),
    ];
    memory.store.restore(&balances).unwrap();
    memory
        .store
        .restore(&[balance(&ama, Scope::User, 3)])
        .unwrap();
    let counters = [key(Scope::User), key(Scope::Tenant)];
    let read = memory.store.read(&ama, &counters).await.unwrap();
    let used: Vec<u64> = read.iter().map(|value| value.used.get()).collect();
    assert_eq!(used, [7, 9]);
}

#[tokio::test]
async fn more_counters_than_there_is_room_for_are_told() {
    let memory = Memory::with(&MemoryOptions::default().with_max_subjects(1));
    let ids = ["ama", "bob"].map(member);
    let balances = ids.map(|requester| balance(&requester, Scope::User, 1));
    let error = memory.store.restore(&balances).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
    assert!(matches!(balances[0].subject, Subject::User { .. }));
}

#[tokio::test]
async fn who_listens_hears_of_each_reservation_that_expired() {
    let (sender, mut expired) = mpsc::unbounded_channel();
    let memory = Memory::with(&MemoryOptions::default().with_expired(sender));
    let request = |orphans| {
        Arc::new(Reserve {
            id: ReservationId::generate(START),
            requester: member("ama"),
            not_after: START.saturating_add(Duration::from_secs(1)),
            ttl: Duration::from_secs(1),
            user_generation: KnownGeneration::Untracked,
            tenant_generation: KnownGeneration::Untracked,
            plans_generation: KnownGeneration::Untracked,
            max_in_flight: 9,
            orphans,
            holds: [Hold {
                counter: Arc::new(key(Scope::User)),
                hard: Bound::Unlimited,
                amount: Amount::saturating(4),
            }]
            .into(),
        })
    };
    let requests = [Orphans::Release, Orphans::Charge].map(request);
    for request in &requests {
        drop(memory.store.reserve(request, Sends::Once).await.unwrap());
    }
    memory.store.sweep();
    assert!(expired.try_recv().is_err());
    memory.clock.advance(Duration::from_secs(1));
    memory.store.sweep();
    memory.store.sweep();
    let mut heard: Vec<_> = std::iter::from_fn(|| expired.try_recv().ok())
        .map(|reservation| (reservation.request.id, reservation.request.orphans))
        .collect();
    heard.sort_unstable_by_key(|(id, _)| *id);
    let mut sent: Vec<_> = requests.iter().map(|one| (one.id, one.orphans)).collect();
    sent.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(heard, sent);
}

//! What becomes of requests while the store is down.

use smallvec::smallvec;

use super::*;

/// How many of `count` requests pass.
async fn passed(guarded: &GuardedStore, request: &Arc<Reserve>, count: usize) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        if let Admission::LetThrough(through) =
            guarded.reserve(request, OnStoreFailure::Allow).await
        {
            assert!(through.ticket.is_none());
            passed += 1;
        }
    }
    passed
}

#[tokio::test(start_paused = true)]
async fn no_failure_becomes_a_denial_under_any_policy() {
    use StoreErrorKind::{Corrupt, Forbidden, Full, Invalid, NotServing, Unknown, Unreachable};
    for kind in [
        Corrupt,
        Forbidden,
        Full,
        Invalid,
        NotServing,
        Unknown,
        Unreachable,
    ] {
        for policy in [
            OnStoreFailure::Deny,
            OnStoreFailure::Allow,
            OnStoreFailure::Local,
        ] {
            let guarded = guard(&Double::new(Behaviour::Fail(kind)));
            let abort = if matches!(kind, Unknown | Corrupt) {
                Abort::Required
            } else {
                Abort::NotNeeded
            };
            let admission = guarded.reserve(&one(), policy).await;
            if policy == OnStoreFailure::Deny || kind == Invalid {
                let unavailable = unavailable(admission);
                assert_eq!((unavailable.kind, unavailable.abort), (kind, abort));
            } else {
                let through = let_through(admission);
                assert_eq!((through.kind, through.abort), (kind, abort));
                assert_eq!(through.ticket.is_some(), policy == OnStoreFailure::Local);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn allow_lets_a_hundred_units_of_a_counter_through_in_one_outage() {
    let double = Double::new(Behaviour::Answer);
    let guarded = guard(&double);
    open(&guarded, &double).await;
    let hard = Bound::AtMost(amount(1000));
    assert_eq!(passed(&guarded, &one(), 150).await, 100);
    let tens = request("bob", &[hold("messages", hard, 10)]);
    assert_eq!(passed(&guarded, &tens, 50).await, 10);
    // Nothing is taken of one counter when the other has no room.
    let both = request("bob", &[hold("tokens", hard, 1), hold("messages", hard, 1)]);
    assert_eq!(passed(&guarded, &both, 1).await, 0);
    let tokens = request("bob", &[hold("tokens", hard, 100)]);
    assert_eq!(passed(&guarded, &tokens, 1).await, 1);
    let small = request("bob", &[hold("exports", Bound::AtMost(amount(3)), 1)]);
    assert_eq!(passed(&guarded, &small, 10).await, 3);
    // A long outage without traffic is one all the same.
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(passed(&guarded, &one(), 10).await, 0);

    double.set(Behaviour::Answer);
    tokio::time::advance(Duration::from_secs(3)).await;
    guarded.check().await.unwrap();
    open(&guarded, &double).await;
    assert_eq!(passed(&guarded, &one(), 150).await, 100);
}

#[tokio::test(start_paused = true)]
async fn single_failures_share_one_allowance_until_they_stop() {
    let double = Double::new(Behaviour::Answer);
    let guarded = guard(&double);
    let mut through = 0;
    for _ in 0..150 {
        double.set(Behaviour::Fail(StoreErrorKind::Unreachable));
        through += passed(&guarded, &one(), 1).await;
        double.set(Behaviour::Answer);
        guarded.check().await.unwrap();
    }
    assert_eq!(through, 100);
    tokio::time::advance(Duration::from_secs(10)).await;
    double.set(Behaviour::Fail(StoreErrorKind::Unreachable));
    assert_eq!(passed(&guarded, &one(), 1).await, 1);
}

async fn locally(guarded: &GuardedStore, request: &Arc<Reserve>) -> Option<LocalTicket> {
    match guarded.reserve(request, OnStoreFailure::Local).await {
        Admission::LetThrough(through) => Some(through.ticket.unwrap()),
        Admission::Unavailable(_) => None,
        Admission::Decided(_) => panic!("the store decided"),
    }
}

#[tokio::test(start_paused = true)]
async fn local_spends_a_tenth_of_the_hard_limit_and_a_dropped_ticket_gives_back() {
    let double = Double::new(Behaviour::Answer);
    let guarded = guard(&double);
    open(&guarded, &double).await;
    let mut tickets = Vec::new();
    while let Some(ticket) = locally(&guarded, &one()).await {
        tickets.push(ticket);
    }
    assert_eq!(tickets.len(), 10);
    tickets.truncate(7);
    for ticket in tickets {
        ticket.commit(&smallvec![Amount::ONE]);
    }
    let mut tickets = Vec::new();
    while let Some(ticket) = locally(&guarded, &one()).await {
        tickets.push(ticket);
    }
    assert_eq!(tickets.len(), 3);
    drop(tickets);

    // The share is the window's: another outage adds nothing to it.
    double.set(Behaviour::Answer);
    tokio::time::advance(Duration::from_secs(3)).await;
    guarded.check().await.unwrap();
    open(&guarded, &double).await;
    let three = request("alice", &[hold("messages", Bound::AtMost(amount(100)), 3)]);
    let four = request("alice", &[hold("messages", Bound::AtMost(amount(100)), 4)]);
    assert!(locally(&guarded, &four).await.is_none());
    assert!(locally(&guarded, &three).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn local_rounds_down_and_lets_unlimited_and_zero_holds_pass() {
    let guarded = guard(&Double::new(Behaviour::Fail(StoreErrorKind::Full)));
    let small = Bound::AtMost(amount(9));
    assert!(
        locally(&guarded, &request("a", &[hold("messages", small, 1)]))
            .await
            .is_none()
    );
    let zero = request("a", &[hold("messages", small, 0)]);
    assert!(locally(&guarded, &zero).await.is_some());
    let unlimited = request("a", &[hold("messages", Bound::Unlimited, 5_000)]);
    assert!(locally(&guarded, &unlimited).await.is_some());
    let both = request(
        "a",
        &[
            hold("tokens", Bound::AtMost(amount(10)), 1),
            hold("messages", small, 1),
        ],
    );
    assert!(locally(&guarded, &both).await.is_none());
    let tokens = request("a", &[hold("tokens", Bound::AtMost(amount(10)), 1)]);
    assert!(locally(&guarded, &tokens).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_local_commit_counts_what_was_used() {
    let guarded = guard(&Double::new(Behaviour::Fail(StoreErrorKind::Full)));
    let hard = Bound::AtMost(amount(100));
    let five = request(
        "a",
        &[
            hold("messages", Bound::Unlimited, 1),
            hold("tokens", hard, 5),
        ],
    );
    let ticket = locally(&guarded, &five).await.unwrap();
    ticket.commit(&smallvec![Amount::ONE, amount(2)]);
    let eight = request("a", &[hold("tokens", hard, 8)]);
    let ticket = locally(&guarded, &eight).await.unwrap();
    ticket.commit(&smallvec![amount(20)]);
    let one = request("a", &[hold("tokens", hard, 1)]);
    assert!(locally(&guarded, &one).await.is_none());
    let zero = request("b", &[hold("tokens", hard, 0)]);
    let ticket = locally(&guarded, &zero).await.unwrap();
    ticket.commit(&smallvec![amount(10)]);
    let one = request("b", &[hold("tokens", hard, 1)]);
    assert!(locally(&guarded, &one).await.is_none());
}

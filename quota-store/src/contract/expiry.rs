//! Units that nobody settles are free at their expiry, and not before.

use std::time::Duration;

use super::{
    StoreUnderTest,
    ask::{
        A_WHILE, Ask, SHORT, ama, ask_messages, at_most, commit, counter, expire, messages,
        pass_until, read, release, value, window_of,
    },
};
use crate::{CounterStore, Decision, Orphans, Renewed, Scope, Settled};

/// Held units are refused to others until the expiry, and given to them at it.
pub async fn units_are_free_at_their_expiry_and_not_before(under: impl StoreUnderTest) {
    let held = ask_messages(&under, 5, 5)
        .short(&under)
        .allowed(&under)
        .await;
    let expires = held.reserved_at.saturating_add(SHORT);
    loop {
        match ask_messages(&under, 5, 1).send(&under).await {
            Decision::Allowed(next) => {
                assert!(next.reservation.reserved_at >= expires, "freed too early");
                break;
            }
            Decision::Denied(denied) => {
                let latest = expires.saturating_add(Duration::from_secs(1));
                assert!(denied.now <= latest, "not freed in time");
            }
            other => unreachable!("nothing is stale or void here: {other:?}"),
        }
        under.pass(A_WHILE).await;
    }
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 1));
}

/// After the expiry one commit is charged late, to the window of the reserve.
pub async fn a_late_commit_is_charged_once_to_its_own_window(under: impl StoreUnderTest) {
    let old = counter(Scope::User, "messages", window_of(2, under.store().now()));
    pass_until(&under, old.span.end().unwrap_or_default()).await;
    let old = counter(Scope::User, "messages", window_of(2, under.store().now()));
    let ask = Ask::of(&under, &ama()).hold(&old, at_most(5), 5);
    let held = ask.short(&under).allowed(&under).await;
    expire(&under, &held).await;
    assert_eq!(read(&under, &ama(), &old).await, value(0, 0));
    pass_until(&under, old.span.end().unwrap_or_default()).await;

    let settled = commit(&under, &held, &[4]).await;
    assert_eq!(settled, Settled::Late([value(4, 0)].into_iter().collect()));
    assert_eq!(commit(&under, &held, &[4]).await, Settled::Already);
    assert_eq!(release(&under, &held).await, Settled::Already);
    assert_eq!(read(&under, &ama(), &old).await, value(4, 0));
    let new = counter(Scope::User, "messages", window_of(2, under.store().now()));
    assert_eq!(read(&under, &ama(), &new).await, value(0, 0));
}

/// Orphaned units are charged where the request says so, and a commit after that does nothing.
pub async fn orphans_are_charged_where_the_request_says_so(under: impl StoreUnderTest) {
    let charge = |ask: Ask| ask.with(|request| request.orphans = Orphans::Charge);
    let ask = charge(ask_messages(&under, 10, 4).short(&under));
    let held = ask.allowed(&under).await;
    expire(&under, &held).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(4, 0));
    assert_eq!(commit(&under, &held, &[2]).await, Settled::Already);
    assert_eq!(read(&under, &ama(), &messages()).await, value(4, 0));

    let held = charge(ask_messages(&under, 10, 4)).allowed(&under).await;
    commit(&under, &held, &[1]).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(5, 0));
}

/// A renewed reservation is held beyond its first expiry; one that ended is gone.
pub async fn renewing_holds_what_is_live(under: impl StoreUnderTest) {
    let renewed = ask_messages(&under, 10, 1)
        .short(&under)
        .allowed(&under)
        .await;
    let settled = ask_messages(&under, 10, 2).allowed(&under).await;
    release(&under, &settled).await;
    let left_alone = ask_messages(&under, 10, 4)
        .short(&under)
        .allowed(&under)
        .await;
    let first_expiry = left_alone.reserved_at.saturating_add(SHORT + A_WHILE);
    while under.store().now() < first_expiry {
        under.pass(Duration::from_millis(200)).await;
        let both = [renewed.clone(), settled.clone()];
        let answers = under.store().renew(&both).await;
        let answers = answers.expect("the store answers");
        assert_eq!(answers, [Renewed::Held, Renewed::Gone]);
    }
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 1));
    let both = [left_alone, renewed.clone()];
    let answers = under.store().renew(&both).await;
    let answers = answers.expect("the store answers");
    assert_eq!(answers, [Renewed::Gone, Renewed::Held]);

    let again = under.store().now().saturating_add(SHORT + A_WHILE);
    pass_until(&under, again).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 0));
    let settled = commit(&under, &renewed, &[1]).await;
    assert_eq!(settled, Settled::Late([value(1, 0)].into_iter().collect()));
}

/// However many reservations have expired, the next reserve is not denied for their sake.
pub async fn a_heap_of_expired_reservations_denies_nobody(under: impl StoreUnderTest) {
    let mut last = None;
    for _ in 0..200 {
        let ask = ask_messages(&under, 200, 1).with(|request| {
            request.ttl = SHORT;
            request.max_in_flight = 200;
        });
        last = Some(ask.allowed(&under).await);
    }
    let expires = last.map(|held| held.reserved_at.saturating_add(SHORT + A_WHILE));
    pass_until(&under, expires.unwrap_or_default()).await;
    let ask = ask_messages(&under, 200, 200).with(|request| request.max_in_flight = 1);
    ask.allowed(&under).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 200));
}

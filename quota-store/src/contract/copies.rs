//! A reserve that is doubled, late or overtaken counts once or not at all.

use std::sync::Arc;

use super::{
    StoreUnderTest,
    ask::{
        abort, allowed, ama, ask_messages, assert_void, commit, expire, messages, read, release,
        send, send_again, value,
    },
};
use crate::{CounterStore, Sends, Settled};

/// A copy of a reserve is allowed again, and holds nothing twice.
pub async fn a_copy_of_a_reserve_holds_nothing_twice(under: impl StoreUnderTest) {
    let request = ask_messages(&under, 10, 6).request();
    let first = allowed(send(&under, &request).await);
    let second = allowed(send_again(&under, &request).await);
    assert_eq!(first.counters, second.counters);
    assert_eq!(
        first.reservation.reserved_at,
        second.reservation.reserved_at
    );
    assert_eq!(first.reservation.epoch, second.reservation.epoch);
    assert_eq!(second.reservation.sends, Sends::Repeated);
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 6));
    commit(&under, &second.reservation, &[6]).await;
    assert_eq!(
        commit(&under, &first.reservation, &[6]).await,
        Settled::Already
    );
    assert_eq!(read(&under, &ama(), &messages()).await, value(6, 0));
}

/// A copy is allowed also where the first took the last unit, or the last place in flight.
pub async fn a_copy_is_allowed_where_the_first_took_the_last_unit(under: impl StoreUnderTest) {
    let ask = ask_messages(&under, 5, 5).with(|request| request.max_in_flight = 1);
    let request = ask.request();
    allowed(send(&under, &request).await);
    let copy = allowed(send_again(&under, &request).await);
    assert_eq!(copy.counters.as_slice(), [value(0, 5)]);
    release(&under, &copy.reservation).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 0));
}

/// Copies that arrive together hold once.
pub async fn copies_that_arrive_together_hold_once(under: impl StoreUnderTest) {
    let under = Arc::new(under);
    for _ in 0..20 {
        let request = ask_messages(&*under, 1, 1).request();
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let (under, request) = (Arc::clone(&under), Arc::clone(&request));
            tasks.push(tokio::spawn(async move {
                allowed(send_again(&*under, &request).await).reservation
            }));
        }
        let mut copies = Vec::new();
        for task in tasks {
            copies.push(task.await.expect("the task ends"));
        }
        assert_eq!(read(&*under, &ama(), &messages()).await, value(0, 1));
        for (index, copy) in copies.iter().enumerate() {
            let is_first = matches!(release(&*under, copy).await, Settled::Done(_));
            assert_eq!(is_first, index == 0);
        }
    }
    assert_eq!(read(&*under, &ama(), &messages()).await, value(0, 0));
}

/// A copy that arrives after its reservation was settled does nothing.
pub async fn a_copy_after_the_settle_does_nothing(under: impl StoreUnderTest) {
    for commits in [true, false] {
        let request = ask_messages(&under, 10, 1).request();
        allowed(send(&under, &request).await);
        let held = allowed(send_again(&under, &request).await).reservation;
        if commits {
            commit(&under, &held, &[1]).await;
        } else {
            release(&under, &held).await;
        }
        assert_void(&send_again(&under, &request).await);
        assert_void(&send_again(&under, &request).await);
    }
    assert_eq!(read(&under, &ama(), &messages()).await, value(1, 0));
}

/// A reserve at or after its `not_after` does nothing.
pub async fn a_reserve_after_its_not_after_does_nothing(under: impl StoreUnderTest) {
    let now = under.store().now();
    let ask = ask_messages(&under, 10, 1).with(|request| request.not_after = now);
    let request = ask.request();
    assert_void(&send(&under, &request).await);
    assert_void(&send_again(&under, &request).await);
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 0));
}

/// An abort that overtakes its reserve keeps it out.
pub async fn an_abort_before_its_reserve_keeps_it_out(under: impl StoreUnderTest) {
    let request = ask_messages(&under, 10, 1).request();
    assert_eq!(abort(&under, &request).await, Settled::Already);
    assert_eq!(abort(&under, &request).await, Settled::Already);
    assert_void(&send(&under, &request).await);
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 0));
}

/// An abort frees what was held, once, and keeps copies out.
pub async fn an_abort_frees_what_was_held(under: impl StoreUnderTest) {
    let other = ask_messages(&under, 10, 2).allowed(&under).await;
    let request = ask_messages(&under, 10, 4).request();
    let held = allowed(send(&under, &request).await).reservation;
    let settled = abort(&under, &request).await;
    assert_eq!(settled, Settled::Done([value(0, 2)].into_iter().collect()));
    assert_eq!(abort(&under, &request).await, Settled::Already);
    assert_void(&send_again(&under, &request).await);
    assert_eq!(commit(&under, &held, &[4]).await, Settled::Already);
    assert_eq!(release(&under, &held).await, Settled::Already);
    release(&under, &other).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 0));
}

/// A copy that arrives after the expiry does nothing, and neither does an abort or a release.
pub async fn what_comes_after_an_expiry_frees_nothing(under: impl StoreUnderTest) {
    let other = ask_messages(&under, 10, 2).allowed(&under).await;
    let request = ask_messages(&under, 10, 4).short(&under).request();
    let held = allowed(send(&under, &request).await).reservation;
    expire(&under, &held).await;
    assert_void(&send_again(&under, &request).await);
    assert_eq!(abort(&under, &request).await, Settled::Already);
    assert_eq!(release(&under, &held).await, Settled::Already);
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 2));
    release(&under, &other).await;
}

//! What comes after the data was lost is charged once.

use std::sync::Arc;

use super::{
    StoreUnderTest,
    ask::{
        abort, allowed, ama, ask_messages, commit, correct, messages, read, release, send,
        send_again, value,
    },
};
use crate::{Epoch, Reservation, Settled, UnixMillis};

/// The same reservation, made in data that was lost.
fn of_lost_data(held: &Reservation) -> Reservation {
    Reservation {
        epoch: Epoch(held.epoch.0 ^ 1),
        ..held.clone()
    }
}

/// A reservation of lost data that is not live.
async fn lost(under: &impl StoreUnderTest) -> Reservation {
    let held = ask_messages(under, 50, 1).allowed(under).await;
    release(under, &held).await;
    of_lost_data(&held)
}

/// A commit of a reservation whose data was lost is charged once.
pub async fn a_commit_of_lost_data_is_charged_once(under: impl StoreUnderTest) {
    let lost = lost(&under).await;
    let settled = commit(&under, &lost, &[3]).await;
    assert_eq!(settled, Settled::Late([value(3, 0)].into_iter().collect()));
    assert_eq!(commit(&under, &lost, &[3]).await, Settled::Already);
    assert_eq!(read(&under, &ama(), &messages()).await, value(3, 0));
}

/// A copy of the reserve that came after the loss is live: its first commit frees it, and a second
/// one is not charged as lost.
pub async fn a_live_copy_of_lost_data_is_charged_once(under: impl StoreUnderTest) {
    let held = ask_messages(&under, 50, 5).allowed(&under).await;
    let lost = Arc::new(of_lost_data(&held));
    let settled = commit(&under, &lost, &[3]).await;
    assert_eq!(settled, Settled::Done([value(3, 0)].into_iter().collect()));
    assert_eq!(commit(&under, &lost, &[3]).await, Settled::Already);
    assert_eq!(read(&under, &ama(), &messages()).await, value(3, 0));
    let settled = correct(&under, &lost, &[1]).await;
    assert_eq!(settled, Settled::Done([value(4, 0)].into_iter().collect()));
}

/// Where a marker says that a reservation was settled or aborted, its epoch does not matter.
pub async fn a_marker_goes_before_the_epoch(under: impl StoreUnderTest) {
    let request = ask_messages(&under, 50, 5).request();
    allowed(send(&under, &request).await);
    let held = allowed(send_again(&under, &request).await).reservation;
    release(&under, &held).await;
    let settled = Arc::new(of_lost_data(&held));
    assert_eq!(commit(&under, &settled, &[5]).await, Settled::Already);

    let held = ask_messages(&under, 50, 5).allowed(&under).await;
    abort(&under, &held.request).await;
    let aborted = Arc::new(of_lost_data(&held));
    assert_eq!(commit(&under, &aborted, &[5]).await, Settled::Already);
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 0));
}

/// A correction of lost data counts once where the commit was charged after the loss, and nowhere
/// else.
pub async fn a_correction_of_lost_data_needs_its_late_commit(under: impl StoreUnderTest) {
    let others = ask_messages(&under, 50, 9).allowed(&under).await;
    commit(&under, &others, &[9]).await;
    let lost = lost(&under).await;
    assert_eq!(correct(&under, &lost, &[-2]).await, Settled::Already);
    assert_eq!(read(&under, &ama(), &messages()).await, value(9, 0));
    commit(&under, &lost, &[3]).await;
    let settled = correct(&under, &lost, &[-2]).await;
    assert_eq!(settled, Settled::Done([value(10, 0)].into_iter().collect()));
    assert_eq!(correct(&under, &lost, &[-2]).await, Settled::Already);
    assert_eq!(commit(&under, &lost, &[3]).await, Settled::Already);
    assert_eq!(read(&under, &ama(), &messages()).await, value(10, 0));
}

/// A commit of which the store can't know any more whether it was settled does nothing, in
/// whatever data it was made.
pub async fn a_commit_older_than_the_memory_does_nothing(under: impl StoreUnderTest) {
    let lost = lost(&under).await;
    for epoch in [lost.epoch, Epoch(lost.epoch.0 ^ 1)] {
        let long_ago = lost.reserved_at.get() - 2 * 86_400_000;
        let request = ask_messages(&under, 5, 1).request();
        let reserved_at = UnixMillis::new(long_ago);
        let old = Reservation::new(request, reserved_at, epoch, lost.sends);
        assert_eq!(commit(&under, &old, &[1]).await, Settled::TooOld);
        assert_eq!(correct(&under, &old, &[1]).await, Settled::TooOld);
    }
    assert_eq!(read(&under, &ama(), &messages()).await, value(0, 0));
}

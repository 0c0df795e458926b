//! How reservations end.

use std::time::Duration;

use super::{
    keep::Overflow,
    live::Live,
    markers::{About, Ended},
    shard::{Common, Shard, Step},
};
use crate::{
    Amount, Commit, Correction, CounterValue, CounterValues, Orphans, Renewed, Reservation,
    Reserve, Sends, Settled, StoreError, StoreErrorKind, UnixMillis,
};

/// How long after its `not_after` copies of a reserve are still guarded against.
const COPIES_GUARDED: Duration = Duration::from_secs(1);
/// How many markers whose time has passed each reaping drops.
const MARKERS_DROPPED_AT_ONCE: usize = 4;

impl Shard {
    /// Charges a reservation and frees what it held.
    ///
    /// A live one needs no time, so `step` reads the clock only where it is called.
    pub(super) fn commit<'a>(
        &mut self,
        step: impl FnOnce() -> Step<'a>,
        common: &Common,
        commit: &Commit,
    ) -> Result<Settled, StoreError> {
        let reservation = &commit.reservation;
        let request = &*reservation.request;
        check_length(request, commit.amounts.len())?;
        if let Some(live) = self.live.take(reservation) {
            let amount = |hold: usize| commit.amounts[hold];
            let counters = self.end(&live, amount);
            if reservation.epoch == common.epoch {
                self.forget(|| step().now, common, &live, reservation.sends);
            } else {
                // A copy of the reserve came after the loss; a second commit is not charged as
                // lost. The record's room becomes the marker's.
                let until = step().now.saturating_add(common.memory);
                self.mark(common, About::End(request.id), Ended::Late, until);
            }
            return Ok(Settled::Done(counters));
        }
        let step = step();
        match self.markers.end_of(request.id, step.now) {
            Some(Ended::Expired) => {}
            None if is_too_old(step, reservation) => return Ok(Settled::TooOld),
            None if reservation.epoch != step.common.epoch => {}
            Some(Ended::Late | Ended::Settled) | None => return Ok(Settled::Already),
        }
        let mut counters = CounterValues::new();
        for (hold, amount) in request.holds.iter().zip(&commit.amounts) {
            let value = self.counter_mut(step, &hold.counter, Overflow::Keep)?;
            value.used = value.used.saturating_add(*amount);
            counters.push(*value);
        }
        self.record_room.take_always(&step.common.records);
        let until = step.now.saturating_add(step.common.memory);
        self.mark(step.common, About::End(request.id), Ended::Late, until);
        Ok(Settled::Late(counters))
    }

    /// Frees what a reservation held.
    pub(super) fn release(
        &mut self,
        now: impl FnOnce() -> UnixMillis,
        common: &Common,
        reservation: &Reservation,
    ) -> Settled {
        let Some(live) = self.live.take(reservation) else {
            return Settled::Already;
        };
        let counters = self.end(&live, |_| Amount::ZERO);
        self.forget(now, common, &live, reservation.sends);
        Settled::Done(counters)
    }

    /// Frees what a reserve may hold, and keeps copies of it from taking effect.
    pub(super) fn abort(
        &mut self,
        step: Step<'_>,
        request: &Reserve,
    ) -> Result<Settled, StoreError> {
        if let Some(live) = self.live.remove(request.id) {
            let counters = self.end(&live, |_| Amount::ZERO);
            self.forget(|| step.now, step.common, &live, Sends::Repeated);
            return Ok(Settled::Done(counters));
        }
        let until = request.not_after.saturating_add(COPIES_GUARDED);
        if until > step.now && self.markers.end_of(request.id, step.now).is_none() {
            self.ensure_record(step)?;
            self.mark(step.common, About::End(request.id), Ended::Settled, until);
        }
        Ok(Settled::Already)
    }

    /// Corrects what was committed, once.
    pub(super) fn correct(
        &mut self,
        step: Step<'_>,
        correction: &Correction,
    ) -> Result<Settled, StoreError> {
        let reservation = &correction.reservation;
        let request = &*reservation.request;
        check_length(request, correction.differences.len())?;
        let about = About::Correction(request.id);
        if self.markers.contains(about, step.now) {
            return Ok(Settled::Already);
        }
        if is_too_old(step, reservation) {
            return Ok(Settled::TooOld);
        }
        let is_late = self.markers.end_of(request.id, step.now) == Some(Ended::Late);
        if reservation.epoch != step.common.epoch && !is_late {
            // What it would correct was lost.
            return Ok(Settled::Already);
        }
        self.ensure_record(step)?;
        let until = step.now.saturating_add(step.common.memory);
        self.mark(step.common, about, Ended::Settled, until);
        let mut counters = CounterValues::new();
        for (hold, difference) in request.holds.iter().zip(&correction.differences) {
            let value = self.counter_mut(step, &hold.counter, Overflow::Keep)?;
            value.used = value.used.saturating_add_signed(*difference);
            counters.push(*value);
        }
        Ok(Settled::Done(counters))
    }

    /// Holds a reservation for another time to live.
    pub(super) fn renew(&mut self, now: UnixMillis, reservation: &Reservation) -> Renewed {
        let expires = now.saturating_add(reservation.request.ttl);
        if self.live.renew(reservation, expires) {
            Renewed::Held
        } else {
            Renewed::Gone
        }
    }

    /// Reaps up to `most` expired reservations, and drops some old markers.
    #[inline]
    pub(super) fn reap(&mut self, common: &Common, now: UnixMillis, most: usize) {
        if self.markers.is_stale(now) {
            self.prune_markers(common, now, MARKERS_DROPPED_AT_ONCE);
        }
        if self.live.has_expired(now) {
            self.reap_expired(common, now, most);
        }
    }

    fn reap_expired(&mut self, common: &Common, now: UnixMillis, most: usize) {
        for _ in 0..most {
            let Some(live) = self.live.pop_expired(now) else {
                break;
            };
            let request = &*live.reservation.request;
            let ended = match request.orphans {
                Orphans::Release => {
                    self.end(&live, |_| Amount::ZERO);
                    Ended::Expired
                }
                Orphans::Charge => {
                    self.end(&live, |hold| request.holds[hold].amount);
                    Ended::Late
                }
            };
            let until = now.saturating_add(common.memory);
            self.mark(common, About::End(request.id), ended, until);
            if let Some(expired) = &common.expired {
                // Whoever listened may have gone.
                expired.send(live.reservation).unwrap_or_default();
            }
        }
    }

    /// Reaps everything that has expired.
    pub(super) fn reap_all(&mut self, common: &Common, now: UnixMillis) {
        while self.live.has_expired(now) {
            self.reap(common, now, usize::MAX);
        }
    }

    /// Takes a reservation out of its counters, and charges them.
    fn end(&mut self, live: &Live, amount: impl Fn(usize) -> Amount) -> CounterValues {
        let request = &*live.reservation.request;
        let mut counters = CounterValues::new();
        counters.resize(request.holds.len(), CounterValue::default());
        for (scope, subject) in live.owners.places() {
            let entry = self.subjects.at_mut(subject);
            entry.live = entry.live.saturating_sub(1);
            entry.change_each(
                &request.holds,
                scope,
                &mut counters,
                |index, hold, value| CounterValue {
                    used: value.used.saturating_add(amount(index)),
                    reserved: value.reserved.saturating_sub(hold.amount),
                },
            );
        }
        counters
    }

    /// Gives the room of a settled reservation back, unless a copy of its reserve may still come.
    fn forget(
        &mut self,
        now: impl FnOnce() -> UnixMillis,
        common: &Common,
        live: &Live,
        sends: Sends,
    ) {
        let reservation = &live.reservation;
        let until = reservation.request.not_after.saturating_add(COPIES_GUARDED);
        let is_repeated = sends == Sends::Repeated || reservation.sends == Sends::Repeated;
        if is_repeated && until > now() {
            let about = About::End(reservation.request.id);
            self.mark(common, about, Ended::Settled, until);
        } else {
            self.record_room.give(1, &common.records);
        }
    }
}

fn is_too_old(step: Step<'_>, reservation: &Reservation) -> bool {
    step.now >= reservation.reserved_at.saturating_add(step.common.memory)
}

fn check_length(request: &Reserve, length: usize) -> Result<(), StoreError> {
    if request.holds.len() == length {
        return Ok(());
    }
    let message = format!("{length} amounts for {} holds", request.holds.len());
    Err(StoreError::new(StoreErrorKind::Invalid, message))
}

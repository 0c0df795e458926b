//! One shard: everything of some owners, changed under one lock.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use smallvec::SmallVec;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    counters::{find, is_same_counter},
    keep::Overflow,
    live::{Live, LiveReservations},
    markers::Markers,
    room::{Pool, Room},
    subjects::{Asker, Owners, Subjects},
};
use crate::{
    Allowed, Amount, Bound, Cause, CounterKey, CounterValue, CounterValues, Decision, Denied,
    Epoch, Generation, Hold, KnownGeneration, Reservation, Reserve, Scope, Sends, Stale,
    StoreError, StoreErrorKind, UnixMillis, reservation::Place,
};

/// How many expired reservations one step reaps before it decides.
const REAPED_AT_ONCE: usize = 64;

/// What all shards share.
#[derive(Debug)]
pub(super) struct Common {
    /// How long tombstones and the counters of past windows are kept.
    pub(super) memory: Duration,
    /// Names this store's data.
    pub(super) epoch: Epoch,
    /// The generation of the plans that a database keeps.
    pub(super) plans: Mutex<Option<Generation>>,
    /// Where reservations go that nobody settled.
    pub(super) expired: Option<UnboundedSender<Reservation>>,
    /// Room for subjects.
    pub(super) subjects: Pool,
    /// The part of it that clients without a token may fill: anybody can make more of those.
    pub(super) anonymous: Pool,
    /// Room for counters.
    pub(super) counters: Pool,
    /// Room for live reservations and markers.
    pub(super) records: Pool,
}

impl Common {
    /// Compares what the caller knew of the plans with what is stored, and stores what is fresh.
    fn check_plans(&self, known: KnownGeneration) -> Option<Stale> {
        if known == KnownGeneration::Untracked {
            return None;
        }
        // Nothing panics while it is locked.
        let mut current = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_current(known, *current) {
            return Some(Stale::Plans { current: *current });
        }
        if let KnownGeneration::Fresh(generation) = known {
            *current = Some(generation);
        }
        None
    }

    /// Says that the plans changed.
    pub(super) fn advance_plans(&self, generation: Generation) {
        let mut current = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        *current = (*current).max(Some(generation));
    }
}

/// Whether the caller knows what is stored, or something newer.
fn is_current(known: KnownGeneration, current: Option<Generation>) -> bool {
    match known {
        KnownGeneration::Untracked => true,
        KnownGeneration::Cached(known) => current == Some(known),
        KnownGeneration::Fresh(known) => current <= Some(known),
    }
}

/// One step: who asks, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    /// What all shards share.
    pub(super) common: &'a Common,
    /// The time of the step, read once.
    pub(super) now: UnixMillis,
    /// Who asks.
    pub(super) asker: Asker<'a>,
}

/// The state of one shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) subjects: Subjects,
    pub(super) live: LiveReservations,
    pub(super) markers: Markers,
    pub(super) subject_room: Room,
    pub(super) anonymous_room: Room,
    pub(super) counter_room: Room,
    pub(super) record_room: Room,
}

/// What a request finds.
#[derive(Clone, Copy, Default)]
struct Found {
    /// Whether a hold does not fit.
    is_tight: bool,
    /// Whether a counter is not there yet.
    is_new: bool,
}

impl Shard {
    /// Holds all units of the request, or none.
    pub(super) fn reserve(
        &mut self,
        step: Step<'_>,
        request: &Arc<Reserve>,
        sends: Sends,
    ) -> Result<Decision, StoreError> {
        check_scopes(request)?;
        if step.now >= request.not_after || self.markers.knows(request.id, step.now) {
            return Ok(Decision::Void);
        }
        if let Some(decision) = self.repeat(request, sends) {
            return Ok(decision);
        }
        let mut owners = self.owners(step);
        if let Some(stale) = self.check_generations(step, request, &mut owners)? {
            return Ok(Decision::Stale(stale));
        }
        loop {
            self.reap(step.common, step.now, REAPED_AT_ONCE);
            let Some(found) = self.look(step.now, request, owners) else {
                return Ok(Decision::Stale(Stale::Window { now: step.now }));
            };
            let in_flight = owners.user.map_or(0, |user| self.subjects.at(user).live);
            let cause = if in_flight >= request.max_in_flight {
                Cause::InFlight
            } else if found.is_tight {
                Cause::Limits(self.tight(request, owners))
            } else {
                return self.hold(step, request, sends, (owners, found));
            };
            // A denial must not be the fault of reservations that have expired.
            if !self.live.has_expired(step.now) {
                return Ok(Decision::Denied(Denied {
                    now: step.now,
                    counters: self.values(request, owners),
                    cause,
                }));
            }
        }
    }

    /// Answers a copy of a reserve whose reservation is live.
    fn repeat(&mut self, request: &Reserve, sends: Sends) -> Option<Decision> {
        let live = self.live.get_mut(request.id)?;
        if sends == Sends::Repeated {
            // From now on a third copy is to be expected when it is settled.
            live.reservation.sends = sends;
        }
        let (reservation, owners) = (live.reservation.clone(), live.owners);
        let counters = self.values(&reservation.request, owners);
        Some(Decision::Allowed(Allowed {
            reservation,
            counters,
        }))
    }

    #[inline]
    fn owners(&self, step: Step<'_>) -> Owners {
        Owners {
            user: self.subjects.find(step.asker, Scope::User),
            tenant: self.subjects.find(step.asker, Scope::Tenant),
        }
    }

    /// Compares what the caller knew with what is stored, and stores what is fresh.
    fn check_generations(
        &mut self,
        step: Step<'_>,
        request: &Reserve,
        owners: &mut Owners,
    ) -> Result<Option<Stale>, StoreError> {
        let known = [
            (Scope::User, request.user_generation),
            (Scope::Tenant, request.tenant_generation),
        ];
        for (scope, known) in known {
            if known == KnownGeneration::Untracked {
                continue;
            }
            let place = owners.of(scope);
            let current = place.and_then(|place| self.subjects.at(place).generation());
            if !is_current(known, current) {
                return Ok(Some(Stale::Plan { scope, current }));
            }
        }
        if let Some(stale) = step.common.check_plans(request.plans_generation) {
            return Ok(Some(stale));
        }
        for (scope, known) in known {
            let KnownGeneration::Fresh(generation) = known else {
                continue;
            };
            let place = self.ensure_subject(step, scope, Overflow::Refuse)?;
            match scope {
                Scope::User => owners.user = Some(place),
                Scope::Tenant => owners.tenant = Some(place),
            }
            let entry = self.subjects.at_mut(place);
            if entry.generation() < Some(generation) {
                entry.set_generation(generation, step.now);
            }
        }
        Ok(None)
    }

    /// Looks at every counter of the request; `None` where a window does not contain now.
    fn look(&self, now: UnixMillis, request: &Reserve, owners: Owners) -> Option<Found> {
        let mut found = Found::default();
        let counters = self.subjects.counters_of(owners);
        let mut in_order = true;
        for (index, hold) in request.holds.iter().enumerate() {
            if !hold.counter.span.contains(now) {
                return None;
            }
            let counters = counters.of(hold.counter.scope);
            let place = find(counters, &hold.counter, index);
            let value = place.map_or_else(CounterValue::default, |place| counters[place].value);
            found.is_new |= place.is_none();
            // Counters in the order of their holds are all different.
            in_order &= place == Some(index);
            let before = if in_order {
                0
            } else {
                amount_before(&request.holds, index)
            };
            found.is_tight |= !fits(value, hold, before);
        }
        Some(found)
    }

    /// What the counters of a request say.
    fn values(&self, request: &Reserve, owners: Owners) -> CounterValues {
        let counters = self.subjects.counters_of(owners);
        let value = |(index, hold): (usize, &Hold)| {
            let counters = counters.of(hold.counter.scope);
            Some(counters[find(counters, &hold.counter, index)?].value)
        };
        let values = request.holds.iter().enumerate().map(value);
        values.map(Option::unwrap_or_default).collect()
    }

    /// The holds of a request that do not fit.
    fn tight(&self, request: &Reserve, owners: Owners) -> SmallVec<[usize; 3]> {
        let (values, holds) = (self.values(request, owners), &request.holds);
        let is_tight = |&index: &usize| {
            let before = amount_before(holds, index);
            !fits(values[index], &holds[index], before)
        };
        (0..holds.len()).filter(is_tight).collect()
    }

    /// Holds the units of a request that nothing denies.
    fn hold(
        &mut self,
        step: Step<'_>,
        request: &Arc<Reserve>,
        sends: Sends,
        (mut owners, found): (Owners, Found),
    ) -> Result<Decision, StoreError> {
        if owners.user.is_none() {
            owners.user = Some(self.ensure_subject(step, Scope::User, Overflow::Refuse)?);
        }
        let mut holds = request.holds.iter();
        if !holds.any(|hold| hold.counter.scope == Scope::Tenant) {
            owners.tenant = None;
        } else if owners.tenant.is_none() {
            owners.tenant = Some(self.ensure_subject(step, Scope::Tenant, Overflow::Refuse)?);
        }
        if found.is_new {
            self.ensure_counters(step, request, owners)?;
        }
        self.ensure_record(step)?;

        let mut counters = CounterValues::new();
        counters.resize(request.holds.len(), CounterValue::default());
        for (scope, subject) in owners.places() {
            let entry = self.subjects.at_mut(subject);
            entry.live += 1;
            entry.change_each(&request.holds, scope, &mut counters, |_, hold, value| {
                CounterValue {
                    used: value.used,
                    reserved: value.reserved.saturating_add(hold.amount),
                }
            });
        }
        let place = Place::new(step.asker.hashes.shard(), self.live.next_slot());
        // Made twice where it goes to, which takes half the time of a copy.
        let reservation = || Reservation {
            request: Arc::clone(request),
            reserved_at: step.now,
            epoch: step.common.epoch,
            sends,
            place,
        };
        let live = Live::new(reservation(), owners);
        self.live.insert(live, step.now.saturating_add(request.ttl));
        Ok(Decision::Allowed(Allowed {
            reservation: reservation(),
            counters,
        }))
    }

    /// Adds the counters of a request that are not there yet.
    fn ensure_counters(
        &mut self,
        step: Step<'_>,
        request: &Reserve,
        owners: Owners,
    ) -> Result<(), StoreError> {
        for (_, subject) in owners.places() {
            self.prune_counters(step, subject);
        }
        for hold in request.holds.iter() {
            if let Some(subject) = owners.of(hold.counter.scope) {
                self.ensure_counter(step, subject, &hold.counter, Overflow::Refuse)?;
            }
        }
        Ok(())
    }
}

/// Refuses what needs a tenant that the requester does not have.
fn check_scopes(request: &Reserve) -> Result<(), StoreError> {
    let is_of_tenant = |hold: &Hold| hold.counter.scope == Scope::Tenant;
    if request.requester.tenant.is_none()
        && (request.tenant_generation != KnownGeneration::Untracked
            || request.holds.iter().any(is_of_tenant))
    {
        return Err(no_tenant());
    }
    Ok(())
}

/// The error for a tenant's counter without a tenant.
pub(super) fn no_tenant() -> StoreError {
    StoreError::new(
        StoreErrorKind::Invalid,
        "a counter of a tenant needs a requester with a tenant",
    )
}

#[inline]
fn is_same(one: &CounterKey, other: &CounterKey) -> bool {
    one.scope == other.scope && is_same_counter(one, other)
}

/// What the holds before this one ask of its counter: two holds on one counter count together.
fn amount_before(holds: &[Hold], index: usize) -> u64 {
    let (before, hold) = (&holds[..index], &holds[index]);
    let same = before
        .iter()
        .filter(|other| is_same(&other.counter, &hold.counter));
    same.map(|other| other.amount.get()).sum()
}

/// Whether a hold fits a counter that says `value`, after `before` more units.
#[inline]
fn fits(value: CounterValue, hold: &Hold, before: u64) -> bool {
    let reserved = value.reserved.get() + before + hold.amount.get();
    hold.amount.is_zero()
        || match hold.hard {
            Bound::AtMost(hard) => value.used.get() + reserved <= hard.get(),
            Bound::Unlimited => reserved <= Amount::MAX.get(),
        }
}

//! One shard: everything of some owners, changed under one lock.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;

use super::{
    keep::Overflow,
    live::{Live, LiveReservations},
    markers::Markers,
    room::{Pool, Room},
    subjects::{Asker, Subjects, is_same_counter},
};
use crate::{
    Allowed, Amount, Bound, Cause, CounterKey, CounterValue, CounterValues, Decision, Denied,
    Epoch, Hold, KnownGeneration, Reservation, Reserve, Scope, Sends, Stale, StoreError,
    StoreErrorKind, UnixMillis,
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
    /// Room for subjects.
    pub(super) subjects: Pool,
    /// Room for counters.
    pub(super) counters: Pool,
    /// Room for live reservations and markers.
    pub(super) records: Pool,
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
    pub(super) counter_room: Room,
    pub(super) record_room: Room,
}

/// Where a counter is: the place of its subject and its place there.
type Place = Option<(usize, usize)>;
type Places = SmallVec<[Place; 3]>;

/// The places of the two subjects of a requester.
#[derive(Clone, Copy)]
struct Owners {
    user: Option<usize>,
    tenant: Option<usize>,
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
        if let Some(decision) = self.repeat(step, request, sends) {
            return Ok(decision);
        }
        let mut owners = self.owners(step);
        if let Some(stale) = self.check_generations(step, request, &mut owners)? {
            return Ok(Decision::Stale(stale));
        }
        let is_wrong = |key: &CounterKey| !key.span.contains(step.now);
        if request.holds.iter().any(|hold| is_wrong(&hold.counter)) {
            return Ok(Decision::Stale(Stale::Window { now: step.now }));
        }
        let places = self.places(request, owners);
        while let Some(cause) = self.refusal(step, request, owners, &places) {
            // A denial must not be the fault of reservations that have expired.
            if !self.live.has_expired(step.now) {
                return Ok(Decision::Denied(Denied {
                    now: step.now,
                    counters: self.values(&places),
                    cause,
                }));
            }
        }
        self.hold(step, request, sends, (owners, places))
    }

    /// Answers a copy of a reserve whose reservation is live.
    fn repeat(&mut self, step: Step<'_>, request: &Arc<Reserve>, sends: Sends) -> Option<Decision> {
        let live = self.live.get_mut(request.id)?;
        if sends == Sends::Repeated && live.reservation.sends == Sends::Once {
            // From now on a third copy is to be expected when it is settled.
            live.reservation = Arc::new(Reservation {
                request: Arc::clone(&live.reservation.request),
                reserved_at: live.reservation.reserved_at,
                epoch: live.reservation.epoch,
                sends,
            });
        }
        let reservation = Arc::clone(&live.reservation);
        let places = self.places(&reservation.request, self.owners(step));
        Some(Decision::Allowed(Allowed {
            counters: self.values(&places),
            reservation,
        }))
    }

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
            let place = owners.of(scope);
            let current = place.and_then(|place| self.subjects.at(place).generation());
            let is_current = match (known, current) {
                (KnownGeneration::Untracked, _) => true,
                (KnownGeneration::Cached(known), current) => current == Some(known),
                (KnownGeneration::Fresh(known), current) => current <= Some(known),
            };
            if !is_current {
                return Ok(Some(Stale::Plan { scope, current }));
            }
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

    fn places(&self, request: &Reserve, owners: Owners) -> Places {
        let mut places = Places::new();
        for (index, hold) in request.holds.iter().enumerate() {
            let find = |subject| {
                let place = self.subjects.at(subject).find(&hold.counter, index)?;
                Some((subject, place))
            };
            places.push(owners.of(hold.counter.scope).and_then(find));
        }
        places
    }

    #[inline]
    fn value(&self, place: Place) -> CounterValue {
        place.map_or_else(CounterValue::default, |(subject, place)| {
            self.subjects.at(subject).value(place)
        })
    }

    fn values(&self, places: &[Place]) -> CounterValues {
        let mut values = CounterValues::new();
        for place in places {
            values.push(self.value(*place));
        }
        values
    }

    /// Reaps some of what has expired, and says what denies the request then.
    fn refusal(
        &mut self,
        step: Step<'_>,
        request: &Reserve,
        owners: Owners,
        places: &[Place],
    ) -> Option<Cause> {
        self.reap(step.common, step.now, REAPED_AT_ONCE);
        let in_flight = owners.user.map_or(0, |user| self.subjects.at(user).live);
        if in_flight >= request.max_in_flight {
            return Some(Cause::InFlight);
        }
        let holds = request.holds.as_slice();
        let mut tight = SmallVec::new();
        for (index, (hold, place)) in holds.iter().zip(places).enumerate() {
            if hold.amount.is_zero() {
                continue;
            }
            // Two holds on one counter count together.
            let earlier = holds.iter().take(index);
            let earlier = earlier.filter(|other| is_same(&other.counter, &hold.counter));
            let earlier: u64 = earlier.map(|other| other.amount.get()).sum();
            if !fits(self.value(*place), hold.hard, hold.amount.get() + earlier) {
                tight.push(index);
            }
        }
        (!tight.is_empty()).then_some(Cause::Limits(tight))
    }

    /// Holds the units of a request that nothing denies.
    fn hold(
        &mut self,
        step: Step<'_>,
        request: &Arc<Reserve>,
        sends: Sends,
        (mut owners, mut places): (Owners, Places),
    ) -> Result<Decision, StoreError> {
        let user = match owners.user {
            Some(user) => user,
            None => self.ensure_subject(step, Scope::User, Overflow::Refuse)?,
        };
        owners.user = Some(user);
        let mut holds = request.holds.iter();
        if !holds.any(|hold| hold.counter.scope == Scope::Tenant) {
            owners.tenant = None;
        } else if owners.tenant.is_none() {
            owners.tenant = Some(self.ensure_subject(step, Scope::Tenant, Overflow::Refuse)?);
        }
        if places.iter().any(Option::is_none) {
            self.ensure_counters(step, request, owners)?;
            places = self.places(request, owners);
        }
        self.ensure_record(step)?;

        let mut counters = CounterValues::new();
        for (hold, place) in request.holds.iter().zip(&places) {
            // Every counter is there by now.
            if let Some((subject, place)) = *place {
                let value = self.subjects.at_mut(subject).value_mut(place);
                value.reserved = value.reserved.saturating_add(hold.amount);
                counters.push(*value);
            }
        }
        for subject in [Some(user), owners.tenant].into_iter().flatten() {
            self.subjects.at_mut(subject).live += 1;
        }
        let reservation = Arc::new(Reservation {
            request: Arc::clone(request),
            reserved_at: step.now,
            epoch: step.common.epoch,
            sends,
        });
        let live = Live::new(Arc::clone(&reservation), user, owners.tenant);
        self.live.insert(live, step.now.saturating_add(request.ttl));
        Ok(Decision::Allowed(Allowed {
            reservation,
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
        for subject in [owners.user, owners.tenant].into_iter().flatten() {
            self.prune_counters(step, subject);
        }
        for hold in &request.holds {
            if let Some(subject) = owners.of(hold.counter.scope) {
                self.ensure_counter(step, subject, &hold.counter, Overflow::Refuse)?;
            }
        }
        Ok(())
    }
}

impl Owners {
    fn of(self, scope: Scope) -> Option<usize> {
        match scope {
            Scope::User => self.user,
            Scope::Tenant => self.tenant,
        }
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

/// Whether `amount` more units fit.
#[inline]
fn fits(value: CounterValue, hard: Bound, amount: u64) -> bool {
    let reserved = value.reserved.get() + amount;
    match hard {
        Bound::AtMost(hard) => value.used.get() + reserved <= hard.get(),
        Bound::Unlimited => reserved <= Amount::MAX.get(),
    }
}

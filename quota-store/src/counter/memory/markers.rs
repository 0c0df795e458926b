//! What is remembered of reservations that did not end as usual, and of acts of administration.

use std::{cmp::Reverse, collections::BinaryHeap};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::{Amount, OperationId, ReservationId, UnixMillis};

/// How a reservation ended, where that must be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It expired; one late commit may still come.
    Expired,
    /// It expired and was charged.
    Late,
    /// It was aborted, or settled after its reserve was sent more than once.
    Settled,
}

/// What a marker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum About {
    /// How a reservation ended.
    End(ReservationId),
    /// That a reservation was corrected.
    Correction(ReservationId),
    /// That an act of administration was done.
    Administration(OperationKey),
}

/// The id of an act of administration, as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OperationKey(u128);

impl From<OperationId> for OperationKey {
    fn from(id: OperationId) -> Self {
        Self(id.0.as_u128())
    }
}

#[derive(Clone, Copy, Debug)]
struct Marker {
    ended: Ended,
    until: UnixMillis,
}

/// The markers of one shard.
#[derive(Debug, Default)]
pub(super) struct Markers {
    by_id: HashMap<About, Marker, RandomState>,
    /// What acts of administration made of counters: used before and after. Kept as long as their
    /// markers are.
    acts: HashMap<OperationKey, (Amount, Amount), RandomState>,
    // May be too early for a marker that was set again; `prune` then looks again later.
    order: BinaryHeap<Reverse<(UnixMillis, About)>>,
}

impl Markers {
    /// How a reservation ended, if that is remembered.
    pub(super) fn end_of(&self, id: ReservationId, now: UnixMillis) -> Option<Ended> {
        self.get(About::End(id), now)
    }

    /// What an act made of a counter, if that is remembered.
    pub(super) fn act_of(&self, id: OperationId, now: UnixMillis) -> Option<(Amount, Amount)> {
        let key = OperationKey::from(id);
        let is_known = self.contains(About::Administration(key), now);
        self.acts.get(&key).copied().filter(|_| is_known)
    }

    /// Keeps what an act that was marked made of a counter.
    pub(super) fn keep_act(&mut self, id: OperationId, change: (Amount, Amount)) {
        self.acts.insert(id.into(), change);
    }

    /// Whether there is a marker.
    pub(super) fn contains(&self, about: About, now: UnixMillis) -> bool {
        self.get(about, now).is_some()
    }

    /// Whether there is any marker of a reservation.
    pub(super) fn knows(&self, id: ReservationId, now: UnixMillis) -> bool {
        self.contains(About::End(id), now) || self.contains(About::Correction(id), now)
    }

    #[inline]
    fn get(&self, about: About, now: UnixMillis) -> Option<Ended> {
        let marker = self.by_id.get(&about)?;
        (marker.until > now).then_some(marker.ended)
    }

    /// Sets a marker, or sets it again; true where it is a new one.
    pub(super) fn set(&mut self, about: About, ended: Ended, until: UnixMillis) -> bool {
        let marker = Marker { ended, until };
        if let Some(known) = self.by_id.get_mut(&about) {
            *known = Marker {
                ended,
                until: until.max(known.until),
            };
            return false;
        }
        self.by_id.insert(about, marker);
        self.order.push(Reverse((until, about)));
        true
    }

    /// Drops up to `most` markers whose time has passed; how many it dropped.
    pub(super) fn prune(&mut self, now: UnixMillis, most: usize) -> usize {
        let mut dropped = 0;
        for _ in 0..most {
            if !self.is_stale(now) {
                break;
            }
            let Some(Reverse((_, about))) = self.order.pop() else {
                break;
            };
            match self.by_id.get(&about).map(|marker| marker.until) {
                Some(until) if until > now => self.order.push(Reverse((until, about))),
                Some(_) => {
                    self.by_id.remove(&about);
                    if let About::Administration(act) = about {
                        self.acts.remove(&act);
                    }
                    dropped += 1;
                }
                None => {}
            }
        }
        dropped
    }

    /// Whether `prune` has something to do.
    #[inline]
    pub(super) fn is_stale(&self, now: UnixMillis) -> bool {
        self.order
            .peek()
            .is_some_and(|Reverse((until, _))| *until <= now)
    }

    /// Gives memory back after a flood.
    pub(super) fn shrink(&mut self) {
        if self.by_id.capacity() > 1024 && self.by_id.capacity() / 8 > self.by_id.len() {
            self.by_id.shrink_to(self.by_id.len() * 2);
            self.order.shrink_to(self.order.len() * 2);
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

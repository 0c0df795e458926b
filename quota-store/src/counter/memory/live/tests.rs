use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::{Epoch, KnownGeneration, Orphans, Requester, Reserve, Sends, UserId};

fn key(id: u128) -> ReservationId {
    uuid::Uuid::from_u128(id).into()
}

/// A reservation that says it is in this slot.
fn reservation(id: u128, slot: usize) -> Reservation {
    let request = Reserve {
        id: key(id),
        requester: Requester {
            tenant: None,
            user: UserId::new("u").unwrap(),
        },
        not_after: UnixMillis::new(0),
        ttl: Duration::ZERO,
        user_generation: KnownGeneration::Untracked,
        plans_generation: KnownGeneration::Untracked,
        tenant_generation: KnownGeneration::Untracked,
        max_in_flight: 1,
        orphans: Orphans::Release,
        holds: Arc::default(),
    };
    let now = UnixMillis::new(0);
    let mut made = Reservation::new(Arc::new(request), now, Epoch(0), Sends::Once);
    made.place = Place::new(0, slot);
    made
}

/// The live reservations beside a sorted set that says which there must be.
#[derive(Default)]
struct Checked {
    reservations: LiveReservations,
    expected: BTreeSet<(u64, u128)>,
    /// What was last made of each id, live or not: its slot may be another's by now.
    made: HashMap<u128, Reservation>,
}

impl Checked {
    fn known(&self, id: u128) -> Option<(u64, u128)> {
        self.expected
            .iter()
            .copied()
            .find(|(_, known)| *known == id)
    }

    fn insert(&mut self, id: u128, time: u64) {
        if self.known(id).is_some() {
            return;
        }
        let made = reservation(id, self.reservations.next_slot());
        let owners = Owners {
            user: Some(0),
            tenant: None,
        };
        let live = Live::new(made.clone(), owners);
        self.reservations.insert(live, UnixMillis::new(time));
        self.made.insert(id, made);
        self.expected.insert((time, id));
    }

    /// What a caller may come with: what was made, or a copy that names any slot.
    fn shown(&self, id: u128, slot: usize) -> Reservation {
        let made = self.made.get(&id).filter(|_| slot > 2).cloned();
        made.unwrap_or_else(|| reservation(id, slot))
    }

    fn take(&mut self, id: u128, slot: usize) {
        let taken = if slot == 0 {
            self.reservations.remove(key(id))
        } else {
            self.reservations.take(&self.shown(id, slot))
        };
        let taken = taken.map(|live| live.reservation.request.id);
        assert_eq!(taken, self.known(id).map(|_| key(id)));
        self.expected.retain(|(_, known)| *known != id);
    }

    fn renew(&mut self, id: u128, time: u64, slot: usize) {
        let shown = self.shown(id, slot);
        let renewed = self.reservations.renew(&shown, UnixMillis::new(time));
        let known = self.known(id);
        assert_eq!(renewed, known.is_some());
        if let Some(entry) = known {
            self.expected.remove(&entry);
            self.expected.insert((time, id));
        }
    }

    fn expire(&mut self, time: u64) {
        let first = self
            .expected
            .first()
            .filter(|(expires, _)| *expires <= time);
        let earliest = first.map(|(expires, _)| *expires);
        let now = UnixMillis::new(time);
        assert_eq!(self.reservations.has_expired(now), earliest.is_some());
        let expired = self.reservations.pop_expired(now);
        let id = expired.map(|live| live.reservation.request.id.as_uuid().as_u128());
        let known = id.and_then(|id| self.known(id));
        assert_eq!(known.map(|(expires, _)| expires), earliest);
        self.expected.retain(|entry| Some(*entry) != known);
    }
}

proptest! {
    /// Insert, take, renew and expire, by the right place, the place of another and none.
    #[test]
    fn reservations_are_found_and_expire_in_order_whatever_happened_before(
        steps in prop::collection::vec((0_u8..4, 0_u128..24, 0_u64..50, 0_usize..6), 1..300),
    ) {
        let mut checked = Checked::default();
        for (step, id, time, slot) in steps {
            match step {
                0 => checked.insert(id, time),
                1 => checked.take(id, slot),
                2 => checked.renew(id, time, slot),
                _ => checked.expire(time),
            }
            prop_assert_eq!(checked.reservations.len(), checked.expected.len());
        }
    }
}

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{Epoch, KnownGeneration, Orphans, Requester, Reserve, Sends, UserId};

fn live(id: u128) -> Live {
    let request = Reserve {
        id: uuid::Uuid::from_u128(id).into(),
        requester: Requester {
            tenant: None,
            user: UserId::new("u").unwrap(),
        },
        not_after: UnixMillis::new(0),
        ttl: Duration::ZERO,
        user_generation: KnownGeneration::Untracked,
        tenant_generation: KnownGeneration::Untracked,
        max_in_flight: 1,
        orphans: Orphans::Release,
        holds: crate::Holds::default(),
    };
    let reservation = Reservation {
        request: Arc::new(request),
        reserved_at: UnixMillis::new(0),
        epoch: Epoch(0),
        sends: Sends::Once,
    };
    Live::new(Arc::new(reservation), 0, None)
}

proptest! {
    /// Against a sorted set: insert, remove, renew, and take out what has expired.
    #[test]
    fn reservations_expire_in_order_whatever_happened_before(
        steps in prop::collection::vec((0_u8..4, 0_u128..24, 0_u64..50), 1..300),
    ) {
        let mut reservations = LiveReservations::default();
        let mut expected: BTreeSet<(u64, u128)> = BTreeSet::new();
        for (step, id, time) in steps {
            let key: ReservationId = uuid::Uuid::from_u128(id).into();
            let known = expected.iter().copied().find(|(_, other)| *other == id);
            match step {
                0 if known.is_none() => {
                    reservations.insert(live(id), UnixMillis::new(time));
                    expected.insert((time, id));
                }
                1 => {
                    prop_assert_eq!(reservations.remove(key).is_some(), known.is_some());
                    expected.retain(|(_, other)| *other != id);
                }
                2 => {
                    prop_assert_eq!(
                        reservations.renew(key, UnixMillis::new(time)),
                        known.is_some()
                    );
                    if let Some(entry) = known {
                        expected.remove(&entry);
                        expected.insert((time, id));
                    }
                }
                _ => {
                    let due = expected.first().is_some_and(|(expires, _)| *expires <= time);
                    prop_assert_eq!(reservations.has_expired(UnixMillis::new(time)), due);
                    let popped = reservations.pop_expired(UnixMillis::new(time));
                    prop_assert_eq!(popped.is_some(), due);
                    if let Some(popped) = popped {
                        let id = popped.reservation.request.id.as_uuid().as_u128();
                        let earliest = expected.first().map(|(expires, _)| *expires);
                        let found = expected.iter().copied().find(|(_, other)| *other == id);
                        prop_assert_eq!(found.map(|(expires, _)| expires), earliest);
                        expected.retain(|(_, other)| *other != id);
                    }
                }
            }
            prop_assert_eq!(reservations.len(), expected.len());
        }
    }
}

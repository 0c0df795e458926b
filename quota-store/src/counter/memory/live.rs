//! Live reservations, by their id and in the order of their expiry.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;

use super::subjects::Owners;
use crate::{Reservation, ReservationId, UnixMillis, reservation::Place};

/// One live reservation. The subjects it names stay where they are as long as it lives.
#[derive(Debug)]
pub(super) struct Live {
    /// What is held.
    pub(super) reservation: Reservation,
    /// The places of its user, and of its tenant where it holds something of the tenant's.
    pub(super) owners: Owners,
    /// Its place in the heap.
    position: usize,
}

impl Live {
    /// A reservation that holds units of these subjects.
    pub(super) const fn new(reservation: Reservation, owners: Owners) -> Self {
        Self {
            reservation,
            owners,
            position: 0,
        }
    }
}

/// The live reservations of one shard.
///
/// The heap is a plain binary heap, earliest first, in which every reservation knows its place.
/// One that has just been made is last and one that is settled soon is near the end, so both cost
/// the same however many are live.
#[derive(Debug, Default)]
pub(super) struct LiveReservations {
    hasher: RandomState,
    // The slots, by the id of what is in them.
    ids: HashTable<usize>,
    slots: Slab<Live>,
    heap: Vec<(UnixMillis, usize)>,
}

impl LiveReservations {
    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The reservation of this id, to be replaced by a newer copy.
    pub(super) fn get_mut(&mut self, id: ReservationId) -> Option<&mut Live> {
        let slot = self.find(id)?;
        Some(&mut self.slots[slot])
    }

    /// The slot of the next one that is added.
    pub(super) fn next_slot(&self) -> usize {
        self.slots.vacant_key()
    }

    /// Adds one that lives until `expires`.
    pub(super) fn insert(&mut self, live: Live, expires: UnixMillis) {
        let Self { hasher, slots, .. } = self;
        let hash = hasher.hash_one(number(&live));
        let slot = slots.insert(live);
        self.ids
            .insert_unique(hash, slot, |slot| hasher.hash_one(number(&slots[*slot])));
        self.heap.push((expires, slot));
        self.sift_up(self.heap.len() - 1);
    }

    /// Takes out one by its id alone.
    pub(super) fn remove(&mut self, id: ReservationId) -> Option<Live> {
        let slot = self.find(id)?;
        Some(self.take_out(slot))
    }

    /// Takes out a reservation.
    pub(super) fn take(&mut self, reservation: &Reservation) -> Option<Live> {
        let slot = self.find_reservation(reservation)?;
        Some(self.take_out(slot))
    }

    /// Lets one live until `expires`; false where it does not live any more.
    pub(super) fn renew(&mut self, reservation: &Reservation, expires: UnixMillis) -> bool {
        let Some(slot) = self.find_reservation(reservation) else {
            return false;
        };
        let position = self.slots[slot].position;
        self.heap[position].0 = expires;
        let position = self.sift_up(position);
        self.sift_down(position);
        true
    }

    /// Takes out one that has expired.
    pub(super) fn pop_expired(&mut self, now: UnixMillis) -> Option<Live> {
        let (expires, slot) = self.heap.first()?;
        if *expires > now {
            return None;
        }
        let slot = *slot;
        Some(self.take_out(slot))
    }

    /// Whether one has expired and is still here.
    #[inline]
    pub(super) fn has_expired(&self, now: UnixMillis) -> bool {
        self.heap
            .first()
            .is_some_and(|(expires, _)| *expires <= now)
    }

    /// Gives memory back after a flood.
    pub(super) fn shrink(&mut self) {
        if self.ids.capacity() > 1024 && self.ids.capacity() / 8 > self.ids.len() {
            let Self { hasher, slots, .. } = self;
            let hash = |slot: &usize| hasher.hash_one(number(&slots[*slot]));
            self.ids.shrink_to(self.ids.len() * 2, hash);
            self.heap.shrink_to(self.heap.len() * 2);
            if self.slots.is_empty() {
                self.slots = Slab::new();
            }
        }
    }

    /// The slot of an id.
    #[inline]
    fn find(&self, id: ReservationId) -> Option<usize> {
        let id = id.as_uuid().as_u128();
        let is_it = |slot: &usize| number(&self.slots[*slot]) == id;
        self.ids.find(self.hasher.hash_one(id), is_it).copied()
    }

    /// The slot of a reservation: its own place, unless that is another's by now.
    #[inline]
    fn find_reservation(&self, reservation: &Reservation) -> Option<usize> {
        let request = &reservation.request;
        let is_it = |slot: &usize| {
            let live = self.slots.get(*slot);
            live.is_some_and(|live| Arc::ptr_eq(&live.reservation.request, request))
        };
        let place = reservation.place.map(Place::slot);
        place.filter(is_it).or_else(|| self.find(request.id))
    }

    /// Empties a slot in which there is something.
    fn take_out(&mut self, slot: usize) -> Live {
        let live = self.slots.remove(slot);
        let hash = self.hasher.hash_one(number(&live));
        if let Ok(found) = self.ids.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        self.heap.swap_remove(live.position);
        if live.position < self.heap.len() {
            let position = self.sift_up(live.position);
            self.sift_down(position);
        }
        live
    }

    /// Moves an entry towards the front; its new position.
    fn sift_up(&mut self, mut position: usize) -> usize {
        let entry = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent].0 <= entry.0 {
                break;
            }
            self.place(position, self.heap[parent]);
            position = parent;
        }
        self.place(position, entry);
        position
    }

    /// Moves an entry towards the end.
    fn sift_down(&mut self, mut position: usize) {
        let entry = self.heap[position];
        loop {
            let left = 2 * position + 1;
            let right = left + 1;
            if left >= self.heap.len() {
                break;
            }
            let right_is_earlier =
                right < self.heap.len() && self.heap[right].0 < self.heap[left].0;
            let child = if right_is_earlier { right } else { left };
            if self.heap[child].0 >= entry.0 {
                break;
            }
            self.place(position, self.heap[child]);
            position = child;
        }
        self.place(position, entry);
    }

    fn place(&mut self, position: usize, entry: (UnixMillis, usize)) {
        self.heap[position] = entry;
        self.slots[entry.1].position = position;
    }
}

/// The id as a number, which is hashed and compared at once.
#[inline]
fn number(live: &Live) -> u128 {
    live.reservation.request.id.as_uuid().as_u128()
}

#[cfg(test)]
mod tests;

//! Live reservations, by their id and in the order of their expiry.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use slab::Slab;

use crate::{Reservation, ReservationId, UnixMillis};

/// One live reservation. The subjects it names stay where they are as long as it lives.
#[derive(Debug)]
pub(super) struct Live {
    /// What is held.
    pub(super) reservation: Arc<Reservation>,
    /// The place of its user.
    pub(super) user: usize,
    /// The place of its tenant, where it holds something of the tenant's.
    pub(super) tenant: Option<usize>,
    /// Its place in the heap.
    position: usize,
}

impl Live {
    /// A reservation that holds units of these subjects.
    pub(super) fn new(reservation: Arc<Reservation>, user: usize, tenant: Option<usize>) -> Self {
        Self {
            reservation,
            user,
            tenant,
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
    // By the number that the id is, which is hashed and compared at once.
    ids: HashMap<u128, usize, RandomState>,
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
        let slot = *self.ids.get(&number(id))?;
        Some(&mut self.slots[slot])
    }

    /// Adds one that lives until `expires`.
    pub(super) fn insert(&mut self, live: Live, expires: UnixMillis) {
        let id = live.reservation.request.id;
        let slot = self.slots.insert(live);
        self.ids.insert(number(id), slot);
        self.heap.push((expires, slot));
        self.sift_up(self.heap.len() - 1);
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: ReservationId) -> Option<Live> {
        let slot = self.ids.remove(&number(id))?;
        let live = self.slots.remove(slot);
        self.heap.swap_remove(live.position);
        if live.position < self.heap.len() {
            let position = self.sift_up(live.position);
            self.sift_down(position);
        }
        Some(live)
    }

    /// Lets one live until `expires`; false where there is none of this id.
    pub(super) fn renew(&mut self, id: ReservationId, expires: UnixMillis) -> bool {
        let Some(slot) = self.ids.get(&number(id)) else {
            return false;
        };
        let position = self.slots[*slot].position;
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
        let id = self.slots[*slot].reservation.request.id;
        self.remove(id)
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
            self.ids.shrink_to(self.ids.len() * 2);
            self.heap.shrink_to(self.heap.len() * 2);
            if self.slots.is_empty() {
                self.slots = Slab::new();
            }
        }
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

fn number(id: ReservationId) -> u128 {
    id.as_uuid().as_u128()
}

#[cfg(test)]
mod tests;

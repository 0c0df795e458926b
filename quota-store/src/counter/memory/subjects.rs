//! Subjects and their counters.

use std::{hash::BuildHasher, mem, sync::Arc, time::Duration};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use super::{
    SHARDS,
    counters::{Counter, CountersOf, find, is_same_text},
};
use crate::{
    CounterKey, CounterValue, Generation, Hold, Requester, Scope, Subject, TenantId, UnixMillis,
    UserId,
};

/// How long a generation outlives its last change: longer than a loaded plan can be under way.
const GENERATION_OUTLIVES: Duration = Duration::from_mins(10);

/// A [`Subject`] that is only looked at.
#[derive(Clone, Copy)]
enum SubjectRef<'a> {
    User(Option<&'a TenantId>, &'a UserId),
    Tenant(&'a TenantId),
}

impl SubjectRef<'_> {
    fn is(self, subject: &Subject) -> bool {
        match (self, subject) {
            (Self::User(tenant, user), Subject::User { tenant: t, user: u }) => {
                is_same_text(user.as_str(), u.as_str())
                    && tenant.map(TenantId::as_str) == t.as_ref().map(TenantId::as_str)
            }
            (Self::Tenant(tenant), Subject::Tenant(t)) => is_same_text(tenant.as_str(), t.as_str()),
            _ => false,
        }
    }
}

/// The hashes of a requester's subjects, worked out once per step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    user: u64,
    tenant: Option<u64>,
}

impl Hashes {
    /// Hashes the user and, if there is one, the tenant.
    #[inline]
    pub(super) fn of(requester: &Requester, hasher: &RandomState) -> Self {
        let hash = |id: &str| hasher.hash_one(id.as_bytes());
        let user = hash(requester.user.as_str());
        let tenant = requester.tenant.as_ref();
        let tenant = tenant.map(|tenant| hash(tenant.as_str()).rotate_left(1));
        Self {
            user: user ^ tenant.unwrap_or_default().rotate_left(1),
            tenant,
        }
    }

    /// The shard of the owner, in which both subjects lie.
    #[inline]
    pub(super) fn shard(self) -> usize {
        // The maps within a shard go by other bits of the hash.
        let owner = self.tenant.unwrap_or(self.user);
        usize::try_from((owner >> 32) & 0xffff).unwrap_or_default() % SHARDS
    }
}

/// A requester together with the hashes of its subjects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    /// Who asks.
    pub(super) requester: &'a Requester,
    /// The hashes of its subjects.
    pub(super) hashes: Hashes,
}

impl<'a> Asker<'a> {
    /// The subject of one scope and its hash; `None` for the tenant's where there is no tenant.
    fn subject(self, scope: Scope) -> Option<(SubjectRef<'a>, u64)> {
        let tenant = self.requester.tenant.as_ref();
        match scope {
            Scope::User => Some((
                SubjectRef::User(tenant, &self.requester.user),
                self.hashes.user,
            )),
            Scope::Tenant => Some((SubjectRef::Tenant(tenant?), self.hashes.tenant?)),
        }
    }
}

/// The places of the two subjects of a requester, as far as they are there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owners {
    /// The user.
    pub(super) user: Option<usize>,
    /// The tenant.
    pub(super) tenant: Option<usize>,
}

impl Owners {
    /// The place of one scope's subject.
    #[inline]
    pub(super) const fn of(self, scope: Scope) -> Option<usize> {
        match scope {
            Scope::User => self.user,
            Scope::Tenant => self.tenant,
        }
    }

    /// The places that there are.
    pub(super) fn places(self) -> impl Iterator<Item = (Scope, usize)> {
        let user = self.user.map(|place| (Scope::User, place));
        let tenant = self.tenant.map(|place| (Scope::Tenant, place));
        user.into_iter().chain(tenant)
    }
}

/// What is kept of one subject.
#[derive(Debug)]
pub(super) struct Entry {
    subject: Subject,
    hash: u64,
    generation: Option<(Generation, UnixMillis)>,
    /// How many live reservations hold something of it.
    pub(super) live: u32,
    // Present windows stand before past ones.
    counters: SmallVec<[Counter; 3]>,
}

impl Entry {
    /// The generation of its plan, overrides and resets.
    #[inline]
    pub(super) fn generation(&self) -> Option<Generation> {
        self.generation.map(|(generation, _)| generation)
    }

    /// Sets the generation.
    pub(super) fn set_generation(&mut self, generation: Generation, now: UnixMillis) {
        self.generation = Some((generation, now));
    }

    /// The place of a counter.
    pub(super) fn find(&self, key: &CounterKey) -> Option<usize> {
        find(&self.counters, key, 0)
    }

    /// What a counter says.
    pub(super) fn get(&self, key: &CounterKey) -> Option<CounterValue> {
        Some(self.counters[self.find(key)?].value)
    }

    /// Changes the counters of all holds of this scope, which are there, and lists what they say
    /// then.
    #[inline]
    pub(super) fn change_each(
        &mut self,
        holds: &[Hold],
        scope: Scope,
        values: &mut [CounterValue],
        change: impl Fn(usize, &Hold, CounterValue) -> CounterValue,
    ) {
        let counters = self.counters.as_mut_slice();
        for (index, (hold, value)) in holds.iter().zip(values).enumerate() {
            if hold.counter.scope != scope {
                continue;
            }
            if let Some(place) = find(counters, &hold.counter, index) {
                let changed = change(index, hold, counters[place].value);
                counters[place].value = changed;
                *value = changed;
            }
        }
    }

    /// The counter at a place, to change it.
    #[inline]
    pub(super) fn value_mut(&mut self, place: usize) -> &mut CounterValue {
        &mut self.counters[place].value
    }

    /// Adds a counter that is not there yet; its place, which other counters' places may not
    /// survive.
    pub(super) fn add(&mut self, key: &Arc<CounterKey>, now: UnixMillis) -> usize {
        let counter = Counter {
            key: Arc::clone(key),
            value: CounterValue::default(),
        };
        if !key.span.contains(now) {
            self.counters.push(counter);
            return self.counters.len() - 1;
        }
        let Some(place) = self.counters.iter().position(|other| other.is_of(key)) else {
            let is_past = |other: &Counter| !other.key.span.contains(now);
            let place = self.counters.iter().position(is_past);
            let place = place.unwrap_or(self.counters.len());
            self.counters.insert(place, counter);
            return place;
        };
        let past = mem::replace(&mut self.counters[place], counter);
        self.counters.push(past);
        place
    }

    /// Drops counters that nobody can miss; how many.
    pub(super) fn prune(&mut self, now: UnixMillis, memory: Duration) -> usize {
        let before = self.counters.len();
        // A live reservation may hold nothing of a counter, and still charge it when it commits.
        let is_idle = self.live == 0;
        self.counters
            .retain(|counter| !(counter.is_past(now, memory) || is_idle && counter.is_empty()));
        if self.counters.spilled() && self.counters.len() <= self.counters.inline_size() {
            self.counters.shrink_to_fit();
        }
        before - self.counters.len()
    }

    fn is_idle(&self, now: UnixMillis) -> bool {
        let is_fresh =
            |(_, since): (_, UnixMillis)| since.saturating_add(GENERATION_OUTLIVES) > now;
        self.live == 0 && self.counters.is_empty() && !self.generation.is_some_and(is_fresh)
    }
}

/// What a look through some of the subjects dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dropped {
    /// How many subjects.
    pub(super) subjects: usize,
    /// How many of them were clients without a token.
    pub(super) anonymous: usize,
    /// How many counters.
    pub(super) counters: usize,
}

/// The subjects of one shard. A subject keeps its place until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    index: HashTable<usize>,
    entries: Slab<Entry>,
    // Where the next look through goes on.
    cursor: usize,
}

impl Subjects {
    /// The place of a subject.
    #[inline]
    pub(super) fn find(&self, asker: Asker<'_>, scope: Scope) -> Option<usize> {
        let (subject, hash) = asker.subject(scope)?;
        let is_it = |place: &usize| {
            let entry = &self.entries[*place];
            entry.hash == hash && subject.is(&entry.subject)
        };
        self.index.find(hash, is_it).copied()
    }

    /// Adds a subject that is not there yet; `None` for a tenant where there is none.
    pub(super) fn add(&mut self, asker: Asker<'_>, scope: Scope) -> Option<usize> {
        let (_, hash) = asker.subject(scope)?;
        let place = self.entries.insert(Entry {
            subject: asker.requester.subject(scope)?,
            hash,
            generation: None,
            live: 0,
            counters: SmallVec::new(),
        });
        let entries = &self.entries;
        self.index
            .insert_unique(hash, place, |place| entries[*place].hash);
        Some(place)
    }

    /// The entry at a place.
    #[inline]
    pub(super) fn at(&self, place: usize) -> &Entry {
        &self.entries[place]
    }

    /// The entry at a place, to change it.
    #[inline]
    pub(super) fn at_mut(&mut self, place: usize) -> &mut Entry {
        &mut self.entries[place]
    }

    /// The counters of the subjects at these places.
    #[inline]
    pub(super) fn counters_of(&self, owners: Owners) -> CountersOf<'_> {
        let counters = |place: Option<usize>| {
            place.map_or([].as_slice(), |place| {
                self.entries[place].counters.as_slice()
            })
        };
        CountersOf {
            user: counters(owners.user),
            tenant: counters(owners.tenant),
        }
    }

    /// Looks through the next `count` places, and drops what nobody can miss.
    pub(super) fn prune(&mut self, now: UnixMillis, memory: Duration, count: usize) -> Dropped {
        let mut dropped = Dropped::default();
        let end = self.entries.capacity();
        for _ in 0..count.min(end) {
            let place = self.cursor;
            self.cursor = if place + 1 < end { place + 1 } else { 0 };
            let Some(entry) = self.entries.get_mut(place) else {
                continue;
            };
            dropped.counters += entry.prune(now, memory);
            if entry.is_idle(now) {
                let entry = self.entries.remove(place);
                if let Ok(found) = self.index.find_entry(entry.hash, |other| *other == place) {
                    found.remove();
                }
                dropped.subjects += 1;
                let is_anonymous =
                    matches!(&entry.subject, Subject::User { user, .. } if user.is_anonymous());
                dropped.anonymous += usize::from(is_anonymous);
            }
        }
        dropped
    }
}

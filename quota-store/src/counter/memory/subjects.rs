//! Subjects and their counters.

use std::{
    hash::{BuildHasher, Hash},
    mem,
    time::Duration,
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use crate::{
    CounterKey, CounterValue, Generation, Requester, Scope, Subject, TenantId, UnixMillis, UserId,
};

/// How long a generation outlives its last change: longer than a loaded plan can be under way.
const GENERATION_OUTLIVES: Duration = Duration::from_mins(10);

/// A [`Subject`] that is only looked at.
#[derive(Clone, Copy, Hash)]
enum SubjectRef<'a> {
    User(Option<&'a TenantId>, &'a UserId),
    Tenant(&'a TenantId),
}

impl SubjectRef<'_> {
    fn is(self, subject: &Subject) -> bool {
        match (self, subject) {
            (Self::User(tenant, user), Subject::User { tenant: t, user: u }) => {
                user == u && tenant == t.as_ref()
            }
            (Self::Tenant(tenant), Subject::Tenant(t)) => tenant == t,
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
    pub(super) fn of(requester: &Requester, hasher: &RandomState) -> Self {
        let tenant = requester.tenant.as_ref();
        Self {
            user: hasher.hash_one(SubjectRef::User(tenant, &requester.user)),
            tenant: tenant.map(|tenant| hasher.hash_one(SubjectRef::Tenant(tenant))),
        }
    }

    /// The hash of the owner, in whose partition both subjects lie.
    pub(super) fn owner(self) -> u64 {
        self.tenant.unwrap_or(self.user)
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

/// One counter in its window.
#[derive(Debug)]
struct Counter {
    key: CounterKey,
    value: CounterValue,
}

impl Counter {
    fn is(&self, key: &CounterKey) -> bool {
        // The scope is that of the entry. Numbers first: they tell nearly all counters apart.
        self.key.span == key.span && self.is_of(key)
    }

    fn is_of(&self, key: &CounterKey) -> bool {
        let (own, other) = (self.key.quota.as_str(), key.quota.as_str());
        // Names come from one configuration, so equal ones are mostly one and the same.
        self.key.window == key.window && (std::ptr::eq(own, other) || own == other)
    }

    /// Whether its window is long over.
    fn is_past(&self, now: UnixMillis, memory: Duration) -> bool {
        let is_over = |end: UnixMillis| end.saturating_add(memory) <= now;
        self.value.reserved.is_zero() && self.key.span.end().is_some_and(is_over)
    }

    fn is_empty(&self) -> bool {
        self.value == CounterValue::default()
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
    pub(super) fn generation(&self) -> Option<Generation> {
        self.generation.map(|(generation, _)| generation)
    }

    /// Sets the generation.
    pub(super) fn set_generation(&mut self, generation: Generation, now: UnixMillis) {
        self.generation = Some((generation, now));
    }

    /// The place of a counter.
    pub(super) fn find(&self, key: &CounterKey) -> Option<usize> {
        self.counters.iter().position(|counter| counter.is(key))
    }

    /// The counter at a place.
    pub(super) fn value(&self, place: usize) -> CounterValue {
        self.counters[place].value
    }

    /// The counter at a place, to change it.
    pub(super) fn value_mut(&mut self, place: usize) -> &mut CounterValue {
        &mut self.counters[place].value
    }

    /// Adds a counter that is not there yet; its place, which other counters' places may not
    /// survive.
    pub(super) fn add(&mut self, key: &CounterKey, now: UnixMillis) -> usize {
        let counter = Counter {
            key: key.clone(),
            value: CounterValue::default(),
        };
        if !key.span.contains(now) {
            self.counters.push(counter);
            return self.counters.len() - 1;
        }
        let Some(place) = self.counters.iter().position(|other| other.is_of(key)) else {
            self.counters.insert(0, counter);
            return 0;
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
    pub(super) fn at(&self, place: usize) -> &Entry {
        &self.entries[place]
    }

    /// The entry at a place, to change it.
    pub(super) fn at_mut(&mut self, place: usize) -> &mut Entry {
        &mut self.entries[place]
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
            }
        }
        dropped
    }
}

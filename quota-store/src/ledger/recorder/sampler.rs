//! Denials of one subject in one minute: the first ones as they are, the others as a number.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Denials;
use crate::{
    TenantId, UserId,
    ledger::{Attempt, Outcome},
};

/// How many denials are written as they are.
pub(super) const ROWS: u32 = 10;

/// How many subjects, rules and minutes are counted at the same time. Denials of others are dropped
/// and counted as such.
pub(super) const OPEN: usize = 10_000;

const MINUTE_MS: u64 = 60_000;

/// How long after its end a minute still takes denials that come late.
const GRACE: Duration = Duration::from_secs(1);

/// Decides which denials are written.
#[derive(Debug)]
pub(super) struct Sampler {
    denials: Denials,
    open: Mutex<HashMap<Key, Tally>>,
}

/// What becomes of a note.
#[derive(Debug)]
pub(super) enum Sampled {
    /// It is written as it is.
    Row(Box<Attempt>),
    /// It is a part of a number.
    Counted,
    /// Nobody wants to know of it.
    Unwanted,
    /// Too many are being counted.
    NoRoom,
}

/// Outcomes are apart, so that no record says another one than was.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: Option<TenantId>,
    user: Option<UserId>,
    rule: Option<String>,
    outcome: Outcome,
    minute: u64,
}

#[derive(Debug)]
struct Tally {
    rows: u32,
    /// The first one that was only counted, with the number of them.
    rest: Option<Attempt>,
    /// From then on the minute is over.
    over: Instant,
}

impl Sampler {
    pub(super) fn new(denials: Denials) -> Self {
        Self {
            denials,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Key, Tally>> {
        // Nothing panics while it is locked.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sample(&self, attempt: Attempt, now: Instant) -> Sampled {
        let is_denial = matches!(
            attempt.outcome,
            Outcome::Denied | Outcome::Unavailable | Outcome::ShadowDenied | Outcome::Unmatched
        );
        match self.denials {
            Denials::Sampled if is_denial => self.sample_denial(attempt, now),
            Denials::Off if is_denial => Sampled::Unwanted,
            _ => Sampled::Row(Box::new(attempt)),
        }
    }

    fn sample_denial(&self, attempt: Attempt, now: Instant) -> Sampled {
        let key = Key::of(&attempt);
        let mut open = self.open();
        let is_full = open.len() >= OPEN;
        let tally = match open.entry(key) {
            Entry::Occupied(tally) => tally.into_mut(),
            Entry::Vacant(_) if is_full => return Sampled::NoRoom,
            Entry::Vacant(place) => place.insert(Tally {
                rows: 0,
                rest: None,
                over: now + rest_of_minute(&attempt) + GRACE,
            }),
        };
        if tally.rows < ROWS {
            tally.rows += 1;
            return Sampled::Row(Box::new(attempt));
        }
        match &mut tally.rest {
            Some(rest) => rest.count = rest.count.saturating_add(attempt.count.get()),
            none => *none = Some(standing_for_many(attempt)),
        }
        Sampled::Counted
    }

    /// Whether any minute may still end.
    pub(super) fn is_open(&self) -> bool {
        !self.open().is_empty()
    }

    /// Forgets the minutes that are over, and takes what was only counted in them.
    pub(super) fn take_over(&self, now: Instant) -> Vec<Attempt> {
        let mut taken = Vec::new();
        self.open().retain(|_, tally| {
            let is_over = tally.over <= now;
            if is_over {
                taken.extend(tally.rest.take());
            }
            !is_over
        });
        taken
    }

    /// Takes what was only counted so far, also in minutes that go on.
    pub(super) fn take_all(&self) -> Vec<Attempt> {
        let mut open = self.open();
        open.values_mut()
            .filter_map(|tally| tally.rest.take())
            .collect()
    }
}

impl Key {
    fn of(attempt: &Attempt) -> Self {
        Self {
            tenant: attempt.tenant.clone(),
            user: attempt.user.clone(),
            rule: attempt.rule.clone(),
            outcome: attempt.outcome,
            minute: attempt.at.get() / MINUTE_MS,
        }
    }
}

/// How long the minute of an attempt goes on. This is told without a clock of the counter store.
fn rest_of_minute(attempt: &Attempt) -> Duration {
    Duration::from_millis(MINUTE_MS - attempt.at.get() % MINUTE_MS)
}

/// The record of many, without what is true of only one of them.
fn standing_for_many(attempt: Attempt) -> Attempt {
    Attempt {
        latency: None,
        tags: std::collections::BTreeMap::new(),
        metadata: serde_json::Map::new(),
        request_id: None,
        client_ip: None,
        user_agent: None,
        ..attempt
    }
}

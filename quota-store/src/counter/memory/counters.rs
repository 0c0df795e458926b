//! Counters, and how they are told apart.

use std::{sync::Arc, time::Duration};

use crate::{CounterKey, CounterValue, Scope, UnixMillis};

/// The counters of a requester's subjects.
#[derive(Clone, Copy)]
pub(super) struct CountersOf<'a> {
    /// The user's.
    pub(super) user: &'a [Counter],
    /// The tenant's, where there is one.
    pub(super) tenant: &'a [Counter],
}

impl<'a> CountersOf<'a> {
    /// The counters of one scope's subject.
    #[inline]
    pub(super) const fn of(self, scope: Scope) -> &'a [Counter] {
        match scope {
            Scope::User => self.user,
            Scope::Tenant => self.tenant,
        }
    }
}

/// One counter in its window.
#[derive(Debug)]
pub(super) struct Counter {
    /// Which it is.
    pub(super) key: Arc<CounterKey>,
    /// What it says.
    pub(super) value: CounterValue,
}

/// The place of a counter, which may well be `likely`.
#[inline]
pub(super) fn find(counters: &[Counter], key: &CounterKey, likely: usize) -> Option<usize> {
    if counters.get(likely).is_some_and(|counter| counter.is(key)) {
        return Some(likely);
    }
    counters.iter().position(|counter| counter.is(key))
}

impl Counter {
    #[inline]
    fn is(&self, key: &CounterKey) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.key), key) || is_same_counter(&self.key, key)
    }

    /// Whether it is of the same kind, in another window perhaps.
    pub(super) fn is_of(&self, key: &CounterKey) -> bool {
        self.key.window == key.window && self.key.quota == key.quota
    }

    /// Whether its window is long over.
    pub(super) fn is_past(&self, now: UnixMillis, memory: Duration) -> bool {
        let is_over = |end: UnixMillis| end.saturating_add(memory) <= now;
        self.value.reserved.is_zero() && self.key.span.end().is_some_and(is_over)
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.value == CounterValue::default()
    }
}

/// Whether two keys of one scope name the same counter.
#[inline]
pub(super) fn is_same_counter(one: &CounterKey, other: &CounterKey) -> bool {
    // Numbers first: they tell nearly all counters apart.
    one.span == other.span
        && one.window == other.window
        && is_same_text(one.quota.as_str(), other.quota.as_str())
}

/// Whether two texts are equal, as two clones of one text mostly are.
#[inline]
pub(super) fn is_same_text(one: &str, other: &str) -> bool {
    std::ptr::eq(one, other) || one == other
}

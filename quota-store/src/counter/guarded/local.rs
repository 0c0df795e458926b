//! What one process lets through by itself while the store is down.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hashbrown::HashMap;

use crate::{Amount, Amounts, CounterKey, Reserve, Subject, UnixMillis};

#[cfg(test)]
mod tests;

/// How many counters a budget knows at most; a counter for which there is no room gets nothing.
const CAPACITY: usize = 100_000;
/// How often a full budget looks for windows that are over.
const PURGE_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Counter {
    subject: Subject,
    key: Arc<CounterKey>,
}

/// Units let through, by counter.
#[derive(Debug)]
pub(super) struct Budget {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    spent: HashMap<Counter, Amount, foldhash::fast::RandomState>,
    outage: u64,
    purged_at: UnixMillis,
}

/// Units to take from a budget: all of them or none.
#[derive(Debug, Default)]
pub(super) struct Wanted(Vec<Want>);

#[derive(Debug)]
struct Want {
    /// Its place in the reserve.
    hold: usize,
    counter: Counter,
    amount: Amount,
    /// What the counter's total may not pass.
    most: Amount,
}

impl Wanted {
    /// Everything that the request holds on counters for which `most` names a bound.
    pub(super) fn of(request: &Reserve, most: impl Fn(&crate::Hold) -> Option<Amount>) -> Self {
        let holds = request.holds.iter().enumerate();
        Self(
            holds
                .filter_map(|(index, hold)| {
                    Some(Want {
                        hold: index,
                        most: most(hold)?,
                        amount: hold.amount,
                        counter: Counter {
                            subject: request.requester.subject(hold.counter.scope)?,
                            key: Arc::clone(&hold.counter),
                        },
                    })
                })
                .collect(),
        )
    }
}

impl Budget {
    pub(super) fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity,
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // No step panics between two changes that belong together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins again at zero if this is a later outage than the last one.
    pub(super) fn enter(&self, outage: u64) {
        let mut inner = self.inner();
        if inner.outage < outage {
            inner.outage = outage;
            inner.spent.clear();
        }
    }

    /// Takes all that is wanted, or nothing: then `None`.
    pub(super) fn take(self: &Arc<Self>, wanted: Wanted, now: UnixMillis) -> Option<LocalTicket> {
        let mut inner = self.inner();
        for (index, want) in wanted.0.iter().enumerate() {
            if !inner.add(want, self.capacity, now) {
                for taken in &wanted.0[..index] {
                    inner.subtract(&taken.counter, taken.amount);
                }
                return None;
            }
        }
        drop(inner);
        Some(LocalTicket {
            budget: Arc::clone(self),
            taken: wanted.0,
        })
    }
}

impl Inner {
    /// Whether the units fit, and then they are added. Zero always fits.
    fn add(&mut self, want: &Want, capacity: usize, now: UnixMillis) -> bool {
        if want.amount.is_zero() {
            return true;
        }
        if let Some(spent) = self.spent.get_mut(&want.counter) {
            let total = spent.get() + want.amount.get();
            if total <= want.most.get() {
                *spent = Amount::saturating(total);
            }
            return total <= want.most.get();
        }
        if want.amount > want.most || !self.has_room(capacity, now) {
            return false;
        }
        self.spent.insert(want.counter.clone(), want.amount);
        true
    }

    fn has_room(&mut self, capacity: usize, now: UnixMillis) -> bool {
        if self.spent.len() >= capacity && now.saturating_since(self.purged_at) >= PURGE_EVERY {
            self.purged_at = now;
            self.spent
                .retain(|counter, _| counter.key.span.end().is_none_or(|end| now < end));
        }
        self.spent.len() < capacity
    }

    fn subtract(&mut self, counter: &Counter, amount: Amount) {
        if let Some(spent) = self.spent.get_mut(counter) {
            *spent = spent.saturating_sub(amount);
            if spent.is_zero() {
                self.spent.remove(counter);
            }
        }
    }
}

/// Units that one request took from this process's own share of its limits.
///
/// Dropped, it gives them back: a request that fails costs nothing here either.
#[must_use = "a dropped ticket gives its units back"]
#[derive(Debug)]
pub struct LocalTicket {
    budget: Arc<Budget>,
    taken: Vec<Want>,
}

impl LocalTicket {
    /// Keeps what was taken.
    pub(super) fn keep(mut self) {
        self.taken.clear();
    }

    /// Keeps what the request used, one amount per hold of its reserve; more than it took counts
    /// as well, beyond the share if need be.
    pub fn commit(mut self, amounts: &Amounts) {
        let taken = std::mem::take(&mut self.taken);
        let mut inner = self.budget.inner();
        for want in taken {
            let used = amounts.get(want.hold).copied().unwrap_or(want.amount);
            inner.subtract(&want.counter, want.amount.saturating_sub(used));
            let more = used.saturating_sub(want.amount);
            if more.is_zero() {
                continue;
            }
            if let Some(spent) = inner.spent.get_mut(&want.counter) {
                *spent = spent.saturating_add(more);
            } else if inner.spent.len() < self.budget.capacity {
                inner.spent.insert(want.counter, more);
            }
        }
    }
}

impl Drop for LocalTicket {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut inner = self.budget.inner();
        for want in self.taken.drain(..) {
            inner.subtract(&want.counter, want.amount);
        }
    }
}

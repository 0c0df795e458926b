//! How far the recorder is behind.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::Backlog;

/// Records of what was charged that are not durable yet.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    records: usize,
    oldest: Option<Instant>,
}

impl Standing {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more waits.
    pub(super) fn add(&self, now: Instant) {
        let mut inner = self.inner();
        inner.records += 1;
        inner.oldest.get_or_insert(now);
    }

    /// So many wait no longer.
    pub(super) fn remove(&self, records: usize) {
        let mut inner = self.inner();
        inner.records = inner.records.saturating_sub(records);
        if inner.records == 0 {
            inner.oldest = None;
        }
    }

    /// The first of those that wait now has waited since then.
    pub(super) fn set_oldest(&self, since: Instant) {
        self.inner().oldest = Some(since);
    }

    pub(super) fn records(&self) -> usize {
        self.inner().records
    }

    pub(super) fn backlog(&self, now: Instant) -> Backlog {
        let inner = self.inner();
        Backlog {
            records: inner.records,
            oldest: inner
                .oldest
                .map(|since| now.saturating_duration_since(since)),
        }
    }

    /// Shows it in the metrics.
    pub(super) fn publish(&self, now: Instant) {
        let Backlog { records, oldest } = self.backlog(now);
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        metrics::gauge!("quota_ledger_backlog").set(records);
        metrics::gauge!("quota_ledger_lag_seconds").set(oldest.unwrap_or(Duration::ZERO));
    }
}

/// Counts attempts that will never be in the ledger.
pub(super) fn dropped(attempts: u64) {
    metrics::counter!("quota_ledger_dropped_total").increment(attempts);
}

//! What a store with a ledger knows of it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::keys::PARTITIONS;
use crate::{
    Epoch, Loss, UnixMillis,
    ledger::{Backlog, Ledger, LedgerError},
};

/// The ledger, and how far the streams are behind.
pub(super) struct Outbox {
    pub(super) ledger: Arc<dyn Ledger>,
    /// The epoch that each partition should have; 0 where it is not known.
    expected: Box<[AtomicU64]>,
    /// Rings where a partition has another epoch.
    pub(super) alarm: Notify,
    /// What was charged since the backlog was last looked at.
    charged: AtomicU64,
    standing: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    records: usize,
    oldest: Option<Instant>,
    loss: Option<Loss>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    pub(super) fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self {
            ledger,
            expected: (0..PARTITIONS).map(|_| AtomicU64::new(0)).collect(),
            alarm: Notify::new(),
            charged: AtomicU64::new(0),
            standing: Mutex::default(),
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Nothing panics while it is locked.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Relaxed throughout: each epoch is a number by itself, which the scripts check.
    pub(super) fn expected(&self, partition: u8) -> Epoch {
        Epoch(self.expected[usize::from(partition)].load(Ordering::Relaxed))
    }

    pub(super) fn expect(&self, partition: u8, epoch: Epoch) {
        self.expected[usize::from(partition)].store(epoch.0, Ordering::Relaxed);
    }

    /// A charge was acknowledged, and is in a stream.
    pub(super) fn charge(&self) {
        self.charged.fetch_add(1, Ordering::Relaxed);
    }

    /// So many entries were in the streams just now, the oldest of them of this age.
    pub(super) fn see(&self, records: usize, age: Duration) {
        let now = monotonic_now();
        let oldest = (records > 0).then(|| now.checked_sub(age).unwrap_or(now));
        self.charged.store(0, Ordering::Relaxed);
        let mut standing = self.standing();
        (standing.records, standing.oldest) = (records, oldest);
        drop(standing);
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        let lag = oldest.map_or(Duration::ZERO, |_| age);
        metrics::gauge!("quota_ledger_backlog").set(records);
        metrics::gauge!("quota_ledger_lag_seconds").set(lag);
    }

    pub(super) fn backlog(&self) -> Backlog {
        let standing = self.standing();
        Backlog {
            records: standing.records,
            oldest: standing
                .oldest
                .map(|since| monotonic_now().saturating_duration_since(since)),
        }
    }

    /// The data of so many partitions was found lost.
    pub(super) fn lose(&self, at: UnixMillis, partitions: usize) -> Loss {
        let mut standing = self.standing();
        let charged = self.charged.swap(0, Ordering::Relaxed);
        let records = u64::try_from(standing.records).unwrap_or(u64::MAX);
        let loss = Loss {
            at,
            partitions,
            records_at_most: records.saturating_add(charged),
        };
        // The streams went with the counters.
        (standing.records, standing.oldest) = (0, None);
        standing.loss = Some(loss);
        loss
    }

    pub(super) fn last_loss(&self) -> Option<Loss> {
        self.standing().loss
    }
}

/// What went wrong with the ledger, in one line.
pub(super) fn reason_of(error: &LedgerError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "waiting is measured on tokio's monotonic clock"
)]
pub(super) fn monotonic_now() -> Instant {
    Instant::now()
}

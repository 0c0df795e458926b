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
    /// What could have been lost before the last look, which may have been the first one after a
    /// loss that nobody has found yet.
    before: u64,
    /// What may be lost, since a stream was found missing.
    at_stake: Option<u64>,
    loss: Option<Loss>,
}

impl Standing {
    fn records(&self) -> u64 {
        u64::try_from(self.records).unwrap_or(u64::MAX)
    }

    /// What may be lost, with what was charged since the last look.
    fn at_stake(&self, charged: u64) -> u64 {
        self.records().saturating_add(charged).max(self.before)
    }
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

    /// How much was charged since the backlog was last looked at.
    pub(super) fn charged(&self) -> u64 {
        self.charged.load(Ordering::Relaxed)
    }

    /// So many entries are in the streams, the oldest of them of this age; `charged` is from before
    /// they were counted.
    pub(super) fn see(&self, records: usize, age: Duration, charged: u64) {
        let now = monotonic_now();
        let oldest = (records > 0).then(|| now.checked_sub(age).unwrap_or(now));
        self.charged.fetch_sub(charged, Ordering::Relaxed);
        let mut standing = self.standing();
        standing.before = standing.records().saturating_add(charged);
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

    /// A stream is missing: what was in it may be lost.
    pub(super) fn suspect(&self) {
        let mut standing = self.standing();
        let at_stake = standing.at_stake(self.charged());
        standing.at_stake.get_or_insert(at_stake);
        drop(standing);
        self.alarm.notify_one();
    }

    /// Nothing is lost.
    pub(super) fn calm(&self) {
        self.standing().at_stake = None;
    }

    /// The data of so many partitions was found lost.
    pub(super) fn lose(&self, at: UnixMillis, partitions: usize) -> Loss {
        let mut standing = self.standing();
        let at_stake = standing.at_stake(self.charged());
        let loss = Loss {
            at,
            partitions,
            records_at_most: standing.at_stake.take().unwrap_or(at_stake),
        };
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

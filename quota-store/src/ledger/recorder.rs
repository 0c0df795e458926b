//! What stands between the requests of a process and its ledger.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use self::{
    lot::Item,
    sampler::{Sampled, Sampler},
    standing::Standing,
    writer::{Order, Writer},
};
use super::{Attempt, Ledger, LedgerError, LedgerErrorKind, Posting};

mod lot;
mod sampler;
mod standing;
mod writer;

#[cfg(test)]
mod tests;

/// How many notes may wait. More are dropped and counted.
const NOTES: usize = 16_384;

/// How a [`Recorder`] works.
#[derive(Clone, Debug)]
pub struct RecorderOptions {
    /// How many records of what was charged may wait before the recorder calls itself full.
    pub backlog: usize,
    /// How many records are appended in one step, at most.
    pub batch: usize,
    /// Which denials are written.
    pub denials: Denials,
    /// Who shows how far the ledger is behind.
    pub gauges: Gauges,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            backlog: 1_000_000,
            batch: 2_000,
            denials: Denials::default(),
            gauges: Gauges::default(),
        }
    }
}

/// Who sets `quota_ledger_backlog` and `quota_ledger_lag_seconds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gauges {
    /// The recorder.
    #[default]
    Recorder,
    /// The counter store, which brings what it charges to the ledger by itself: two would
    /// overwrite each other.
    Store,
}

/// Which denials are written: attempts that are `denied`, `unavailable`, `shadow_denied` or
/// `unmatched`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denials {
    /// The first ten of each subject, rule, outcome and minute; the others of that minute as one
    /// record, whose `count` says how many they are.
    #[default]
    Sampled,
    /// Every one, as far as there is room.
    Each,
    /// None.
    Off,
}

/// Brings what happened in one process to its ledger.
///
/// One task writes. What comes while it waits for the ledger goes into the ledger together, in one
/// step. Records of what was charged wait until the ledger takes them, however long it is down;
/// notes of what was not are dropped and counted when there are too many.
///
/// Clones are cheap, and share one task. When the last one is gone the task writes what is left and
/// ends.
#[derive(Clone, Debug)]
pub struct Recorder {
    orders: mpsc::UnboundedSender<Order>,
    notes: mpsc::Sender<Item>,
    standing: Arc<Standing>,
    sampler: Arc<Sampler>,
    backlog: usize,
}

/// Resolves when a record is durable.
///
/// Dropping it changes nothing: the record is written all the same.
///
/// It fails with [`LedgerErrorKind::Invalid`] where the ledger refused the record for good, and with
/// [`LedgerErrorKind::Unreachable`] where the runtime ended before the record was written.
#[derive(Debug)]
pub struct Recording(oneshot::Receiver<Result<(), LedgerError>>);

/// Records of what was charged that are not durable yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many.
    pub records: usize,
    /// How long the oldest of them has been waiting; `None` where there is none.
    pub oldest: Option<Duration>,
}

impl Recorder {
    /// Starts the task that writes.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn start(ledger: Arc<dyn Ledger>, options: &RecorderOptions) -> Self {
        let (orders, incoming_orders) = mpsc::unbounded_channel();
        let (notes, incoming_notes) = mpsc::channel(NOTES);
        let recorder = Self {
            orders,
            notes,
            standing: Arc::default(),
            sampler: Arc::new(Sampler::new(options.denials)),
            backlog: options.backlog,
        };
        let writer = Writer {
            ledger,
            orders: incoming_orders,
            notes: incoming_notes,
            standing: Arc::clone(&recorder.standing),
            sampler: Arc::clone(&recorder.sampler),
            batch: options.batch.max(1),
            gauges: options.gauges,
        };
        tokio::spawn(writer.run());
        recorder
    }

    /// Takes what was charged, with what it changed. It never waits, and it takes the record also
    /// when the recorder is full.
    ///
    /// The posting has the attempt's id. Both are written in one step.
    pub fn record(&self, attempt: Attempt, posting: Option<Posting>) -> Recording {
        let (sender, recording) = oneshot::channel();
        let now = monotonic_now();
        let item = Item {
            attempt,
            posting,
            since: now,
            waiting: Some(sender),
        };
        self.standing.add(now);
        if let Err(unsent) = self.orders.send(Order::Write(item)) {
            let Order::Write(item) = unsent.0 else {
                return Recording(recording);
            };
            self.standing.remove(1);
            standing::dropped(1);
            tracing::error!(
                target: "quota::ledger",
                id = %item.attempt.id,
                outcome = %item.attempt.outcome,
                "a record is lost: the runtime that writes the ledger has ended"
            );
        }
        Recording(recording)
    }

    /// Takes a record unless the recorder is full, in which case it is dropped and counted: for
    /// those who would rather lose records than refuse requests.
    #[expect(
        clippy::must_use_candidate,
        reason = "not to wait for the record is usual"
    )]
    pub fn record_unless_full(
        &self,
        attempt: Attempt,
        posting: Option<Posting>,
    ) -> Option<Recording> {
        if self.is_full() {
            standing::dropped(1);
            return None;
        }
        Some(self.record(attempt, posting))
    }

    /// Takes what was not charged: a denial, a release. It never waits; where there is no room the
    /// note is dropped and counted.
    pub fn note(&self, attempt: Attempt) {
        let now = monotonic_now();
        let count = attempt.count;
        let is_dropped = match self.sampler.sample(attempt, now) {
            Sampled::Row(attempt) => self.notes.try_send(Item::note(*attempt, now)).is_err(),
            Sampled::Counted | Sampled::Unwanted => false,
            Sampled::NoRoom => true,
        };
        if is_dropped {
            standing::dropped(u64::from(count.get()));
        }
    }

    /// Whether as many records wait as may: new work should be refused, or go unrecorded.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.standing.records() >= self.backlog
    }

    /// What waits.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.standing.backlog(monotonic_now())
    }

    /// Waits until everything that was given so far is durable, denials that were only counted
    /// included. While the ledger is down this waits for it.
    pub async fn drain(&self) {
        let (sender, drained) = oneshot::channel();
        // Where the task has ended nothing is left to wait for.
        if self.orders.send(Order::Drain(sender)).is_ok() {
            drained.await.unwrap_or_default();
        }
    }
}

impl Future for Recording {
    type Output = Result<(), LedgerError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|written| {
            written.unwrap_or_else(|_| {
                let reason = "the runtime that writes the ledger has ended";
                Err(LedgerError::new(LedgerErrorKind::Unreachable, reason))
            })
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "waiting is measured on tokio's monotonic clock, which tests can pause"
)]
fn monotonic_now() -> Instant {
    Instant::now()
}

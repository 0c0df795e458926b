//! What is appended in one step, and who waits for it.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};

use crate::ledger::{Attempt, Batch, LedgerError, Posting};

/// One record on its way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) attempt: Attempt,
    pub(super) posting: Option<Posting>,
    /// When it was given.
    pub(super) since: Instant,
    /// Who may wait for it; `None` for what is only noted.
    pub(super) waiting: Option<Waiting>,
}

pub(super) type Waiting = oneshot::Sender<Result<(), LedgerError>>;

impl Item {
    /// A record that may be lost.
    pub(super) fn note(attempt: Attempt, since: Instant) -> Self {
        Self {
            attempt,
            posting: None,
            since,
            waiting: None,
        }
    }
}

/// Records that are appended in one step.
#[derive(Debug)]
pub(super) struct Lot {
    batch: Arc<Batch>,
    /// One for each attempt of the batch.
    stubs: Vec<Stub>,
}

/// What is left of an item when its records are in the batch.
#[derive(Debug)]
struct Stub {
    has_posting: bool,
    since: Instant,
    waiting: Option<Waiting>,
}

impl Lot {
    pub(super) fn new(items: Vec<Item>) -> Self {
        let mut batch = Batch {
            attempts: Vec::with_capacity(items.len()),
            ..Batch::default()
        };
        let mut stubs = Vec::with_capacity(items.len());
        for item in items {
            stubs.push(Stub {
                has_posting: item.posting.is_some(),
                since: item.since,
                waiting: item.waiting,
            });
            batch.attempts.push(item.attempt);
            batch.postings.extend(item.posting);
        }
        Self {
            batch: Arc::new(batch),
            stubs,
        }
    }

    pub(super) fn batch(&self) -> Arc<Batch> {
        Arc::clone(&self.batch)
    }

    pub(super) fn len(&self) -> usize {
        self.stubs.len()
    }

    /// How many of its records are of what was charged.
    pub(super) fn charged(&self) -> usize {
        let charged = self.stubs.iter().filter(|stub| stub.waiting.is_some());
        charged.count()
    }

    /// Since when the first of those has waited.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let mut charged = self.stubs.iter().filter(|stub| stub.waiting.is_some());
        charged.next().map(|stub| stub.since)
    }

    /// Two lots with half of its records each, in their order.
    pub(super) fn halves(self) -> [Self; 2] {
        let mut first = self.into_items();
        let second = first.split_off(first.len() / 2);
        [Self::new(first), Self::new(second)]
    }

    fn into_items(self) -> Vec<Item> {
        // A ledger that still holds the batch keeps its own copy.
        let batch = Arc::unwrap_or_clone(self.batch);
        let mut postings = batch.postings.into_iter();
        let stubs = batch.attempts.into_iter().zip(self.stubs);
        stubs
            .map(|(attempt, stub)| Item {
                attempt,
                posting: stub.has_posting.then(|| postings.next()).flatten(),
                since: stub.since,
                waiting: stub.waiting,
            })
            .collect()
    }

    /// Tells everybody who waits that their record is durable.
    pub(super) fn written(self) {
        for waiting in self.stubs.into_iter().filter_map(|stub| stub.waiting) {
            // Nobody may wait any more.
            waiting.send(Ok(())).unwrap_or_default();
        }
    }

    /// Gives up the one record that is in it.
    pub(super) fn refused(self, error: LedgerError) {
        for attempt in &self.batch.attempts {
            super::standing::dropped(u64::from(attempt.count.get()));
            tracing::error!(
                target: "quota::ledger",
                id = %attempt.id,
                outcome = %attempt.outcome,
                has_posting = !self.batch.postings.is_empty(),
                error = &error as &dyn std::error::Error,
                "a record is lost: the ledger refused it as malformed"
            );
        }
        let mut waiting = self.stubs.into_iter().filter_map(|stub| stub.waiting);
        if let Some(waiting) = waiting.next() {
            waiting.send(Err(error)).unwrap_or_default();
        }
    }
}

//! What the ledger is told: one record for each attempt, whoever settles it.

use std::{fmt, sync::Arc, time::Duration};

use quota_store::{
    Amounts, Commit, GuardedStore, Orphans, Reservation, Settled, StoreError,
    ledger::{
        Attempt, Backlog, Denials, Entry, Gauges, Outcome, Posting, PostingKind, Recorder,
        RecorderOptions, Recording,
    },
};

pub(crate) use self::{
    draft::{Draft, Origin, charged},
    open::{Books, Claimed, open},
    restore::restore,
    rolling::roll_up_for_ever,
};
use crate::config::{DenialRecords, LedgerConfig, OnBacklogFull};

mod draft;
mod expired;
mod open;
mod restore;
mod retention;
mod rolling;

/// How long a shutdown waits for the ledger.
const DRAIN: Duration = Duration::from_secs(10);

/// The ledger, and the way to it.
pub(crate) struct Records {
    pub(crate) books: Books,
    recorder: Recorder,
    config: LedgerConfig,
    /// How long an answer waits for its record.
    patience: Duration,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

/// What a commit did.
pub(crate) struct Committed {
    pub(crate) settled: Settled,
    /// Resolves when the record of it is durable; `None` where nobody has to wait for that.
    pub(crate) recording: Option<Recording>,
}

/// Charges a reservation, and sees to it that the ledger says so: the one way on which units are
/// charged.
pub(crate) async fn commit(
    store: &GuardedStore,
    records: Option<&Records>,
    commit: &Commit,
) -> Result<Committed, StoreError> {
    let settled = store.commit(commit).await?;
    let recording = records.and_then(|records| records.committed(store, commit, &settled));
    Ok(Committed { settled, recording })
}

impl Records {
    /// Starts the way to the ledger on the present tokio runtime.
    pub(crate) fn start(
        books: Books,
        config: LedgerConfig,
        patience: Duration,
        gauges: Gauges,
    ) -> Self {
        let options = RecorderOptions {
            backlog: config.backlog,
            denials: match config.denials {
                DenialRecords::Sampled => Denials::Sampled,
                DenialRecords::Each => Denials::Each,
                DenialRecords::Off => Denials::Off,
            },
            gauges,
            ..RecorderOptions::default()
        };
        Self {
            recorder: Recorder::start(Arc::clone(&books.ledger), &options),
            books,
            config,
            patience,
        }
    }

    /// Whether requests are refused because too many records wait.
    pub(crate) fn refuse(&self, store: &GuardedStore) -> bool {
        match self.config.on_backlog_full {
            OnBacklogFull::Deny => self.are_full(store),
            // A store that writes the ledger keeps what was charged all the same, and its memory
            // ends somewhere.
            OnBacklogFull::Drop => {
                let most = self.config.backlog.saturating_mul(2);
                store.writes_ledger() && store.backlog().records >= most
            }
        }
    }

    /// Whether as many records wait as may, here or in the store.
    fn are_full(&self, store: &GuardedStore) -> bool {
        let in_store = || store.writes_ledger() && store.backlog().records >= self.config.backlog;
        self.recorder.is_full() || in_store()
    }

    /// What a commit brings along for a store that writes the ledger itself, and for those who
    /// write it after one that does not; `None` where the ledger is told the amounts alone.
    pub(crate) fn attempt(&self, store: &GuardedStore, attempt: Attempt) -> Option<Arc<Attempt>> {
        let is_dropped = store.writes_ledger()
            && self.config.on_backlog_full == OnBacklogFull::Drop
            && self.are_full(store);
        (!is_dropped).then(|| Arc::new(attempt))
    }

    /// What was charged and waits to be written by this process.
    pub(crate) fn backlog(&self) -> Backlog {
        self.recorder.backlog()
    }

    /// Takes what was not charged. Where there is no room it is dropped and counted.
    pub(crate) fn note(&self, attempt: Attempt) {
        self.recorder.note(attempt);
    }

    /// Waits until a record is durable, as long as an answer may wait for it. The record goes on
    /// by itself.
    pub(crate) async fn wait(&self, recording: Recording) {
        if tokio::time::timeout(self.patience, recording)
            .await
            .is_err()
        {
            tracing::warn!(
                target: "quota::ledger",
                "the ledger did not take a record in time; the answer leaves without it"
            );
        }
    }

    /// Waits until everything that was given so far is durable, for ten seconds at most.
    pub(crate) async fn drain(&self) {
        if tokio::time::timeout(DRAIN, self.recorder.drain())
            .await
            .is_err()
        {
            tracing::error!(
                target: "quota::ledger",
                left = self.recorder.backlog().records,
                "the ledger did not take everything before the shutdown; what is left is charged \
                 in the counters only"
            );
        }
    }

    fn committed(
        &self,
        store: &GuardedStore,
        commit: &Commit,
        settled: &Settled,
    ) -> Option<Recording> {
        let attempt = commit.attempt.as_deref()?;
        let (outcome, kind) = match settled {
            Settled::Already => return None,
            Settled::Done(_) | Settled::Late(_) if store.writes_ledger() => return None,
            Settled::Done(_) => (Outcome::Committed, PostingKind::Commit),
            // What is too old no store knows any more, so none can write it.
            Settled::Late(_) | Settled::TooOld => (Outcome::Late, PostingKind::Late),
        };
        let attempt = Attempt {
            outcome,
            ..attempt.clone()
        };
        let posting = posting(&commit.reservation, &commit.amounts, kind);
        self.keep(attempt, posting)
    }

    /// Records a commit that no store ever acknowledged, so that what was used is known. Where
    /// expired reservations are charged, the store charges this one itself.
    pub(crate) fn given_up(&self, commit: &Commit) {
        if commit.reservation.request.orphans == Orphans::Charge {
            return;
        }
        if let Some(attempt) = &commit.attempt {
            let attempt = Attempt {
                outcome: Outcome::Late,
                ..(**attempt).clone()
            };
            let posting = posting(&commit.reservation, &commit.amounts, PostingKind::Late);
            // It goes on by itself.
            drop(self.keep(attempt, posting));
        }
    }

    /// Records what was charged; `None` where it is dropped, as the configuration says.
    fn keep(&self, attempt: Attempt, posting: Option<Posting>) -> Option<Recording> {
        match self.config.on_backlog_full {
            OnBacklogFull::Deny => Some(self.recorder.record(attempt, posting)),
            OnBacklogFull::Drop => self.recorder.record_unless_full(attempt, posting),
        }
    }
}

/// What the end of a reservation changes; `None` where that is nothing.
fn posting(reservation: &Reservation, amounts: &Amounts, kind: PostingKind) -> Option<Posting> {
    let request = &reservation.request;
    let mut posting = Posting::of(
        &request.requester,
        request.id,
        kind,
        reservation.reserved_at,
    );
    let holds = request.holds.iter().zip(amounts);
    posting.entries = holds
        .filter(|(_, amount)| !amount.is_zero())
        .map(|(hold, amount)| Entry {
            counter: (*hold.counter).clone(),
            amount: draft::signed(*amount),
        })
        .collect();
    (!posting.entries.is_empty()).then_some(posting)
}

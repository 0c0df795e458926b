//! Giving one counter what was used before it came into being.

use std::{sync::Arc, time::Duration};

use quota_store::{
    Act, Administered, Amount, CounterKey, Operation, OperationId, ReservationId, Subject,
    UnixMillis,
    ledger::{Batch, Ledger, LedgerError, PostingKind, Span},
};
use uuid::Uuid;

use crate::{
    administration::{admin_posting, append, requester_of},
    shared::Shared,
};

/// How often it is looked whether the ledger has caught up.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long what a store was charged may be on its way to the ledger, where the store itself brings
/// it there.
const ON_THE_WAY: Duration = Duration::from_millis(500);

/// What one counter is to begin with.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    pub(super) id: Uuid,
    pub(super) subject: Subject,
    pub(super) key: CounterKey,
    /// Since when it counts.
    pub(super) since: UnixMillis,
}

impl Shared {
    /// Adds what the counter lacks of what was charged in its window, unless that was done before.
    ///
    /// Whoever was charged nothing before the counter began has nothing to get: what a counter
    /// itself counted, and an administrator took away, is not given back.
    pub(super) async fn give(&self, seed: &Seed) -> Result<(), String> {
        let Some(ledger) = self.ledger() else {
            return Ok(());
        };
        let start = seed.key.span.start();
        let charged = async |to: UnixMillis| {
            let span = Span { from: start, to };
            let quota = &seed.key.quota;
            ledger.charged(&seed.subject, quota, span).await
        };
        if charged(seed.since).await.map_err(told)?.is_zero() || is_given(&**ledger, seed).await? {
            return Ok(());
        }
        let end = seed.key.span.end().unwrap_or(Span::ALL.to);
        let charged = charged(end).await.map_err(told)?;
        let counted = self.counted(seed).await?;
        let missing = signed(charged) - signed(counted);
        if missing <= 0 {
            return Ok(());
        }
        self.add(ledger, seed, missing).await
    }

    /// Waits until everything from before an instant is in the ledger, as far as it can be told.
    pub(super) async fn caught_up_with(&self, instant: UnixMillis) {
        if self.store.writes_ledger() {
            let elapsed = self.store.now().get().saturating_sub(instant.get());
            tokio::time::sleep(ON_THE_WAY.saturating_sub(Duration::from_millis(elapsed))).await;
        }
        while let Some(oldest) = self.backlog().oldest {
            let waited = u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX);
            if self.store.now().get().saturating_sub(waited) >= instant.get() {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn counted(&self, seed: &Seed) -> Result<Amount, String> {
        let requester = requester_of(&seed.subject);
        let keys = std::slice::from_ref(&seed.key);
        let values = self.store.read(&requester, keys).await;
        let values = values.map_err(|error| error.to_string())?;
        Ok(values.first().map(|value| value.used).unwrap_or_default())
    }

    async fn add(&self, ledger: &Arc<dyn Ledger>, seed: &Seed, missing: i64) -> Result<(), String> {
        let operation = Operation {
            id: OperationId(seed.id),
            requester: requester_of(&seed.subject),
            act: Act::AddUsed(seed.key.clone(), missing),
        };
        let done = self.store.administer(&operation).await;
        let (before, after) = match done.map_err(|error| error.to_string())? {
            Administered::Counter { before, after } => (before.used, after.used),
            // It may not be in the ledger yet, which takes it once.
            Administered::Already { before, after } => (before, after),
            Administered::Generation(_) => return Ok(()),
        };
        let added = signed(after) - signed(before);
        if self.store.writes_ledger() || added == 0 {
            return Ok(());
        }
        let who = (&seed.subject, seed.id);
        let posting = admin_posting(who, &seed.key, added, self.store.now());
        let batch = Batch {
            postings: vec![posting],
            ..Batch::default()
        };
        // It goes on although the request does not: the counter has it already.
        let appending = tokio::spawn(append(Arc::clone(ledger), batch));
        if let Ok(Err(error)) = appending.await {
            tracing::debug!(target: "quota::ledger", %error, "a record waits for the ledger");
        }
        Ok(())
    }
}

/// Whether the counter was given this before: stores forget after a day, the ledger does not.
async fn is_given(ledger: &dyn Ledger, seed: &Seed) -> Result<bool, String> {
    let id = ReservationId::from(seed.id);
    let posted = ledger.is_posted(id, PostingKind::Admin).await;
    posted.map_err(told)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn told(error: LedgerError) -> String {
    error.to_string()
}

fn signed(amount: Amount) -> i64 {
    i64::try_from(amount.get()).unwrap_or(i64::MAX)
}

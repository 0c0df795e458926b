//! What is older than the ledger keeps it goes, a little at a time.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Weak},
    time::Duration,
};

use quota_store::{Clock, UnixMillis};

use super::Records;

/// How often it is looked for.
const EVERY: Duration = Duration::from_hours(1);
/// By how much more, at most, so that processes that started together do not prune together.
const JITTER_MILLIS: u64 = 600_000;
/// How many rows go in one step.
const ROWS: u32 = 1_000;
/// How long others have the ledger to themselves between two steps.
const PAUSE: Duration = Duration::from_millis(200);

/// Prunes at once and every hour, until nobody has the records any more.
pub(super) async fn prune_for_ever(records: Weak<Records>, clock: Arc<dyn Clock>) {
    loop {
        prune(&records, &*clock).await;
        let jitter = RandomState::new().hash_one(()) % JITTER_MILLIS;
        tokio::time::sleep(EVERY + Duration::from_millis(jitter)).await;
        if records.strong_count() == 0 {
            return;
        }
    }
}

async fn prune(records: &Weak<Records>, clock: &dyn Clock) {
    let mut pruned = 0;
    // Held for one step only: a ledger is given up between two.
    while let Some(records) = records.upgrade() {
        let retention = records.config.retention.as_millis();
        let retention = u64::try_from(retention).unwrap_or(u64::MAX);
        let before = UnixMillis::new(clock.now().get().saturating_sub(retention));
        let step = records.books.ledger.prune(before, ROWS).await;
        drop(records);
        match step {
            Ok(step) => {
                pruned += step.rows;
                if step.rows < u64::from(ROWS) {
                    break;
                }
            }
            Err(error) => {
                tracing::warn!(
                    target: "quota::ledger",
                    %error,
                    "old records could not be pruned; it is tried again in an hour"
                );
                break;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    if pruned > 0 {
        tracing::info!(target: "quota::ledger", rows = pruned, "old records were pruned");
    }
}

impl Records {
    /// Starts to prune, on the present tokio runtime.
    pub(crate) fn start_retention(self: &Arc<Self>, clock: Arc<dyn Clock>) {
        drop(tokio::spawn(prune_for_ever(Arc::downgrade(self), clock)));
    }
}

//! Counters of this process come back from its ledger.

use quota_store::{
    Clock, MemoryCounterStore, StoreError,
    ledger::{Balance, Ledger, LedgerError},
};

/// How many counters are read at once.
const PAGE: u32 = 1_000;

/// Counters did not come back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRestored {
    /// The ledger could not be read.
    #[error("counters can't be brought back from the ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// There is no room for them.
    #[error("the counters of the ledger do not fit into memory: raise store.memory_subjects")]
    Store(#[from] StoreError),
}

/// Fills an empty store with the counters of all windows that are open; says how many they are.
pub(crate) async fn restore<C: Clock>(
    store: &MemoryCounterStore<C>,
    ledger: &dyn Ledger,
    clock: &dyn Clock,
) -> Result<usize, NotRestored> {
    let now = clock.now();
    let mut restored = 0;
    for partition in 0..=u8::MAX {
        let mut last: Option<Balance> = None;
        loop {
            let mut page = ledger.balances(partition, now, last.as_ref(), PAGE).await?;
            store.restore(&page)?;
            restored += page.len();
            last = page.pop();
            if last.is_none() {
                break;
            }
        }
    }
    Ok(restored)
}

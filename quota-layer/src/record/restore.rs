//! Counters of this process come back from its ledger.

use quota_store::{
    Clock, MemoryCounterStore,
    ledger::{Balance, Ledger, LedgerError},
};

/// How many counters are read at once.
const PAGE: u32 = 1_000;

/// Fills an empty store with the counters of all windows that are open; says how many they are.
pub(crate) async fn restore<C: Clock>(
    store: &MemoryCounterStore<C>,
    ledger: &dyn Ledger,
    clock: &dyn Clock,
) -> Result<usize, LedgerError> {
    let now = clock.now();
    let mut restored = 0;
    for partition in 0..=u8::MAX {
        let mut last: Option<Balance> = None;
        loop {
            let mut page = ledger.balances(partition, now, last.as_ref(), PAGE).await?;
            store.restore(&page);
            restored += page.len();
            last = page.pop();
            if last.is_none() {
                break;
            }
        }
    }
    Ok(restored)
}

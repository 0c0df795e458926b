//! What a comparison of counters with the ledger says.

use crate::{
    Amount, StoreError,
    ledger::{Balance, LedgerError},
};

/// How many differences are listed one by one.
#[cfg(feature = "redis")]
const MOST_LISTED: usize = 1_000;

/// What becomes of a counter that says less than the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repair {
    /// It is only told.
    #[default]
    Report,
    /// It is raised. A counter that says more is never lowered.
    Raise,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// How many counters were compared: those that the ledger knows, of windows that have not
    /// ended.
    pub counters: usize,
    /// How many were raised.
    pub raised: usize,
    /// Partitions, or parts of them, that were not compared, since what was charged in them was
    /// still on its way to the ledger. It may be asked for again.
    pub skipped: Vec<u8>,
    /// How many counters say something else than the ledger.
    pub different: usize,
    /// The first 1 000 of them.
    pub differences: Vec<Difference>,
}

/// A counter that says something else than the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What the ledger says.
    pub balance: Balance,
    /// What the counter said.
    pub used: Amount,
}

/// Why counters could not be compared with the ledger.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// The store has no ledger.
    #[error("there is no ledger to compare counters with: give the store one")]
    NoLedger,
    /// The store could not be asked.
    #[error("counters could not be compared with the ledger")]
    Store(#[source] StoreError),
    /// The ledger could not be asked.
    #[error("counters could not be compared with the ledger")]
    Ledger(#[source] LedgerError),
}

#[cfg(feature = "redis")]
impl Reconciliation {
    pub(crate) fn add(&mut self, difference: Difference) {
        self.different += 1;
        if self.differences.len() < MOST_LISTED {
            self.differences.push(difference);
        }
    }
}

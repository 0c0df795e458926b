//! What became of a request, counted once, whenever it ends.

use std::sync::Arc;

use quota_store::Amounts;

use crate::{charge::ChargeTable, handle::QuotaHandle, metrics::Outcome};

/// Counts the outcome of a request, and closes its handle, when it is dropped.
///
/// A handler that panics, or whose client leaves, never gets further than that.
#[derive(Debug)]
pub(crate) struct Tally {
    table: Arc<ChargeTable>,
    handle: QuotaHandle,
    /// `None` where it was counted at admission.
    outcome: Option<Outcome>,
    charged: Option<Amounts>,
}

impl Tally {
    /// A request that counts as this outcome until another is known.
    pub(crate) fn new(
        table: Arc<ChargeTable>,
        handle: QuotaHandle,
        outcome: Option<Outcome>,
    ) -> Self {
        Self {
            table,
            handle,
            outcome,
            charged: None,
        }
    }

    pub(crate) fn handle(&self) -> &QuotaHandle {
        &self.handle
    }

    /// It is being charged these amounts.
    pub(crate) fn charged(&mut self, outcome: Outcome, amounts: &Amounts) {
        self.outcome = Some(outcome);
        self.charged = Some(amounts.clone());
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(outcome) = self.outcome {
            self.table.count(outcome, self.charged.as_deref());
        }
    }
}

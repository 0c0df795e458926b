//! What became of a request, counted once, whenever it ends.

use quota_store::Amounts;

use crate::{handle::QuotaHandle, metrics::Outcome};

/// Counts the outcome of a request, and closes its handle, when it is dropped.
///
/// A handler that panics, or whose client leaves, never gets further than that.
#[derive(Debug)]
pub(crate) struct Tally {
    handle: QuotaHandle,
    /// `None` where it was counted at admission.
    outcome: Option<Outcome>,
    charged: Option<Amounts>,
    is_closed: bool,
}

impl Tally {
    /// A request that counts as this outcome until another is known.
    pub(crate) const fn new(handle: QuotaHandle, outcome: Option<Outcome>) -> Self {
        Self {
            handle,
            outcome,
            charged: None,
            is_closed: false,
        }
    }

    pub(crate) fn handle(&self) -> &QuotaHandle {
        &self.handle
    }

    /// Takes no further reports, and says what each counter is charged.
    pub(crate) fn close(&mut self) -> Amounts {
        self.is_closed = true;
        self.handle.close()
    }

    /// It is being charged these amounts.
    pub(crate) fn charged(&mut self, outcome: Outcome, amounts: &Amounts) {
        self.outcome = Some(outcome);
        self.charged = Some(Amounts::from_slice(amounts));
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if !self.is_closed {
            self.handle.close();
        }
        if let Some(outcome) = self.outcome {
            let table = self.handle.snapshot().table();
            table.count(outcome, self.charged.as_deref());
        }
    }
}

//! What administrators do to counters.

use uuid::Uuid;

use crate::{Amount, CounterKey, CounterValue, Generation, Requester, Scope};

/// Names one act of administration; the same id never takes effect twice within 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OperationId(pub Uuid);

/// One act of administration, atomic with the requests in flight.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Names it.
    pub id: OperationId,
    /// Whom it is about: the user, or its tenant where the counter's scope says so.
    pub requester: Requester,
    /// What is done.
    pub act: Act,
}

/// What an administrator does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sets `used` to zero; reservations in flight stay, and are charged when they commit.
    Reset(CounterKey),
    /// Sets `used`.
    SetUsed(CounterKey, Amount),
    /// Adds to `used`, or takes from it; it stops at zero and at [`Amount::MAX`].
    AddUsed(CounterKey, i64),
    /// Makes `used` at least this much, because the ledger says so: it is not posted to it.
    Raise(CounterKey, Amount),
    /// Says that the subject's plan, overrides or resets changed.
    AdvanceGeneration(Scope, Generation),
}

/// What became of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Administered {
    /// It took effect; the counter before and after.
    Counter {
        /// Before.
        before: CounterValue,
        /// After.
        after: CounterValue,
    },
    /// The subject's generation is now this one. It never goes back.
    Generation(Generation),
    /// It had taken effect on a counter before: nothing happened now.
    Already {
        /// What was used before it took effect.
        before: Amount,
        /// What was used after it.
        after: Amount,
    },
}

//! What a caller remembers, and the messages between callers and the store.

use super::scenario::{Habits, Knows, Timing};

/// One request of one process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    pub(super) phase: Phase,
    /// How often it sent its reserve.
    pub(super) sends: u8,
    pub(super) sent_at: u8,
    pub(super) plan: Option<KnownPlan>,
    pub(super) confirmed: Option<Confirmed>,
    pub(super) renewals_left: u8,
}

/// Where a caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Idle,
    /// Its reserve is under way.
    Waiting,
    /// The store confirmed; the inner service runs.
    Holding,
    /// The inner service succeeded.
    Committing,
    /// The inner service failed.
    Releasing,
    /// The outcome of its reserve is not known.
    Aborting,
    Finished(End),
    /// The process died; before that, the inner service had succeeded or not.
    Dead(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// The store did not admit it, and no copy of it can be under way.
    Refused,
    /// Its commit was acknowledged.
    Charged,
    /// Its correction was acknowledged too.
    Corrected,
    /// Its commit was older than the store remembers.
    TooOld,
    Released,
    Aborted,
    /// Its abort was never acknowledged, and its time to live has passed.
    GaveUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Succeeded,
    Other,
}

/// The limit, as the caller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct KnownPlan {
    pub(super) generation: u8,
    pub(super) hard: u8,
}

/// What a confirmation says; a commit carries it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Confirmed {
    pub(super) reserved_at: u8,
    pub(super) epoch: u8,
}

/// The answer to a reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Answer {
    Allowed(Confirmed),
    /// Denied, stale or void.
    Refused,
}

/// What the store says to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Done,
    Late,
    Already,
    TooOld,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Sends {
    Once,
    Repeated,
}

/// Something under way. What a caller froze before its first send (amounts, `not_after`, what the
/// store confirmed) is looked up in its [`Caller`], which keeps it even when the process is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Message {
    Reserve(usize, Sends),
    Answer(usize, Answer),
    Commit(usize),
    Release(usize),
    Abort(usize),
    Correct(usize),
    /// Sent at this instant.
    Renew(usize, u8),
    Reset,
    /// The directory's generation is now this one.
    Advance(u8),
}

impl Caller {
    pub(super) fn new(habits: Habits, hard: u8) -> Self {
        let plan = KnownPlan {
            generation: 0,
            hard,
        };
        Self {
            phase: Phase::Idle,
            sends: 0,
            sent_at: 0,
            plan: (habits.knows != Knows::Fresh).then_some(plan),
            confirmed: None,
            renewals_left: habits.renewals,
        }
    }

    /// From this instant on its reserve does nothing.
    pub(super) const fn not_after(&self, time: Timing) -> u8 {
        self.sent_at + time.patience
    }

    pub(super) const fn how_sent(&self) -> Sends {
        if self.sends > 1 {
            Sends::Repeated
        } else {
            Sends::Once
        }
    }

    /// Whether the client was or will be answered with success.
    pub(super) const fn succeeded(&self) -> bool {
        matches!(
            self.phase,
            Phase::Committing
                | Phase::Finished(End::Charged | End::Corrected | End::TooOld)
                | Phase::Dead(Outcome::Succeeded)
        )
    }
}

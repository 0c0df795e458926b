//! What one check is about: its callers, its limits in time and number, and its flaw.

use super::world::World;

/// How many callers a world has; each makes one reservation.
pub(super) const CALLERS: usize = 2;

/// The bounds of one exhaustive check.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) callers: [Habits; CALLERS],
    /// The limit at the start.
    pub(super) hard: u8,
    /// What an administrator does.
    pub(super) administration: Administration,
    /// Whether the store knows the plan's generation at the start.
    pub(super) generation: Option<u8>,
    pub(super) orphans: Orphans,
    pub(super) time: Timing,
    pub(super) budget: Budget,
    /// The deliberate error of this check.
    pub(super) flaw: Option<Flaw>,
    /// What must be reachable, so that the check is about something.
    pub(super) examples: &'static [Example],
}

/// Something that happens in at least one state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Example {
    pub(super) name: &'static str,
    pub(super) condition: fn(&Scenario, &World) -> bool,
}

/// What one caller may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// What it holds.
    pub(super) amount: u8,
    /// What it charges on success.
    pub(super) charge: u8,
    /// How often it may send its reserve.
    pub(super) reserve_sends: u8,
    /// How often it may renew its reservation.
    pub(super) renewals: u8,
    /// What it gives back after its commit, by a correction.
    pub(super) gives_back: u8,
    /// How it comes to know the limit.
    pub(super) knows: Knows,
}

impl Habits {
    /// Holds and charges one unit, sends its reserve once and does not renew.
    pub(super) const PLAIN: Self = Self {
        amount: 1,
        charge: 1,
        reserve_sends: 1,
        renewals: 0,
        gives_back: 0,
        knows: Knows::Untracked,
    };

    /// Makes no request.
    pub(super) const ABSENT: Self = Self {
        reserve_sends: 0,
        ..Self::PLAIN
    };
}

/// Where a caller has the limit from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knows {
    /// From its own file.
    Untracked,
    /// From its cache, filled before the world began.
    Cached,
    /// From the directory, at some moment before it sends.
    Fresh,
}

/// What becomes of units whose caller died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Orphans {
    Release,
    Charge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Administration {
    None,
    /// Sets `used` to zero, once.
    Reset,
    /// Lowers the limit to this, in the directory and then in the store.
    Lower(u8),
}

/// Store time, in steps of one sweep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// The time to live of a reservation.
    pub(super) ttl: u8,
    /// How long after its first send a reserve may take effect.
    pub(super) patience: u8,
    /// How long the store remembers.
    pub(super) memory: u8,
    /// The last instant of the world.
    pub(super) horizon: u8,
}

/// How much of each misfortune may happen. Loss and delay are not bounded: a message that is
/// never delivered is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    /// Messages that arrive and arrive again.
    pub(super) doubles: u8,
    /// Callers that die and forget everything.
    pub(super) crashes: u8,
    /// Losses of all the data of the store.
    pub(super) losses: u8,
}

/// How many expired reservations a reserve reaps before it decides: the 64 of the protocol, seen
/// from those that come after them.
pub(super) const REAP_BATCH: usize = 0;

/// How long the markers *aborted* and *settled* outlive `not_after`.
pub(super) const MARKER_GRACE: u8 = 1;

/// One deliberate error in the protocol or in a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    AbortLeavesNoMarker,
    CommitIsNotIdempotent,
    ReapingLeavesNoMarker,
    ReserveHasNoNotAfter,
    CopyOfReserveIsNotRecognised,
    RepeatedSettleLeavesNoMarker,
    EverySettleLeavesMarker,
    CommitOfOtherEpochLeavesNoMarker,
    EpochIsComparedBeforeAge,
    AgeIsComparedWithoutItsLastInstant,
    LiveCommitOfOtherEpochIsForgotten,
    GenerationIsNotChecked,
    FreshGenerationDoesNotAdvance,
    ResetDropsReservations,
    RenewalIsIgnored,
    DenialDoesNotReap,
    RefusedCopiesAreNotAborted,
    LateAnswerIsBelieved,
    ReserveSentOnceIsDoubled,
    CorrectionIsNotIdempotent,
    CorrectionOfLostCommitIsApplied,
}

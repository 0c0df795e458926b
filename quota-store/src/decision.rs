//! What a store answers.

use smallvec::SmallVec;

use crate::{CounterValues, Generation, Reservation, Scope, UnixMillis};

/// The answer to a reserve.
#[must_use = "an unused decision admits every request"]
#[derive(Clone, Debug)]
pub enum Decision {
    /// The units are held until the reservation is settled or expires.
    Allowed(Allowed),
    /// Nothing was held.
    Denied(Denied),
    /// Nothing was held: the caller works from something out of date, and asks again.
    Stale(Stale),
    /// This send holds nothing, and no copy that comes after it will: the reserve came after its
    /// `not_after`, or was settled or aborted.
    ///
    /// A reserve that was sent more than once may be held by an earlier copy: abort it.
    Void,
}

/// Units are held.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// What is held.
    pub reservation: Reservation,
    /// Each counter with this reservation in it.
    pub counters: CounterValues,
}

/// Nothing is held, on any counter.
#[derive(Clone, Debug)]
pub struct Denied {
    /// The store's time.
    pub now: UnixMillis,
    /// Each counter as it is, without this request.
    pub counters: CounterValues,
    /// What denied.
    pub cause: Cause,
}

/// What denied a reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// These holds did not fit, by their place in the reserve; at least one.
    Limits(SmallVec<[usize; 3]>),
    /// The user has as many live reservations as it may have.
    InFlight,
}

/// What the caller must look up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// A window does not contain the store's now.
    Window {
        /// The store's time.
        now: UnixMillis,
    },
    /// A subject's plan, overrides or resets changed since the limits were worked out.
    Plan {
        /// Whose.
        scope: Scope,
        /// What the store knows; `None` where it knows nothing of the subject.
        current: Option<Generation>,
    },
    /// The plans that the database keeps changed since the limits were worked out.
    Plans {
        /// What the store knows; `None` where it knows nothing of them.
        current: Option<Generation>,
    },
}

/// The answer to a commit, a release, an abort or a correction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It took effect now; each counter as it is afterwards, in the order of the holds.
    Done(CounterValues),
    /// The reservation had expired, or its data was lost: it was charged late, to its own window.
    Late(CounterValues),
    /// It had been settled before: nothing happened.
    Already,
    /// It is older than the store remembers: nothing happened.
    TooOld,
}

/// What became of a reservation that was to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It is held for another time to live.
    Held,
    /// It was settled or has expired.
    Gone,
}

//! Units held for one request, and what is sent to a store about them.

use std::{cell::RefCell, fmt, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::{
    Amount, Bound, QuotaName, Requester, Scope, Subject, UnixMillis, Window, WindowSpan,
    ledger::Attempt,
};

thread_local! {
    /// Ids must be unique and need not be secret, so a fast generator does. Its 256 bits come from
    /// the operating system, so no two threads or processes share a sequence.
    static RANDOM: RefCell<SmallRng> = RefCell::new(SmallRng::from_rng(&mut rand::rng()));
}

/// Names one reservation, and makes every step of it idempotent.
///
/// It is made before the first send and never used for another request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId(Uuid);

impl ReservationId {
    /// Makes a UUID of version 7 (RFC 9562, section 5.7) from the time and 74 random bits.
    #[must_use]
    pub fn generate(now: UnixMillis) -> Self {
        let mut random = [0; 10];
        RANDOM.with_borrow_mut(|generator| generator.fill_bytes(&mut random));
        Self(uuid::Builder::from_unix_timestamp_millis(now.get(), &random).into_uuid())
    }

    /// The id as a UUID.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for ReservationId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the changes of a subject's plan, overrides and resets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// What the caller knew of a subject when it worked out the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownGeneration {
    /// Nothing that could go stale: the limits come from the token and the file alone.
    Untracked,
    /// From a cache: a store that knows none, or another, answers [`crate::Stale::Plan`].
    Cached(Generation),
    /// Loaded just now: a store that knows none, or an older one, takes this one; one that knows a
    /// newer answers [`crate::Stale::Plan`].
    Fresh(Generation),
}

/// Names the data of one partition; another one means that the data was lost in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// One counter: how much of a quota a subject used in one window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CounterKey {
    /// Whose it is.
    pub scope: Scope,
    /// What is counted.
    pub quota: QuotaName,
    /// The kind of window.
    pub window: Window,
    /// The concrete window.
    pub span: WindowSpan,
}

/// Units to hold on one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The counter. Holds of the same one best share its key, which stores then tell by its address.
    pub counter: Arc<CounterKey>,
    /// What `used + reserved + amount` may not pass.
    pub hard: Bound,
    /// How many units. Zero is never denied, and lets a commit charge what was used.
    pub amount: Amount,
}

/// The holds of one request. Requests that ask for the same in the same windows share them.
pub type Holds = Arc<[Hold]>;

/// What one reserve asks for. Nothing in it changes when it is sent again.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// Names the reservation.
    pub id: ReservationId,
    /// Who asks. Counters of [`Scope::Tenant`] need its tenant.
    pub requester: Requester,
    /// From this instant on (the store's clock) the store does nothing with it.
    ///
    /// It lies before the reservation's expiry.
    pub not_after: UnixMillis,
    /// How long the units are held without a renewal.
    pub ttl: Duration,
    /// What the user's limits were worked out from.
    pub user_generation: KnownGeneration,
    /// What the tenant's limits were worked out from.
    pub tenant_generation: KnownGeneration,
    /// What the plans themselves were read from, where a database keeps them.
    pub plans_generation: KnownGeneration,
    /// How many live reservations the user may have, this one included.
    pub max_in_flight: u32,
    /// What becomes of the units if nobody settles them in time.
    pub orphans: Orphans,
    /// What to hold: all of it or nothing.
    pub holds: Holds,
}

/// What becomes of a reservation that expires, because its process died or hung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orphans {
    /// Its units are given back; a commit that comes after all is charged late.
    #[default]
    Release,
    /// Its units are charged as reserved; a commit that comes after all changes nothing.
    Charge,
}

/// What a counter says: committed units and units held by requests in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterValue {
    /// Committed.
    pub used: Amount,
    /// Held by live reservations.
    pub reserved: Amount,
}

/// One value per hold of a reservation, in its order.
pub type CounterValues = SmallVec<[CounterValue; 3]>;

/// Units that a store holds for one request.
///
/// It carries everything that settling needs, so that a store keeps no more than it must.
///
/// Clones are cheap, and name the same units.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// What was asked for, and is held.
    pub request: Arc<Reserve>,
    /// The store's time when it began to hold them.
    pub reserved_at: UnixMillis,
    /// The data it was made in.
    pub epoch: Epoch,
    /// Whether the reserve may have been sent more than once.
    pub sends: Sends,
    /// Where a store in memory keeps it, so that it is settled without a search.
    pub(crate) place: Option<Place>,
}

/// Where a store in memory keeps a reservation as long as it is live, and another one afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    shard: u32,
    slot: u32,
}

impl Place {
    /// A slot of a shard; `None` where there are too many to be told apart.
    pub(crate) fn new(shard: usize, slot: usize) -> Option<Self> {
        Some(Self {
            shard: shard.try_into().ok()?,
            slot: slot.try_into().ok()?,
        })
    }

    /// The shard, in the data of the reservation's epoch.
    pub(crate) fn shard(self) -> usize {
        self.shard.try_into().unwrap_or(usize::MAX)
    }

    /// The place in that shard.
    pub(crate) fn slot(self) -> usize {
        self.slot.try_into().unwrap_or(usize::MAX)
    }
}

/// How often a reserve may have reached the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// Once.
    Once,
    /// More than once: a copy may still be on its way when the reservation is settled.
    Repeated,
}

impl Reservation {
    /// A reservation as a store makes it.
    #[must_use]
    pub const fn new(
        request: Arc<Reserve>,
        reserved_at: UnixMillis,
        epoch: Epoch,
        sends: Sends,
    ) -> Self {
        Self {
            request,
            reserved_at,
            epoch,
            sends,
            place: None,
        }
    }

    /// The subject of one of its counters.
    ///
    /// `None` never happens for a reservation that a store made.
    #[must_use]
    pub fn subject(&self, scope: Scope) -> Option<Subject> {
        self.request.requester.subject(scope)
    }

    /// The reserved amounts, one per hold.
    #[must_use]
    pub fn reserved_amounts(&self) -> Amounts {
        self.request.holds.iter().map(|hold| hold.amount).collect()
    }
}

/// One amount per hold of a reservation, in its order.
pub type Amounts = SmallVec<[Amount; 3]>;

/// Charges a reservation. Its amounts are frozen before the first send.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What is charged.
    pub reservation: Reservation,
    /// What each counter is charged, more or less than was held.
    pub amounts: Amounts,
    /// What the ledger is to say of it once it has taken effect; `None` without a ledger.
    pub attempt: Option<Arc<Attempt>>,
}

/// Corrects a committed reservation, once, when the body has told the actual amounts.
#[derive(Clone, Debug)]
pub struct Correction {
    /// What is corrected.
    pub reservation: Reservation,
    /// What to add to each counter, in the order of its holds; a counter stops at zero.
    pub differences: SmallVec<[i64; 3]>,
    /// What the ledger is to say of it once it has taken effect; `None` without a ledger.
    pub attempt: Option<Arc<Attempt>>,
}

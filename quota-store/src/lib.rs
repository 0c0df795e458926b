//! Exact counters for quotas: reserve before the work, commit after it.

mod administration;
mod amount;
mod clock;
#[cfg(any(test, feature = "test-util"))]
pub mod contract;
pub mod counter;
mod decision;
mod error;
mod limit;
mod name;
mod plan;
mod reservation;
mod subject;
mod time;
mod window;

pub use administration::{Act, Administered, Operation, OperationId};
pub use amount::{Amount, AmountOutOfRange};
#[cfg(any(test, feature = "test-util"))]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
pub use counter::guarded::{
    Abort, Admission, BreakerState, GuardOptions, GuardedStore, LetThrough, LocalTicket,
    OnStoreFailure, Unavailable,
};
#[cfg(feature = "redis")]
pub use counter::redis::{Eviction, RedisCounterStore, RedisOptions, RedisStartError, RedisUrl};
pub use counter::{
    CounterStore, DynCounterStore,
    memory::{MemoryCounterStore, MemoryOptions},
};
pub use decision::{Allowed, Cause, Decision, Denied, Renewed, Settled, Stale};
pub use error::{StoreError, StoreErrorKind};
pub use limit::{Bound, Limit, Percent, QuotaLimits};
pub use name::{InvalidName, PlanName, QuotaName};
pub use plan::{Plan, PlanDisplay, Price, Text, Unlisted, Visible};
pub use reservation::{
    Amounts, Commit, Correction, CounterKey, CounterValue, CounterValues, Epoch, Generation, Hold,
    Holds, KnownGeneration, Orphans, Reservation, ReservationId, Reserve, Sends,
};
pub use subject::{EmptyId, Requester, Scope, Subject, TenantId, UserId};
pub use time::UnixMillis;
pub use window::{Anchor, InvalidWindow, Window, WindowSpan};

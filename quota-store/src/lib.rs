//! Exact counters for quotas: reserve before the work, commit after it.

mod amount;
mod clock;
mod error;
mod name;
mod subject;
mod time;

pub use amount::{Amount, AmountOutOfRange};
#[cfg(any(test, feature = "test-util"))]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
pub use error::{StoreError, StoreErrorKind};
pub use name::{InvalidName, PlanName, QuotaName};
pub use subject::{EmptyId, Requester, Scope, Subject, TenantId, UserId};
pub use time::UnixMillis;

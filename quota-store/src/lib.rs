//! Exact counters for quotas: reserve before the work, commit after it.
//!
//! For services that must refuse at a limit without lying in either direction. Units are held in
//! one atomic step over every window, and over a user and its tenant; then they are charged or
//! given back, once, however often a step is sent, lost, delayed or doubled. This crate knows
//! quotas, windows, plans and stores, and nothing of HTTP.
//!
//! # Example
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use quota_store::{
//!     Amount, Anchor, Bound, Commit, CounterKey, CounterStore, Decision, Hold, KnownGeneration,
//!     MemoryCounterStore, MemoryOptions, Orphans, Requester, ReservationId, Reserve, Scope,
//!     Sends, Settled, SystemClock, UserId, Window,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryCounterStore::new(&MemoryOptions::default(), SystemClock);
//! let now = store.now();
//! let window = Window::Day;
//! let request = Arc::new(Reserve {
//!     id: ReservationId::generate(now),
//!     requester: Requester { tenant: None, user: UserId::new("alice")? },
//!     not_after: now.saturating_add(Duration::from_millis(100)),
//!     ttl: Duration::from_secs(30),
//!     user_generation: KnownGeneration::Untracked,
//!     plans_generation: KnownGeneration::Untracked,
//!     tenant_generation: KnownGeneration::Untracked,
//!     max_in_flight: 100,
//!     orphans: Orphans::Release,
//!     holds: vec![Hold {
//!         counter: CounterKey {
//!             scope: Scope::User,
//!             quota: "messages".parse()?,
//!             window,
//!             span: window.span_at(now, &jiff::tz::TimeZone::UTC, Anchor::Calendar),
//!         }.into(),
//!         hard: Bound::AtMost(Amount::saturating(5)),
//!         amount: Amount::ONE,
//!     }]
//!     .into(),
//! });
//! let Decision::Allowed(allowed) = store.reserve(&request, Sends::Once).await? else {
//!     return Err("the first of five fits".into());
//! };
//! assert_eq!(allowed.counters[0].reserved, Amount::ONE);
//!
//! // The work is done here.
//!
//! let amounts = allowed.reservation.reserved_amounts();
//! let commit = Commit { reservation: allowed.reservation, amounts, attempt: None };
//! let Settled::Done(counters) = store.commit(&commit).await? else {
//!     return Err("it is live".into());
//! };
//! assert_eq!((counters[0].used, counters[0].reserved), (Amount::ONE, Amount::ZERO));
//! assert_eq!(store.commit(&commit).await?, Settled::Already);
//! # Ok(())
//! # }
//! ```
//!
//! # A store with a guard
//!
//! [`GuardedStore`] puts time-outs, a breaker and a policy for failures around any store:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use quota_store::{
//!     BreakerState, GuardOptions, GuardedStore, MemoryCounterStore, MemoryOptions, SystemClock,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), quota_store::StoreError> {
//! let options = MemoryOptions::default().with_max_subjects(10_000);
//! let store = Arc::new(MemoryCounterStore::new(&options, SystemClock));
//! store.start_sweeper();
//! let guarded = GuardedStore::new(
//!     store,
//!     GuardOptions { timeout: Duration::from_millis(20), ..GuardOptions::default() },
//! );
//! guarded.check().await?;
//! assert_eq!(guarded.breaker_state(), BreakerState::Closed);
//! # Ok(())
//! # }
//! ```
//!
//! # Cancellation
//!
//! A dropped future of a store may have taken effect, and may still. After a dropped or failed
//! reserve the caller aborts; every other operation is sent again, as it is.
//!
//! # When a store is down
//!
//! Operations fail with a [`StoreError`], whose kind says whether they may have run; that is never
//! a [`Decision`]. What becomes of a request is [`OnStoreFailure`].
//!
//! # Features
//!
//! - `redis`: counters in Redis 7.0 or newer, shared by several processes. Adds the redis client.
//! - `redis-tls`: TLS to it. Adds rustls.
//! - `sqlite`: a [`ledger`] in a file of this machine. Compiles SQLite into the program.
//! - `postgres`: a [`ledger`] in Postgres 13 or newer, with TLS. Adds its client, a pool and rustls.
//! - `test-util`: the contract that every store must keep, as tests, and a clock that tests move by
//!   hand. For `dev-dependencies`.

mod administration;
mod amount;
mod clock;
#[cfg(any(test, feature = "test-util"))]
pub mod contract;
pub mod counter;
mod decision;
pub mod directory;
mod error;
pub mod ledger;
mod limit;
mod name;
#[cfg(any(feature = "redis", feature = "sqlite", feature = "postgres"))]
mod partition;
mod plan;
pub mod reconcile;
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
    CounterStore, DynCounterStore, Loss,
    memory::{MemoryCounterStore, MemoryOptions},
};
pub use decision::{Allowed, Cause, Decision, Denied, Renewed, Settled, Stale};
pub use error::{StoreError, StoreErrorKind};
pub use limit::{Bound, Limit, Percent, QuotaLimits};
pub use name::{InvalidName, PlanName, QuotaName};
pub use plan::{Availability, Periods, Plan, PlanDisplay, Price, Text, Unlisted, Visible};
pub use reservation::{
    Amounts, Commit, Correction, CounterKey, CounterValue, CounterValues, Epoch, Generation, Hold,
    Holds, KnownGeneration, Orphans, Reservation, ReservationId, Reserve, Sends,
};
pub use subject::{EmptyId, Requester, Scope, Subject, TenantId, UserId};
pub use time::UnixMillis;
pub use window::{Anchor, InvalidWindow, Window, WindowSpan};

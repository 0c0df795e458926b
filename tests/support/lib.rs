//! Servers, faults and doubles for tests that drive the quota layer from outside.
//!
//! Every server and process that is started here listens on loopback only, lives in a temporary
//! folder, and ends with the value that stands for it, or with the test's process if that is
//! killed.
#![expect(
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a helper of tests fails the test by panicking, everywhere and with a message"
)]

pub mod clients;
pub mod doubles;
pub mod eventually;
pub mod layers;
pub mod logs;
pub mod processes;
pub mod proxy;
pub mod requests;
pub mod servers;
pub mod tokens;

pub use eventually::{eventually, eventually_eq};
pub use proxy::{Fault, FaultProxy};
pub use servers::{PostgresServer, RedisServer, shared_postgres, shared_redis, unique_prefix};

/// The guides of `docs/`, so that their examples compile.
#[cfg(doctest)]
pub mod guides {
    #[doc = include_str!("../../docs/contributing.md")]
    pub mod contributing {}
    #[doc = include_str!("../../docs/getting-started.md")]
    pub mod getting_started {}
    #[doc = include_str!("../../README.md")]
    pub mod readme {}
}

//! A tower layer that reserves quota before a request runs and commits it when the answer is a
//! success.
//!
//! For services that give their users plans: 5 messages a day, 50K tokens a month. A request's
//! units are held atomically before the handler runs, so that no two requests share the last one;
//! they are charged when the head of the answer is a 2xx, and given back after anything else: an
//! error, a panic, a time-out, a client that left. What is counted, for whom and on which routes
//! stands in one `quota.toml`.
//!
//! # Example
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use http::{Request, StatusCode};
//! use quota_layer::{Config, QuotaIdentity, QuotaLayer};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::from_toml(r#"
//!     [identity]
//!     from = "application"
//!     [ledger]
//!     url = "none"
//!     [quotas.messages]
//!     [plans.free]
//!     default = true
//!     limits.messages = "1/day"
//!     [[routes]]
//!     match = "GET /hello"
//!     charge = { messages = 1 }
//! "#)?;
//! let quota = QuotaLayer::from_config(config).build().await?;
//! let app = Router::new()
//!     .route("/hello", get(|| async { "hello" }))
//!     .layer(quota.clone());
//!
//! let alice = QuotaIdentity::new("alice");
//! let request = || Request::get("/hello").extension(alice.clone()).body(Body::empty());
//! let first = app.clone().oneshot(request()?).await?;
//! assert_eq!(first.status(), StatusCode::OK);
//! assert_eq!(first.headers()["x-quota-remaining"], "0");
//! let second = app.oneshot(request()?).await?;
//! assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
//!
//! quota.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`QuotaLayer::from_file`] reads a file instead, and reads it again when it changes. Users come
//! from a JWT unless the configuration says otherwise.
//!
//! # Charging what was really used
//!
//! A handler extracts a [`QuotaHandle`] and reports. Here counters are in a store that the
//! application brings, with a clock that the example moves by hand:
//!
#![cfg_attr(feature = "axum", doc = "```")]
#![cfg_attr(not(feature = "axum"), doc = "```ignore")]
//! use std::sync::Arc;
//!
//! use axum::{Router, body::Body, routing::post};
//! use http::Request;
//! use quota_layer::{Config, QuotaHandle, QuotaIdentity, QuotaLayer};
//! use quota_store::{ManualClock, MemoryCounterStore, MemoryOptions, UnixMillis};
//! use tower::ServiceExt;
//!
//! async fn chat(quota: QuotaHandle) -> &'static str {
//!     quota.report("tokens", 40);
//!     "forty tokens"
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::from_toml(r#"
//!     [identity]
//!     from = "application"
//!     [ledger]
//!     url = "none"
//!     [quotas.tokens]
//!     unit = "token"
//!     [plans.free]
//!     default = true
//!     limits.tokens = { limit = "1K/month", warn_at = ["80%"] }
//!     [[routes]]
//!     match = "POST /chat"
//!     charge = { tokens = { reserve = 500, actual = "handler" } }
//! "#)?;
//! let clock = Arc::new(ManualClock::new(UnixMillis::from_seconds(1_800_000_000)));
//! let store = MemoryCounterStore::new(&MemoryOptions::default(), Arc::clone(&clock));
//! let quota = QuotaLayer::from_config(config)
//!     .store(Arc::new(store))
//!     .clock(clock)
//!     .build()
//!     .await?;
//! let app = Router::new().route("/chat", post(chat)).layer(quota);
//!
//! let request = Request::post("/chat")
//!     .extension(QuotaIdentity::new("alice").with_tenant("acme"))
//!     .body(Body::empty())?;
//! let response = app.oneshot(request).await?;
//! assert_eq!(response.headers()["x-quota-used"], "40");
//! assert_eq!(response.headers()["x-quota-remaining"], "960");
//! # Ok(())
//! # }
//! ```
//!
//! # Order among other layers
//!
//! From outside to inside: trace, CORS, limits, (auth,) **quota**, time-out, retry, catch-panic,
//! handler. With a time-out or catch-panic outside, failures are as free, and given back in the
//! background. A retry outside makes each attempt reserve by itself. `Router::layer` lets rules
//! follow the router's templates; around a whole router they see the raw path. The same layer
//! twice on one request charges once.
//!
//! # Cancellation
//!
//! A response future may be dropped at any time. Before the handler has answered, what was or will
//! be held is given back; after a success it is charged, though nobody waits for it any more. The
//! rest is done by a bounded queue in the background; [`QuotaLayer::shutdown`] waits until it is
//! empty. What a process leaves that dies expires.
//!
//! # When the store is down
//!
//! Every operation has a time-out, and a breaker leaves a store alone that fails. A request then
//! gets what its rule's `on_failure` says: `deny`, 503; `allow`, it passes uncounted, up to a cap;
//! `local`, it passes within a share of the limit that this process spends by itself. A failure of
//! the store is never answered as a denial. A commit that is not acknowledged in time lets the
//! answer leave, and is sent again until it is.
//!
//! # The ledger
//!
//! Every attempt that was charged, failed or refused is a record in `[ledger] url`, a SQLite file
//! unless told otherwise. Counters in memory come back from it when the process starts again; for
//! that an answer waits until its record is durable, unless its rule says
//! `settle = "background"`. While the ledger is down requests go on, up to a stated backlog.
//!
//! # Features
//!
//! - `axum` (default): extracts [`QuotaHandle`], and lets rules follow the router's templates.
//!   Adds axum; leave it out with plain tower or hyper.
//! - `jwt` (default): users from a JWT that a static key verifies. Adds jsonwebtoken with
//!   aws-lc; leave it out where the application knows its users.
//! - `jwks`: its keys from a JWKS address. Adds reqwest and rustls.
//! - `redis`: `redis://` in `[store]`, for counters that several processes share. Adds the redis
//!   client.
//! - `redis-tls`: `rediss://` as well. Adds rustls to it.
//! - `sqlite` (default): a ledger in a SQLite file. Compiles SQLite into the program.
//! - `postgres`: a ledger in Postgres. Adds its client and rustls.

pub mod administration;
mod admit;
mod body;
mod build;
mod charge;
mod config;
mod future;
mod guard;
mod handle;
mod headers;
mod identify;
mod identity;
mod layer;
mod logs;
mod metrics;
mod plans;
mod record;
mod refusal;
mod reload;
mod request;
mod route;
mod runtime;
mod seeding;
mod service;
mod settle;
mod settler;
mod shared;
mod status;
mod tally;

pub use body::ResponseBody;
pub use build::{Builder, StartError};
pub use config::{Config, ConfigError, ConfigErrors};
pub use future::ResponseFuture;
#[cfg(feature = "axum")]
pub use handle::NoCharge;
pub use handle::QuotaHandle;
pub use headers::EXPOSED_HEADERS;
pub use identify::ClientAddress;
pub use identity::{
    AlgorithmFamily, Audience, ClaimNames, ClaimPath, InvalidIdentity, JwtAlgorithm, JwtKey,
    JwtSettings, QuotaIdentity, Unauthenticated, UnknownAlgorithm,
};
#[cfg(feature = "jwt")]
pub use identity::{Identified, IdentifyFailure, IdentityError, JwtIdentity};
pub use layer::QuotaLayer;
pub use plans::{Assigned, Lookup, PlanDirectory};
pub use reload::ReloadError;
pub use service::QuotaService;
pub use status::{QuotaState, QuotaStatus};

//! The admin API and the user API of the quota layer, as axum routers.
//!
//! For applications that let their users see what they used, and their people change what users
//! may use. Everything is answered from the layer that the application has already, in one line.
//!
//! # Example
//!
//! ```no_run
//! use axum::{Router, routing::post};
//! use quota_layer::QuotaLayer;
//!
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! let quota = QuotaLayer::from_file("quota.toml").await?;
//! let app: Router = Router::new()
//!     .route("/api/v1/chat", post(|| async { "hello" }))
//!     .layer(quota.clone())
//!     .merge(quota_api::router(&quota));
//! # Ok(())
//! # }
//! ```
//!
//! # Where it is mounted
//!
//! Merge the router *after* `.layer(quota)`: `Router::layer` wraps the routes that are there when
//! it is called, so these routes are not metered, need no rule in `quota.toml` and are not told of
//! as unmatched. Below the layer they work too, and then want rules that exempt them. What an
//! application wraps around everything (traces, CORS, time-outs) goes around these as well.
//!
//! The paths are fixed: `/quota/...` for users, `/admin/quotas/...` for administrators, and
//! `/openapi.json`. [`user_router`] and [`admin_router`] are for those who serve them on different
//! ports; each has no `/openapi.json` at the top, the admin API's is at
//! `/admin/quotas/openapi.json` in any case.
//!
//! Serve with `into_make_service_with_connect_info::<SocketAddr>()`, and wrong admin tokens are
//! throttled for each client by itself.
//!
//! # Who may do what
//!
//! Users send the token that the layer knows them by, and see their own. Administrators send one
//! of the tokens of `[admin]` in `X-Admin-Token`, or a bearer token with one of its roles. With
//! neither in the configuration there is no admin API: every path of it is 404.
//!
//! # Cancellation
//!
//! A change that has begun is completed when the client leaves. With an `Idempotency-Key` it is
//! safe to send it again.
//!
//! # When a store is down
//!
//! The answer is a 503 with `Retry-After`, never a 500.

#![expect(
    unused_qualifications,
    reason = "the macros that describe routes write them"
)]

mod access;
mod admin;
mod api;
mod headers;
mod identity;
mod input;
mod language;
mod openapi;
mod page;
mod problem;
mod user;
mod view;
mod write;

use axum::Router;
use quota_layer::QuotaLayer;

pub use self::api::Api;

/// Both APIs of a layer, and `GET /openapi.json`, which describes them.
pub fn router(layer: &QuotaLayer) -> Router {
    Api::new(layer).router()
}

/// `/quota/...` alone.
pub fn user_router(layer: &QuotaLayer) -> Router {
    Api::new(layer).user_router()
}

/// `/admin/quotas/...` alone.
pub fn admin_router(layer: &QuotaLayer) -> Router {
    Api::new(layer).admin_router()
}

//! The routes, and the layers around them.

use std::{any::Any, time::Duration};

use axum::{Router, extract::DefaultBodyLimit, middleware, response::Response};
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;
use quota_layer::QuotaLayer;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer, trace::TraceLayer};

use crate::{loopback, problem::problem, routes, stop, stop::Stopped};

/// The largest request body that is read.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a handler may take for the head of its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// For whom the application is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For users; the demo's routes are not there.
    Deployment,
    /// For the person at this machine: with the demo's routes, and closed to everybody else.
    Demo,
}

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Application {
    /// Charges requests.
    pub quota: QuotaLayer,
    /// Renders `GET /metrics`.
    pub metrics: PrometheusHandle,
    /// Says when running requests have to end.
    pub stopped: Stopped,
}

/// The whole application.
///
/// From the outside in: trace, limits, quota, time-out, catch-panic, handler. What the time-out
/// and the caught panic answer is an ordinary failure to the quota layer, which gives the units
/// back and puts its headers on the answer. Caught outside of it instead, a panic would cost
/// nothing either, but its answer would have no quota headers.
pub fn router(application: &Application, mode: Mode) -> Router {
    let mut router = routes::api().merge(routes::operations(application));
    if mode == Mode::Demo {
        router = router.merge(routes::demo());
    }
    let router = router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            TIMEOUT,
        ))
        .layer(application.quota.clone())
        // Behind the layer: these routes are not metered, and need no rule.
        .merge(quota_api::router(&application.quota))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let router = match mode {
        Mode::Deployment => router,
        Mode::Demo => router.layer(middleware::from_fn(loopback::refuse_others)),
    };
    let stopped = application.stopped.clone();
    router
        .layer(middleware::from_fn_with_state(
            stopped,
            stop::end_late_requests,
        ))
        .layer(TraceLayer::new_for_http())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the panic's value is handed over"
)]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(target: "example_app::panic", message, "a handler panicked");
    problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Something went wrong here. You were not charged for it.",
    )
}

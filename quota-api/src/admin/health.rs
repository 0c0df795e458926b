//! How the whole does.

use axum::{Extension, Json, extract::State};
use http::StatusCode;
use quota_layer::administration::HealthStatus;

use crate::{
    access::Caller,
    api::Served,
    input::{Nothing, Query},
    problem::Problem,
    view::HealthView,
};

/// How store, ledger and configuration do.
#[utoipa::path(get, path = "/health", tag = "health", operation_id = "show_health",
    responses(
        (status = 200, description = "Requests are served.", body = HealthView),
        (status = 503, description = "Requests are not served.", body = HealthView)))]
pub(super) async fn show(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    Query(Nothing {}): Query<Nothing>,
) -> Result<(StatusCode, Json<HealthView>), Problem> {
    caller.check_installation()?;
    let health = served.administration().health().await;
    let status = match health.status {
        HealthStatus::Ok | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::Down => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok((status, Json(health.into())))
}

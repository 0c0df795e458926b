//! `GET /health` and `GET /metrics`.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use crate::router::Application;

/// Whether the store can serve, and which configuration is in force.
pub(crate) async fn health(State(application): State<Application>) -> Response {
    let checked = application.quota.check_store().await;
    let (code, status, store) = match &checked {
        Ok(()) => (StatusCode::OK, "ok", "ok"),
        // The kind only: an address or a key belongs into the log.
        Err(error) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "down",
            error.kind().as_str(),
        ),
    };
    let body = json!({
        "status": status,
        "store": store,
        "configuration": application.quota.config_revision(),
    });
    (code, Json(body)).into_response()
}

/// All metrics as Prometheus reads them.
pub(crate) async fn metrics(State(application): State<Application>) -> Response {
    let text = application.metrics.render();
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

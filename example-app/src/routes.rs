//! The handlers, one file for each part of the API.

mod chat;
mod demo;
mod health;
mod studies;

use axum::{
    Router,
    routing::{get, post},
};

use crate::router::Application;

/// What users call.
pub(crate) fn api() -> Router {
    Router::new()
        .route("/api/v1/chat", post(chat::chat))
        .route("/api/v1/studies/{id}/detect", post(studies::detect))
        .route("/api/v1/studies/{id}/continue", post(studies::proceed))
}

/// What operators call.
pub(crate) fn operations(application: &Application) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .with_state(application.clone())
}

/// What shows a person at this machine what is charged and what is not.
pub(crate) fn demo() -> Router {
    Router::new()
        .route("/demo/status/{code}", get(demo::status).post(demo::status))
        .route("/demo/panic", get(demo::panic))
        .route("/demo/stream", get(demo::stream))
        .route("/demo/cost/{n}", get(demo::cost))
}

//! `POST /api/v1/studies/{id}/...`: calls that cost one unit each.

use axum::{Json, extract::Path};
use serde_json::{Value, json};

/// Pretends to look for findings in a study.
pub(crate) async fn detect(Path(id): Path<String>) -> Json<Value> {
    Json(json!({ "study": id, "findings": [] }))
}

/// Pretends to go on with a study.
pub(crate) async fn proceed(Path(id): Path<String>) -> Json<Value> {
    Json(json!({ "study": id, "status": "continued" }))
}

//! `/demo/...`: answers made to order.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{
        Path, Query,
        rejection::{PathRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::{StatusCode, header::CONTENT_TYPE};
use quota_layer::QuotaHandle;
use serde::Deserialize;
use serde_json::json;

use crate::problem::problem;

const CHUNKS_MAX: u32 = 10_000;

/// How long to wait.
#[derive(Debug, Deserialize)]
pub(crate) struct Wait {
    #[serde(default)]
    delay_ms: u64,
}

/// How long a stream is.
#[derive(Debug, Deserialize)]
pub(crate) struct Length {
    #[serde(default = "ten")]
    chunks: u32,
    #[serde(default)]
    delay_ms: u64,
}

fn ten() -> u32 {
    10
}

/// Answers with the status that it is asked for.
///
/// Informational statuses (100 to 199) are refused with 400: they announce an answer and never
/// are one, and no HTTP server sends them as such.
pub(crate) async fn status(
    code: Result<Path<u16>, PathRejection>,
    wait: Result<Query<Wait>, QueryRejection>,
) -> Response {
    let (Ok(Path(code)), Ok(Query(wait))) = (code, wait) else {
        return bad_request("Ask like this: /demo/status/503?delay_ms=200");
    };
    let status = match StatusCode::from_u16(code) {
        Ok(status) if (200..=599).contains(&code) => status,
        Ok(status) if status.is_informational() => {
            return bad_request("A status from 100 to 199 announces an answer and can't be one.");
        }
        _ => return bad_request("Ask for a status from 200 to 599."),
    };
    sleep(wait.delay_ms).await;
    let has_no_body = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    if has_no_body {
        status.into_response()
    } else {
        (status, Json(json!({ "status": code }))).into_response()
    }
}

/// Fails as a handler with a bug does.
#[expect(clippy::panic, reason = "that is what it shows")]
pub(crate) async fn panic() -> Response {
    panic!("somebody asked for /demo/panic")
}

/// Answers in pieces.
pub(crate) async fn stream(length: Result<Query<Length>, QueryRejection>) -> Response {
    let Ok(Query(Length { chunks, delay_ms })) = length else {
        return bad_request("Ask like this: /demo/stream?chunks=5&delay_ms=200");
    };
    if chunks > CHUNKS_MAX {
        return bad_request("Ask for at most 10000 chunks.");
    }
    let pieces = stream::unfold(1, move |number| async move {
        if number > chunks {
            return None;
        }
        sleep(delay_ms).await;
        let piece = format!("chunk {number} of {chunks}\n");
        Some((Ok::<_, Infallible>(piece), number + 1))
    });
    let body = Body::from_stream(pieces);
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// Reports as many units as it is asked for.
pub(crate) async fn cost(
    quota: Option<QuotaHandle>,
    units: Result<Path<u64>, PathRejection>,
) -> Response {
    let units = units.ok().and_then(|Path(units)| i64::try_from(units).ok());
    let Some(units) = units else {
        return bad_request("Ask for a whole number of units, like this: /demo/cost/7");
    };
    if let Some(quota) = quota {
        quota.report("demo_units", units);
    }
    Json(json!({ "cost": units })).into_response()
}

async fn sleep(delay_ms: u64) {
    tokio::time::sleep(Duration::from_millis(delay_ms)).await;
}

fn bad_request(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, detail)
}

//! Requests that no rule names: pass, warn or deny.

use axum::{Router, routing};
use quota_tests::{
    layers::{Store, layered_watched},
    logs::{Logs, Metrics},
    requests::{get, header, json, send, status},
};

fn config(unmatched: &str) -> String {
    format!(
        r#"
        {unmatched}
        [quotas.messages]
        [plans.free]
        default = true
        limits.messages = "5/day"
        [[routes]]
        match = "GET /chat"
        charge = {{ messages = 1 }}
        [[routes]]
        match = "GET /health"
        exempt = true
        "#
    )
}

/// The log, the metric and the statuses of requests to two routes and one exempt one.
async fn told(store: Store, unmatched: &str) -> (Vec<String>, u64, [u16; 5]) {
    let (logs, metrics) = (Logs::capture(), Metrics::capture());
    let (layered, watch) = layered_watched(store, &config(unmatched)).await;
    let app = Router::new()
        .route("/items/{id}", routing::get(async || "item"))
        .route("/other", routing::get(async || "other"))
        .route("/health", routing::get(async || "fine"))
        .layer(layered.quota.clone());
    let mut seen = [0; 5];
    for (seen, path) in seen.iter_mut().zip([
        "/items/alice-secret",
        "/items/2",
        "/other",
        "/other",
        "/health",
    ]) {
        *seen = status(&app, get(path, "alice")).await;
    }
    assert_eq!(watch.all_calls(), 0);
    (
        logs.lines_with("quota::unmatched"),
        metrics.counter("quota_unmatched_total"),
        seen,
    )
}

async fn by_default_each_route_is_named_once_in_the_log(store: Store) {
    let (lines, count, statuses) = told(store, "").await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("/items/{id}"),
        "{lines:?}"
    );
    assert!(lines[1].contains("/other"), "{lines:?}");
    assert_eq!((count, statuses), (4, [200; 5]));
}

async fn they_may_pass_without_a_word(store: Store) {
    let (lines, count, statuses) = told(store, "unmatched = \"pass\"").await;
    assert_eq!((lines.len(), count, statuses), (0, 0, [200; 5]));
}

async fn they_may_be_denied(store: Store) {
    let (lines, count, statuses) = told(store, "unmatched = \"deny\"").await;
    assert_eq!((lines.len(), count), (0, 4));
    assert_eq!(statuses, [403, 403, 403, 403, 200]);
}

/// Without a token nobody learns which routes exist, and no identity is asked for.
async fn a_denied_route_needs_no_token(store: Store) {
    let (layered, watch) = layered_watched(store, &config("unmatched = \"deny\"")).await;
    let app = Router::new().layer(layered.quota.clone());
    let request = http::Request::get("/nowhere").body(axum::body::Body::empty());
    let response = send(&app, request.unwrap()).await;
    assert_eq!(response.status(), 403);
    assert_eq!(json(&response)["reason"], "unmatched");
    assert_eq!(header(&response, "x-quota-state"), "");
    assert_eq!(watch.all_calls(), 0);
}

on_both_stores!(
    by_default_each_route_is_named_once_in_the_log,
    they_may_pass_without_a_word,
    they_may_be_denied,
    a_denied_route_needs_no_token,
);

//! Warnings, grace and the hard limit: 100 a month, a warning at 80 %, 30 % of grace.

use quota_tests::{layers::Store, requests::json, tokens::Claims};
use serde_json::{Value, json};

use super::{Quotas, quota_header};

const CONFIG: &str = r#"
[quotas.queries]
unit = { en = ["query", "queries"] }
[plans.monthly]
default = true
warn_at = ["80%"]
grace = "30%"
limits.queries = "100/month"
[[routes]]
match = "GET /ask"
charge = { queries = 1 }
[[routes]]
match = "GET /read"
charge = { queries = 0 }
"#;

async fn the_131st_of_100_with_grace_is_refused(store: Store) {
    let quotas = Quotas::new(store, CONFIG).await;
    let alice = Claims::user("alice");
    let expected = |used| match used {
        ..80 => "ok",
        80..=100 => "warning",
        101..130 => "grace",
        _ => "exceeded",
    };
    for used in 1..=130_u64 {
        let response = quotas.get("/ask", &alice).await;
        assert_eq!(response.status(), 200, "{used}");
        assert_eq!(quota_header(&response, "used"), used.to_string());
        assert_eq!(quota_header(&response, "state"), expected(used), "{used}");
        let remaining = 100_u64.saturating_sub(used).to_string();
        assert_eq!(quota_header(&response, "remaining"), remaining);
    }
    let refused = quotas.get("/ask", &alice).await;
    assert_eq!(refused.status(), 429);
    let body = json(&refused);
    let status = &body["quota_status"];
    assert_eq!(status["hard_limit"], 130);
    assert_eq!(status["percent_used"], 130);
    assert_eq!(status["state"], "exceeded");
    assert_eq!(status["warning_level"], "100%");
    assert_eq!(status["in_grace"], false);
    assert_eq!(body["reason"], "limit");
}

/// A charge of nothing shows the status without changing it.
async fn statuses_tell_warning_levels_and_grace_at_each_step(store: Store) {
    let config = CONFIG.replace(
        "charge = { queries = 1 }",
        "charge = { queries = { reserve = 0, actual = \"handler\" } }",
    );
    let quotas = Quotas::new(store, &config).await;
    // A handler that reports tells the status of the request after it.
    let layer = quotas.layered.quota.clone();
    let app = axum::Router::new()
        .route(
            "/ask",
            axum::routing::get(async |handle: quota_layer::QuotaHandle| {
                let status = handle.status();
                handle.report("queries", 5);
                axum::Json(json!(status[0]))
            }),
        )
        .layer(layer);
    let mut seen = Vec::new();
    for used in (0..=135).step_by(5) {
        let request = quota_tests::requests::get("/ask", "alice");
        let status = json(&quota_tests::requests::send(&app, request).await);
        assert_eq!(status["used"], used);
        let told = |name| status[name].clone();
        let shown: [Value; 4] = ["used", "state", "warning_level", "in_grace"].map(told);
        let is_new = seen
            .last()
            .is_none_or(|last: &[Value; 4]| last[1..] != shown[1..]);
        if is_new {
            seen.push(shown);
        }
    }
    assert_eq!(
        serde_json::to_value(seen).unwrap(),
        json!([
            [0, "ok", null, false],
            [80, "warning", "80%", false],
            [100, "warning", "100%", false],
            [105, "grace", "100%", true],
            [130, "exceeded", "100%", false],
        ])
    );
}

/// Over its limit a customer can still do what costs nothing.
async fn a_charge_of_nothing_is_never_denied(store: Store) {
    let quotas = Quotas::new(
        store,
        &CONFIG.replace("100/month", "2/month").replace("30%", "0%"),
    )
    .await;
    let alice = Claims::user("alice");
    for expected in [200, 200, 429] {
        assert_eq!(quotas.status("/ask", &alice).await, expected);
    }
    let response = quotas.get("/read", &alice).await;
    assert_eq!(response.status(), 200);
    assert_eq!(quota_header(&response, "state"), "exceeded");
    assert_eq!(quota_header(&response, "used"), "2");
    let none = Quotas::new(store, &CONFIG.replace("\"100/month\"", "0")).await;
    assert_eq!(none.status("/ask", &alice).await, 429);
    assert_eq!(none.status("/read", &alice).await, 200);
}

async fn warnings_may_be_written_in_any_order(store: Store) {
    let config = CONFIG
        .replace("[\"80%\"]", "[\"90%\", \"20%\", \"50%\"]")
        .replace("100/month", "10/month");
    let quotas = Quotas::new(store, &config).await;
    let mut states = Vec::new();
    for _ in 0..3 {
        let response = quotas.get("/ask", &Claims::user("alice")).await;
        states.push(quota_header(&response, "state").to_owned());
    }
    assert_eq!(states, ["ok", "warning", "warning"]);
}

on_both_stores!(
    the_131st_of_100_with_grace_is_refused,
    statuses_tell_warning_levels_and_grace_at_each_step,
    a_charge_of_nothing_is_never_denied,
    warnings_may_be_written_in_any_order,
);

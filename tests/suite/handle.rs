//! What handlers read of their quota, and report back.

use axum::{Json, Router, body::Body, routing};
use bytes::Bytes;
use http::{Request, Response};
use quota_layer::QuotaHandle;
use quota_tests::{
    layers::{Layered, Store, layered},
    logs::{Logs, Metrics},
    requests::{get, get_as, header, json, send},
    tokens::Claims,
};
use serde_json::json;
use tokio::sync::mpsc;

const CONFIG: &str = r#"
unmatched = "pass"
[store]
timeout = "5s"
[quotas.messages]
[quotas.tokens]
[plans.free]
default = true
limits.messages = "100/lifetime"
limits.tokens = ["1000/lifetime", "5000/month"]
tenant_limits.tokens = "9000/lifetime"
[[routes]]
match = "GET /chat"
charge = { messages = 1, tokens = { reserve = 10, actual = "handler" } }
"#;

async fn tokens(layered: &Layered) -> (u64, u64) {
    let value = layered.user("alice", "tokens", "lifetime").await;
    (value.used.get(), value.reserved.get())
}

/// An application that reports these amounts, in this order, and answers `status`.
fn reporting(layered: &Layered, reports: &'static [(&'static str, i64)], status: u16) -> Router {
    let handler = async move |quota: QuotaHandle| {
        for (name, amount) in reports {
            quota.report(name, *amount);
        }
        http::StatusCode::from_u16(status).unwrap()
    };
    Router::new()
        .route("/chat", routing::get(handler))
        .layer(layered.quota.clone())
}

async fn what_is_reported_is_charged_exactly(store: Store) {
    let cases: [(&[(&str, i64)], u64); 6] = [
        (&[], 10),
        (&[("tokens", 3)], 3),
        (&[("tokens", 25)], 25),
        (&[("tokens", 0)], 0),
        (&[("tokens", 4), ("tokens", 5), ("tokens", 6)], 15),
        (&[("tokens", 7), ("nothing", 9), ("messages", 9)], 7),
    ];
    for (reports, charged) in cases {
        let layered = layered(store, CONFIG).await;
        let app = reporting(&layered, reports, 200);
        let response = send(&app, get("/chat", "alice")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(tokens(&layered).await, (charged, 0), "{reports:?}");
        let month = layered.user("alice", "tokens", "month").await;
        assert_eq!(month.used.get(), charged, "{reports:?}");
        assert_eq!(
            layered
                .user("alice", "messages", "lifetime")
                .await
                .used
                .get(),
            1
        );
    }
}

async fn what_a_failure_reports_is_free(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = reporting(&layered, &[("tokens", 25)], 500);
    send(&app, get("/chat", "alice")).await;
    assert_eq!(tokens(&layered).await, (0, 0));
}

/// More than was left when it was reserved is charged too: it was used.
async fn a_report_may_pass_the_hard_limit(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = reporting(&layered, &[("tokens", 1500)], 200);
    let response = send(&app, get("/chat", "alice")).await;
    assert_eq!(header(&response, "x-quota-used"), "1500");
    assert_eq!(header(&response, "x-quota-remaining"), "0");
    assert_eq!(header(&response, "x-quota-state"), "exceeded");
    assert!(header(&response, "ratelimit").contains("\"tokens-lifetime\";r=0"));
    assert_eq!(send(&app, get("/chat", "alice")).await.status(), 429);
    assert_eq!(tokens(&layered).await, (1500, 0));
}

async fn reports_of_what_is_not_reported_here_are_errors(store: Store) {
    let (logs, metrics) = (Logs::capture(), Metrics::capture());
    let layered = layered(store, CONFIG).await;
    let app = reporting(
        &layered,
        &[("nothing", 1), ("messages", 1), ("tokens", -1)],
        200,
    );
    send(&app, get("/chat", "alice")).await;
    let lines = logs.lines_with("quota::report");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("ERROR")), "{lines:?}");
    for reason in ["unknown_quota", "not_actual", "out_of_range"] {
        let name = format!("quota_reports_ignored_total{{reason={reason}}}");
        assert_eq!(metrics.counter(&name), 1, "{reason}");
    }
}

/// A handle that outlives its request, kept by a task or a stream.
async fn a_report_after_the_head_is_a_warning_and_free(store: Store) {
    for status in [200, 500] {
        let (logs, metrics) = (Logs::capture(), Metrics::capture());
        let layered = layered(store, CONFIG).await;
        let (sender, mut kept) = mpsc::unbounded_channel();
        let handler = async move |quota: QuotaHandle| {
            sender.send(quota).unwrap();
            http::StatusCode::from_u16(status).unwrap()
        };
        let app = Router::new()
            .route("/chat", routing::get(handler))
            .layer(layered.quota.clone());
        send(&app, get("/chat", "alice")).await;
        let before = tokens(&layered).await;
        kept.recv().await.unwrap().report("tokens", 500);
        let lines = logs.lines_with("quota::report");
        assert!(
            lines.len() == 1 && lines[0].contains("WARN"),
            "{status}: {lines:?}"
        );
        assert_eq!(
            metrics.counter("quota_reports_ignored_total{reason=late}"),
            1
        );
        assert_eq!(tokens(&layered).await, before, "{status}");
    }
}

async fn a_handler_reads_its_status_and_identity(store: Store) {
    let layered = layered(store, CONFIG).await;
    let handler = async |quota: QuotaHandle| {
        let identity = quota.identity();
        let who = (identity.user(), identity.tenant(), identity.roles());
        Json(json!({ "who": who, "state": quota.state(), "status": quota.status() }))
    };
    let app = Router::new()
        .route("/chat", routing::get(handler))
        .layer(layered.quota.clone());
    let claims = Claims::user("alice").with_org("acme").with_role("boss");
    let told = json(&send(&app, get_as("/chat", &claims)).await);
    assert_eq!(told["who"], json!(["alice", "acme", ["boss"]]));
    assert_eq!(told["state"], "ok");
    let counters: Vec<_> = told["status"]
        .as_array()
        .unwrap()
        .iter()
        .map(|status| {
            let shown = |name: &str| status[name].clone();
            json!([
                shown("quota"),
                shown("scope"),
                shown("window"),
                shown("used"),
                shown("reserved")
            ])
        })
        .collect();
    assert_eq!(
        json!(counters),
        json!([
            ["messages", "user", "lifetime", 0, 1],
            ["tokens", "user", "lifetime", 0, 10],
            ["tokens", "user", "month", 0, 10],
            ["tokens", "tenant", "lifetime", 0, 10],
        ])
    );
}

async fn a_handle_on_a_route_without_a_charge_is_an_error_that_names_the_rule(store: Store) {
    let layered = layered(store, CONFIG).await;
    let logs = Logs::capture();
    let app = Router::new()
        .route("/items/{id}", routing::get(async |_: QuotaHandle| ()))
        .layer(layered.quota.clone());
    let response: Response<Bytes> = send(&app, get("/items/7", "alice")).await;
    assert_eq!(response.status(), 500);
    let text = String::from_utf8(response.body().to_vec()).unwrap();
    assert!(text.contains("match = \"GET /items/{id}\""), "{text}");
    assert_eq!(logs.lines_with("quota::handle").len(), 1);
}

async fn an_optional_handle_is_there_exactly_on_charged_routes(store: Store) {
    let layered = layered(store, CONFIG).await;
    let handler = async |quota: Option<QuotaHandle>| quota.is_some().to_string();
    let app = Router::new()
        .route("/chat", routing::get(handler))
        .route("/free", routing::get(handler))
        .layer(layered.quota.clone());
    assert_eq!(send(&app, get("/chat", "alice")).await.body(), "true");
    assert_eq!(send(&app, get("/free", "alice")).await.body(), "false");
}

/// Services without axum find the handle in the extensions.
async fn a_plain_service_finds_the_handle_in_the_extensions(store: Store) {
    use tower::ServiceExt as _;
    use tower_layer::Layer as _;

    let layered = layered(store, CONFIG).await;
    let inner = tower::service_fn(async |request: Request<Body>| {
        let quota = request.extensions().get::<QuotaHandle>().unwrap();
        quota.report("tokens", 42);
        Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
    });
    let Ok(response) = layered
        .quota
        .layer(inner)
        .oneshot(get("/chat", "alice"))
        .await;
    assert_eq!(response.status(), 200);
    assert_eq!(tokens(&layered).await, (42, 0));
}

on_both_stores!(
    what_is_reported_is_charged_exactly,
    what_a_failure_reports_is_free,
    a_report_may_pass_the_hard_limit,
    reports_of_what_is_not_reported_here_are_errors,
    a_report_after_the_head_is_a_warning_and_free,
    a_handler_reads_its_status_and_identity,
    a_handle_on_a_route_without_a_charge_is_an_error_that_names_the_rule,
    an_optional_handle_is_there_exactly_on_charged_routes,
    a_plain_service_finds_the_handle_in_the_extensions,
);

/// While the store can't serve, this process spends a tenth by itself: what was reported counts.
#[tokio::test]
async fn what_is_reported_counts_in_the_local_share_too() {
    use std::sync::Arc;

    use quota_store::{MemoryCounterStore, MemoryOptions, SystemClock};

    let options = MemoryOptions::default().with_max_subjects(1);
    let store = Arc::new(MemoryCounterStore::new(&options, Arc::new(SystemClock)));
    let text = CONFIG.replace("[store]", "[store]\non_failure = \"local\"");
    let layered = quota_tests::layers::layered_over(store, &text, Arc::new(SystemClock)).await;
    let app = reporting(&layered, &[("tokens", 95)], 200);
    // The store has room for one user, and none for the next.
    send(&app, get("/chat", "bob")).await;
    let first = send(&app, get("/chat", "alice")).await;
    assert_eq!(header(&first, "x-quota-state"), "unavailable");
    assert_eq!(first.status(), 200);
    assert_eq!(send(&app, get("/chat", "alice")).await.status(), 503);
}

//! Metrics and logs say what happens, and never who it was.

use std::collections::BTreeSet;

use axum::{Router, body::Body, routing};
use http::{Request, StatusCode};
use quota_layer::QuotaHandle;
use quota_tests::{
    eventually,
    layers::{Store, layered, layered_over},
    logs::{Logs, Metrics},
    requests::{get_as, send, status},
    tokens::{Claims, TEST_SECRET, token},
};

const CONFIG: &str = r#"
[store]
timeout = "900ms"
reservation_ttl = "1s"
[quotas.messages]
[quotas.tokens]
[plans.free]
default = true
limits.messages = "2/lifetime"
limits.tokens = "1000/lifetime"
[[routes]]
match = ["GET /chat/{room}", "POST /chat/{room}"]
charge = { messages = 1, tokens = { reserve = 10, actual = "handler" } }
[[routes]]
match = "GET /fail"
charge = { messages = 1 }
"#;

/// What must stay between the client and the store.
const SECRETS: [&str; 4] = ["alice-7f", "acme-7f", "room-7f", TEST_SECRET];

fn claims() -> Claims {
    Claims::user("alice-7f").with_org("acme-7f")
}

/// One request of each outcome: committed, released, denied, panicked, unauthenticated, unmatched.
async fn one_of_each(store: Store) {
    let layered = layered(store, CONFIG).await;
    let chat = async |quota: QuotaHandle| {
        quota.report("tokens", 25);
        quota.report("nothing", 1);
    };
    let app = Router::new()
        .route("/chat/{room}", routing::get(chat))
        .route("/fail", routing::get(async || StatusCode::BAD_GATEWAY))
        .route("/other/{room}", routing::get(async || ()))
        .layer(layered.quota.clone());
    let ask = async |path| status(&app, get_as(path, &claims())).await;
    assert_eq!(ask("/chat/room-7f").await, 200);
    assert_eq!(ask("/fail").await, 502);
    assert_eq!(ask("/other/room-7f?q=room-7f").await, 200);
    let expired = claims().with("exp", serde_json::json!(1));
    assert_eq!(
        send(&app, get_as("/chat/room-7f", &expired)).await.status(),
        401
    );
    let forged = token("another secret of the tests, 32 bytes", &claims());
    let forged = Request::get("/chat/room-7f").header("authorization", format!("Bearer {forged}"));
    assert_eq!(status(&app, forged.body(Body::empty()).unwrap()).await, 401);
    let unknown = claims().with_plan("gold-room-7f");
    assert_eq!(status(&app, get_as("/chat/room-7f", &unknown)).await, 200);
    assert_eq!(ask("/chat/room-7f").await, 429);
    layered.quota.shutdown().await;
}

async fn outcomes_and_units_are_counted_by_route_quota_and_plan(store: Store) {
    let metrics = Metrics::capture();
    one_of_each(store).await;
    let count = |route: &str, quota: &str, outcome: &str| {
        metrics.counter(&format!(
            "quota_requests_total{{outcome={outcome},plan=free,quota={quota},route={route}}}"
        ))
    };
    assert_eq!(count("/chat/{room}", "messages", "committed"), 2);
    assert_eq!(count("/chat/{room}", "tokens", "committed"), 2);
    assert_eq!(count("/fail", "messages", "released"), 1);
    assert_eq!(count("/chat/{room}", "messages", "denied"), 1);
    let units = |quota: &str, kind: &str| {
        metrics.counter(&format!("quota_units_total{{kind={kind},quota={quota}}}"))
    };
    assert_eq!(
        (units("messages", "committed"), units("tokens", "committed")),
        (2, 50)
    );
    assert_eq!(
        (units("messages", "released"), units("tokens", "denied")),
        (1, 10)
    );
    assert!(metrics.histogram_counts()["quota_layer_seconds"] >= 4);
    if store == Store::Redis {
        for op in ["reserve", "commit", "release"] {
            let name = format!("quota_store_seconds{{op={op}}}");
            assert!(metrics.histogram_counts().contains_key(&name), "{name}");
        }
    }
    let gauges = metrics.gauges();
    assert!(
        gauges
            .keys()
            .any(|name| name.starts_with("quota_config_info{revision="))
    );
    assert_eq!(metrics.counter("quota_unmatched_total"), 1);
}

/// Beside `outcomes`, a request that never gets as far as an answer.
async fn a_panic_and_a_drop_count_as_released(store: Store) {
    let metrics = Metrics::capture();
    let layered = layered(store, CONFIG).await;
    let app = Router::new()
        .route(
            "/fail",
            routing::get(async || -> () { panic!("a handler failed") }),
        )
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
        .layer(layered.quota.clone());
    let outside = Router::new()
        .route(
            "/fail",
            routing::get(async || -> () { panic!("a handler failed") }),
        )
        .layer(layered.quota.clone())
        .layer(tower_http::catch_panic::CatchPanicLayer::new());
    assert_eq!(status(&app, get_as("/fail", &claims())).await, 500);
    assert_eq!(status(&outside, get_as("/fail", &claims())).await, 500);
    let name = "quota_requests_total{outcome=released,plan=free,quota=messages,route=/fail}";
    assert_eq!(metrics.counter(name), 2);
}

async fn reservations_are_a_gauge(store: Store) {
    let metrics = Metrics::capture();
    let layered = layered(store, CONFIG).await;
    let app = Router::new()
        .route("/fail", routing::get(std::future::pending::<()>))
        .layer(layered.quota.clone());
    let shown = |expected: u32| {
        let gauges = metrics.gauges();
        let shown = gauges.get("quota_reservations").copied();
        async move { shown == Some(f64::from(expected)) }
    };
    let running = tokio::spawn(async move { status(&app, get_as("/fail", &claims())).await });
    eventually(|| shown(1), "one is shown").await;
    running.abort();
    eventually(|| shown(0), "none is shown").await;
}

async fn labels_and_logs_never_say_who_it_was(store: Store) {
    let (logs, metrics) = (Logs::capture_with("trace"), Metrics::capture());
    one_of_each(store).await;
    let names: BTreeSet<String> = metrics
        .counters()
        .into_keys()
        .chain(metrics.gauges().into_keys())
        .chain(metrics.histogram_counts().into_keys())
        .collect();
    // What drivers say at TRACE is their own.
    let text = logs.text();
    let ours: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" quota"))
        .collect();
    assert!(!names.is_empty() && !ours.is_empty());
    for secret in SECRETS {
        let told = names.iter().find(|name| name.contains(secret));
        assert_eq!(told, None, "{secret}");
        let told = ours.iter().find(|line| line.contains(secret));
        assert_eq!(told, None, "{secret}");
    }
    // Parts of a token neither.
    assert!(!text.contains("eyJ"), "{text}");
}

async fn each_kind_of_event_has_its_level_and_target(store: Store) {
    let logs = Logs::capture();
    one_of_each(store).await;
    for (level, target, count) in [
        ("INFO", "quota::commit", 2),
        ("WARN", "quota::deny", 1),
        ("WARN", "quota::unmatched", 1),
        ("WARN", "quota::plan", 1),
        ("ERROR", "quota::report", 2),
    ] {
        let lines = logs.lines_with(&format!("{target}: "));
        let lines: Vec<_> = lines.iter().filter(|line| line.contains(level)).collect();
        assert_eq!(lines.len(), count, "{target}: {}", logs.text());
    }
    let denied = &logs.lines_with("quota::deny")[0];
    for part in [
        "reason=\"limit\"",
        "messages-lifetime",
        "user=",
        "rule=\"GET /chat/{room}\"",
    ] {
        assert!(denied.contains(part), "{part}: {denied}");
    }
}

on_both_stores!(
    outcomes_and_units_are_counted_by_route_quota_and_plan,
    a_panic_and_a_drop_count_as_released,
    reservations_are_a_gauge,
    labels_and_logs_never_say_who_it_was,
    each_kind_of_event_has_its_level_and_target,
);

#[tokio::test]
async fn a_store_that_is_full_is_an_error_in_the_log_and_a_metric() {
    use quota_store::{MemoryCounterStore, MemoryOptions, SystemClock};
    use std::sync::Arc;

    let (logs, metrics) = (Logs::capture(), Metrics::capture());
    let options = MemoryOptions::default().with_max_subjects(1);
    let store = Arc::new(MemoryCounterStore::new(&options, Arc::new(SystemClock)));
    let layered = layered_over(store, CONFIG, Arc::new(SystemClock)).await;
    let app = Router::new()
        .route("/fail", routing::get(async || ()))
        .layer(layered.quota);
    assert_eq!(status(&app, get_as("/fail", &Claims::user("a"))).await, 200);
    assert_eq!(status(&app, get_as("/fail", &Claims::user("b"))).await, 503);
    let name = "quota_requests_total{outcome=unavailable,plan=free,quota=messages,route=/fail}";
    assert_eq!(metrics.counter(name), 1);
    assert_eq!(metrics.counter("quota_store_errors_total{kind=full}"), 1);
    let lines = logs.lines_with("ERROR");
    assert!(
        lines.iter().any(|line| line.contains("kind=\"full\"")),
        "{}",
        logs.text()
    );
}

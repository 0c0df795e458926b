//! Only a success is charged, however a request ends.

mod disconnects;

use std::{convert::Infallible, future::pending, time::Duration};

use axum::{Router, body::Body, response::Response, routing};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, StatusCode};
use http_body_util::Full;
use quota_layer::QuotaLayer;
use quota_tests::{
    doubles::{Answers, Fails, NeverAnswers},
    eventually_eq,
    layers::{Layered, Store, layered},
    requests::{get, header, status},
};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_layer::Layer;

const CONFIG: &str = r#"
[store]
timeout = "5s"
[quotas.messages]
[plans.free]
default = true
limits.messages = "1000/lifetime"
[[routes]]
match = "GET /"
charge = { messages = 1 }
"#;

async fn counted(layered: &Layered) -> (u64, u64) {
    let value = layered.user("alice", "messages", "lifetime").await;
    (value.used.get(), value.reserved.get())
}

/// Nothing was charged, and nothing is held any more.
async fn assert_free(layered: &Layered, what: &str) {
    eventually_eq((0, 0), || counted(layered), what).await;
}

/// The status of `quota` over a service that answers this status.
async fn answer(quota: &QuotaLayer, code: u16) -> u16 {
    let inner = Answers::new(StatusCode::from_u16(code).unwrap(), "body");
    let response = quota.layer(inner).oneshot(get("/", "alice")).await.unwrap();
    assert_ne!(header(&response, "x-quota-used"), "", "{code}");
    response.status().as_u16()
}

async fn exactly_a_2xx_is_charged(store: Store) {
    let layered = layered(store, CONFIG).await;
    let mut charged = 0;
    for code in 100..=599 {
        assert_eq!(answer(&layered.quota, code).await, code);
        charged += u64::from((200..300).contains(&code));
        assert_eq!(counted(&layered).await, (charged, 0), "after {code}");
    }
}

async fn a_rule_may_call_other_statuses_a_success(store: Store) {
    let config = CONFIG.replace(
        "charge = ",
        "success = [\"2xx\", \"304\", \"101\", \"402-404\"]\ncharge = ",
    );
    let layered = layered(store, &config).await;
    let mut charged = 0;
    for code in [
        100, 101, 102, 200, 299, 300, 303, 304, 305, 401, 402, 404, 405, 500,
    ] {
        answer(&layered.quota, code).await;
        charged += u64::from(matches!(code, 101 | 200 | 299 | 304 | 402 | 404));
        assert_eq!(counted(&layered).await, (charged, 0), "after {code}");
    }
}

async fn only_what_is_named_is_a_success(store: Store) {
    let config = CONFIG.replace("charge = ", "success = [\"304\"]\ncharge = ");
    let layered = layered(store, &config).await;
    answer(&layered.quota, 200).await;
    assert_eq!(counted(&layered).await, (0, 0));
    answer(&layered.quota, 304).await;
    assert_eq!(counted(&layered).await, (1, 0));
}

async fn an_inner_error_is_passed_on_and_free(store: Store) {
    let layered = layered(store, CONFIG).await;
    let service = layered.quota.layer(Fails("the disk is full"));
    let error = service.oneshot(get("/", "alice")).await.unwrap_err();
    assert_eq!(error.to_string(), "the disk is full");
    assert_eq!(counted(&layered).await, (0, 0));
}

async fn panics() -> &'static str {
    panic!("a handler failed")
}

async fn a_panic_is_free_with_catch_panic_outside(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = Router::new()
        .route("/", routing::get(panics))
        .layer(layered.quota.clone())
        .layer(CatchPanicLayer::new());
    assert_eq!(status(&app, get("/", "alice")).await, 500);
    assert_free(&layered, "a panic is free").await;
}

async fn a_panic_is_free_with_catch_panic_inside(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = Router::new()
        .route("/", routing::get(panics))
        .layer(CatchPanicLayer::new())
        .layer(layered.quota.clone());
    assert_eq!(status(&app, get("/", "alice")).await, 500);
    assert_eq!(counted(&layered).await, (0, 0));
}

async fn a_panic_is_free_when_nobody_catches_it(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = Router::new()
        .route("/", routing::get(panics))
        .layer(layered.quota.clone());
    let request = tokio::spawn(async move { status(&app, get("/", "alice")).await });
    assert!(request.await.unwrap_err().is_panic());
    assert_free(&layered, "a panic is free").await;
}

/// A service of tower may panic before it gives a future at all.
async fn a_panic_in_call_is_free(store: Store) {
    let layered = layered(store, CONFIG).await;
    let inner = service_fn(
        |_: Request<Body>| -> std::future::Ready<Result<Response<Body>, Infallible>> {
            panic!("a service failed")
        },
    );
    let service = layered.quota.layer(inner);
    let request = tokio::spawn(service.oneshot(get("/", "alice")));
    assert!(request.await.unwrap_err().is_panic());
    assert_free(&layered, "a panic is free").await;
}

const SHORT: Duration = Duration::from_millis(20);

async fn a_time_out_of_tower_is_free_outside_and_inside(store: Store) {
    let layered = layered(store, CONFIG).await;
    let outside = ServiceBuilder::new()
        .timeout(SHORT)
        .layer(layered.quota.clone())
        .service(NeverAnswers::default());
    let elapsed: BoxError = outside.oneshot(get("/", "alice")).await.unwrap_err();
    assert!(elapsed.is::<tower::timeout::error::Elapsed>());
    assert_free(&layered, "a time-out outside is free").await;
    let inside = ServiceBuilder::new()
        .layer(layered.quota.clone())
        .timeout(SHORT)
        .service(NeverAnswers::default());
    let elapsed = inside.oneshot(get("/", "alice")).await.unwrap_err();
    assert!(elapsed.is::<tower::timeout::error::Elapsed>());
    assert_eq!(counted(&layered).await, (0, 0));
}

async fn a_time_out_of_tower_http_is_free_outside_and_inside(store: Store) {
    let layered = layered(store, CONFIG).await;
    let limit =
        || tower_http::timeout::TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, SHORT);
    let stuck = Router::new().route("/", routing::get(pending::<()>));
    let outside = stuck.clone().layer(layered.quota.clone()).layer(limit());
    assert_eq!(status(&outside, get("/", "alice")).await, 504);
    assert_free(&layered, "a time-out outside is free").await;
    let inside = stuck.layer(limit()).layer(layered.quota.clone());
    assert_eq!(status(&inside, get("/", "alice")).await, 504);
    assert_eq!(counted(&layered).await, (0, 0));
}

async fn a_dropped_future_is_free_wherever_it_was(store: Store) {
    let layered = layered(store, CONFIG).await;
    let inner = NeverAnswers::default();
    let service = layered.quota.layer(inner.clone());
    drop(service.clone().oneshot(get("/", "alice")));
    let mut polled_once = Box::pin(service.clone().oneshot(get("/", "alice")));
    assert!((&mut polled_once).now_or_never().is_none());
    drop(polled_once);
    assert_free(&layered, "dropped before the store answered").await;
    let mut running = Box::pin(service.oneshot(get("/", "alice")));
    let calls = inner.calls();
    eventually_eq(
        true,
        || {
            let pending = (&mut running).now_or_never().is_none();
            let called = inner.calls() > calls;
            async move { pending && called }
        },
        "the handler runs",
    )
    .await;
    assert_eq!(counted(&layered).await, (0, 1));
    drop(running);
    assert_free(&layered, "dropped while the handler ran").await;
}

/// The body is the client's affair: the head was a success.
async fn a_body_that_is_dropped_unread_stays_charged(store: Store) {
    let layered = layered(store, CONFIG).await;
    let inner = service_fn(async |_: Request<Body>| {
        Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"hello"))))
    });
    let response = layered.quota.layer(inner).oneshot(get("/", "alice")).await;
    drop(response.unwrap());
    assert_eq!(counted(&layered).await, (1, 0));
}

/// So there is no other moment at which a client could leave than while the handler runs.
#[tokio::test]
async fn a_store_in_memory_lets_a_request_be_done_in_one_poll() {
    let layered = layered(Store::Memory, CONFIG).await;
    for (code, charged) in [(200, (1, 0)), (500, (1, 0))] {
        let inner = Answers::new(StatusCode::from_u16(code).unwrap(), "body");
        let service = layered.quota.layer(inner);
        let answer = service.oneshot(get("/", "alice")).now_or_never();
        assert_eq!(answer.unwrap().unwrap().status(), code);
        assert_eq!(counted(&layered).await, charged);
    }
}

on_both_stores!(
    exactly_a_2xx_is_charged,
    a_rule_may_call_other_statuses_a_success,
    only_what_is_named_is_a_success,
    an_inner_error_is_passed_on_and_free,
    a_panic_is_free_with_catch_panic_outside,
    a_panic_is_free_with_catch_panic_inside,
    a_panic_is_free_when_nobody_catches_it,
    a_panic_in_call_is_free,
    a_time_out_of_tower_is_free_outside_and_inside,
    a_time_out_of_tower_http_is_free_outside_and_inside,
    a_dropped_future_is_free_wherever_it_was,
    a_body_that_is_dropped_unread_stays_charged,
);

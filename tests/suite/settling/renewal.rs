//! Requests that take longer than their reservation lives.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing};
use quota_store::{SystemClock, UnixMillis};
use quota_tests::{
    RedisServer,
    doubles::{Watch, WatchedStore},
    eventually, eventually_eq,
    layers::{Layered, Store, layered_over, layered_watched, redis_store},
    logs::Metrics,
    requests::{get, send},
};
use tokio::sync::Semaphore;

use super::{config, counted};

const TTL: Duration = Duration::from_secs(1);

fn gated(layered: &Layered) -> (Router, Arc<Semaphore>) {
    let go = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go);
    let handler = async move || gate.acquire().await.unwrap().forget();
    let app = Router::new()
        .route("/chat", routing::get(handler))
        .layer(layered.quota.clone());
    (app, go)
}

async fn until(layered: &Layered, instant: UnixMillis) {
    let is_over = || async { layered.store.now() >= instant };
    eventually(is_over, "the store's time comes").await;
}

async fn a_long_request_keeps_its_units(store: Store) {
    let metrics = Metrics::capture();
    let text = config("timeout = \"900ms\"\nreservation_ttl = \"1s\"");
    let (layered, watch) = layered_watched(store, &text).await;
    let (app, go) = gated(&layered);
    let running = tokio::spawn(async move { send(&app, get("/chat", "alice")).await });
    eventually_eq((0, 1), || counted(&layered), "it holds its unit").await;
    let expiry = layered.store.now().saturating_add(TTL * 2);
    while layered.store.now() < expiry {
        assert_eq!(counted(&layered).await, (0, 1));
        tokio::task::yield_now().await;
    }
    go.add_permits(1);
    assert_eq!(running.await.unwrap().status(), 200);
    assert_eq!(counted(&layered).await, (1, 0));
    let outcome = |outcome: &str| {
        let labels = "plan=free,quota=messages,route=/chat";
        metrics.counter(&format!(
            "quota_requests_total{{outcome={outcome},{labels}}}"
        ))
    };
    assert_eq!((outcome("committed"), outcome("late")), (1, 0));
    assert!(watch.calls("renew") >= 4);
}

async fn renewals_between(layered: &Layered, watch: &Watch, duration: Duration) -> u64 {
    let before = watch.calls("renew");
    until(layered, layered.store.now().saturating_add(duration)).await;
    watch.calls("renew") - before
}

async fn fifty_live_requests_are_renewed_in_one_call(store: Store) {
    let text = config("timeout = \"900ms\"\nreservation_ttl = \"1s\"");
    let (layered, watch) = layered_watched(store, &text).await;
    let (app, go) = gated(&layered);
    let running: Vec<_> = (0..50)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { send(&app, get("/chat", "alice")).await })
        })
        .collect();
    eventually_eq((0, 50), || counted(&layered), "all hold their units").await;
    // A third of a second between two calls, and one may fall on each end.
    let renewals = renewals_between(&layered, &watch, TTL).await;
    assert!((1..=4).contains(&renewals), "{renewals}");
    assert_eq!(counted(&layered).await, (0, 50));
    go.add_permits(50);
    for request in running {
        assert_eq!(request.await.unwrap().status(), 200);
    }
    assert_eq!(counted(&layered).await, (50, 0));
    // Nothing lives any more, so nothing is renewed.
    let after = watch.calls("renew");
    assert!(renewals_between(&layered, &watch, TTL).await <= 1);
    assert!(watch.calls("renew") <= after + 1);
}

/// Redis stands still for longer than two renewals need, and goes on before the units expire.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_outlives_an_outage_that_its_units_outlive() {
    let server = RedisServer::start();
    let metrics = Metrics::capture();
    let text = config("timeout = \"200ms\"\nreservation_ttl = \"6s\"");
    let store = Arc::new(redis_store(&server.url()).await);
    let watched = WatchedStore::new(store);
    let watch = watched.watch();
    let layered = layered_over(Arc::new(watched), &text, Arc::new(SystemClock)).await;
    let (app, go) = gated(&layered);
    let running = tokio::spawn(async move { send(&app, get("/chat", "alice")).await });
    eventually_eq((0, 1), || counted(&layered), "it holds its unit").await;
    let expiry = layered.store.now().saturating_add(Duration::from_secs(6));

    server.stop();
    let before = watch.calls("renew");
    let failed = || async { watch.calls("renew") > before };
    eventually(failed, "a renewal meets the outage").await;
    server.cont();

    // Without another renewal the units would have expired by now.
    until(&layered, expiry.saturating_add(Duration::from_secs(1))).await;
    eventually_eq((0, 1), || counted(&layered), "Redis answers again").await;
    go.add_permits(1);
    assert_eq!(running.await.unwrap().status(), 200);
    eventually_eq((1, 0), || counted(&layered), "it is charged").await;
    let late = "quota_requests_total{outcome=late,plan=free,quota=messages,route=/chat}";
    assert_eq!(metrics.counter(late), 0);
}

/// Beyond `max_reservation` the units are free, and a success is charged late.
async fn what_takes_too_long_is_charged_late_and_once(store: Store) {
    let metrics = Metrics::capture();
    let text = config("timeout = \"900ms\"\nreservation_ttl = \"1s\"\nmax_reservation = \"1s\"");
    let (layered, _) = layered_watched(store, &text).await;
    let (app, go) = gated(&layered);
    let running = tokio::spawn(async move { send(&app, get("/chat", "alice")).await });
    eventually_eq((0, 1), || counted(&layered), "it holds its unit").await;
    eventually_eq((0, 0), || counted(&layered), "it has expired").await;
    go.add_permits(1);
    assert_eq!(running.await.unwrap().status(), 200);
    assert_eq!(counted(&layered).await, (1, 0));
    let late = "quota_requests_total{outcome=late,plan=free,quota=messages,route=/chat}";
    assert_eq!(metrics.counter(late), 1);
}

on_both_stores!(
    a_long_request_keeps_its_units,
    fifty_live_requests_are_renewed_in_one_call,
    what_takes_too_long_is_charged_late_and_once,
);

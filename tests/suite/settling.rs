//! What is reserved is settled: before the head, in the background, after time-outs, at shutdown.

mod renewal;

use std::future::pending;

use axum::{Router, routing};
use bytes::Bytes;
use http::Response;
use quota_tests::{
    doubles::{Commits, Watch},
    eventually, eventually_eq,
    layers::{Layered, Store, layered, layered_watched},
    logs::Metrics,
    requests::{get, header, send},
};
use tokio::task::JoinHandle;

fn config(store: &str) -> String {
    format!(
        r#"
        [store]
        max_in_flight = 1000
        {store}
        [quotas.messages]
        [plans.free]
        default = true
        limits.messages = "1000/lifetime"
        [[routes]]
        match = ["GET /chat", "GET /stuck"]
        charge = {{ messages = 1 }}
        "#
    )
}

fn app(layered: &Layered) -> Router {
    Router::new()
        .route("/chat", routing::get(async || "hello"))
        .route("/stuck", routing::get(pending::<()>))
        .layer(layered.quota.clone())
}

async fn counted(layered: &Layered) -> (u64, u64) {
    let value = layered.user("alice", "messages", "lifetime").await;
    (value.used.get(), value.reserved.get())
}

fn start(layered: &Layered, path: &'static str) -> JoinHandle<Response<Bytes>> {
    let app = app(layered);
    tokio::spawn(async move { send(&app, get(path, "alice")).await })
}

async fn reaches_commit(watch: &Watch) {
    let committing = || async { watch.calls("commit") >= 1 };
    eventually(committing, "the commit is sent").await;
}

async fn the_commit_is_acknowledged_before_the_head_leaves(store: Store) {
    let (layered, watch) = layered_watched(store, &config("timeout = \"5s\"")).await;
    watch.set_commits(Commits::Wait);
    let running = start(&layered, "/chat");
    reaches_commit(&watch).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!running.is_finished());
    assert_eq!(counted(&layered).await, (0, 1));
    watch.set_commits(Commits::Pass);
    let response = running.await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            header(&response, "x-quota-used")
        ),
        (200, "1")
    );
    assert_eq!(counted(&layered).await, (1, 0));
    assert_eq!((watch.calls("reserve"), watch.calls("commit")), (1, 1));
}

async fn in_the_background_the_head_does_not_wait(store: Store) {
    let text = config("timeout = \"5s\"\nsettle = \"background\"");
    let (layered, watch) = layered_watched(store, &text).await;
    watch.set_commits(Commits::Wait);
    let response = start(&layered, "/chat").await.unwrap();
    // It tells what will be.
    assert_eq!(
        (
            response.status().as_u16(),
            header(&response, "x-quota-used")
        ),
        (200, "1")
    );
    assert_eq!(counted(&layered).await, (0, 1));
    watch.set_commits(Commits::Pass);
    layered.quota.shutdown().await;
    assert_eq!(counted(&layered).await, (1, 0));
}

async fn a_rule_may_settle_in_the_background_by_itself(store: Store) {
    let text = config("timeout = \"5s\"").replace("charge =", "settle = \"background\"\ncharge =");
    let (layered, watch) = layered_watched(store, &text).await;
    watch.set_commits(Commits::Wait);
    assert_eq!(start(&layered, "/chat").await.unwrap().status(), 200);
    watch.set_commits(Commits::Pass);
    eventually_eq((1, 0), || counted(&layered), "it is settled").await;
}

async fn unacknowledged(store: Store, commits: Commits) {
    let metrics = Metrics::capture();
    let text = config("timeout = \"50ms\"\nreservation_ttl = \"30s\"");
    let (layered, watch) = layered_watched(store, &text).await;
    watch.set_commits(commits);
    let response = start(&layered, "/chat").await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            header(&response, "x-quota-used")
        ),
        (200, "1")
    );
    let waiting = || {
        metrics
            .gauges()
            .get("quota_commits_unacknowledged")
            .copied()
    };
    eventually(
        || async { waiting().is_some_and(|count| count > 0.5) },
        "it is counted",
    )
    .await;
    let retried = || async { watch.calls("commit") >= 3 };
    eventually(retried, "the commit is sent again").await;
    watch.set_commits(Commits::Pass);
    eventually(
        || async { waiting().is_some_and(|count| count < 0.5) },
        "acknowledged",
    )
    .await;
    assert_eq!(counted(&layered).await, (1, 0));
    layered.quota.shutdown().await;
    assert_eq!(counted(&layered).await, (1, 0));
    let committed = "quota_requests_total{outcome=committed,plan=free,quota=messages,route=/chat}";
    assert_eq!(metrics.counter(committed), 1);
}

async fn a_commit_that_does_not_run_is_sent_until_it_does(store: Store) {
    unacknowledged(store, Commits::Wait).await;
}

async fn a_commit_whose_answer_is_lost_is_charged_once(store: Store) {
    unacknowledged(store, Commits::Lost).await;
}

async fn shutdown_gives_back_what_dropped_requests_held(store: Store) {
    let layered = layered(store, &config("timeout = \"5s\"")).await;
    let running: Vec<_> = (0..100).map(|_| start(&layered, "/stuck")).collect();
    eventually_eq((0, 100), || counted(&layered), "all hold their units").await;
    for request in &running {
        request.abort();
    }
    for request in running {
        assert!(request.await.unwrap_err().is_cancelled());
    }
    layered.quota.shutdown().await;
    assert_eq!(counted(&layered).await, (0, 0));
}

async fn shutdown_drains_what_is_settled_in_the_background(store: Store) {
    let text = config("timeout = \"5s\"\nsettle = \"background\"");
    let layered = layered(store, &text).await;
    let running: Vec<_> = (0..100).map(|_| start(&layered, "/chat")).collect();
    for request in running {
        assert_eq!(request.await.unwrap().status(), 200);
    }
    layered.quota.shutdown().await;
    assert_eq!(counted(&layered).await, (100, 0));
    // And a second time there is nothing to wait for.
    layered.quota.shutdown().await;
}

/// As many commits wait as the settler takes: the next waits at the head, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_waits_at_the_head_and_loses_nothing() {
    /// What is queued and under way at most.
    const SETTLING: u64 = 65_536 + 256;
    let text = config("timeout = \"60s\"\nsettle = \"background\"\nreservation_ttl = \"10m\"")
        .replace("max_in_flight = 1000", "max_in_flight = 100000")
        .replace("1000/lifetime", "1M/lifetime");
    let (layered, watch) = layered_watched(Store::Memory, &text).await;
    watch.set_commits(Commits::Wait);
    let app = app(&layered);
    for _ in 0..SETTLING {
        assert_eq!(send(&app, get("/chat", "alice")).await.status(), 200);
    }
    let next = start(&layered, "/chat");
    eventually_eq((0, SETTLING + 1), || counted(&layered), "it holds its unit").await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!next.is_finished());

    watch.set_commits(Commits::Pass);
    assert_eq!(next.await.unwrap().status(), 200);
    layered.quota.shutdown().await;
    assert_eq!(counted(&layered).await, (SETTLING + 1, 0));
}

/// The client is gone while its commit is under way: the head was a success.
async fn a_client_that_leaves_during_the_commit_is_charged(store: Store) {
    let (layered, watch) = layered_watched(store, &config("timeout = \"5s\"")).await;
    watch.set_commits(Commits::Wait);
    let running = start(&layered, "/chat");
    reaches_commit(&watch).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    watch.set_commits(Commits::Pass);
    layered.quota.shutdown().await;
    assert_eq!(counted(&layered).await, (1, 0));
}

on_both_stores!(
    the_commit_is_acknowledged_before_the_head_leaves,
    in_the_background_the_head_does_not_wait,
    a_rule_may_settle_in_the_background_by_itself,
    a_commit_that_does_not_run_is_sent_until_it_does,
    a_commit_whose_answer_is_lost_is_charged_once,
    shutdown_gives_back_what_dropped_requests_held,
    shutdown_drains_what_is_settled_in_the_background,
    a_client_that_leaves_during_the_commit_is_charged,
);

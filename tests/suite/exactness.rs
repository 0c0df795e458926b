//! Of more requests than units, exactly as many are admitted as there are units.

use std::collections::BTreeMap;

use axum::{Router, body::Body, routing};
use http::Request;
use quota_tests::{
    eventually_eq,
    layers::{Layered, Store, layered},
    requests::status,
    tokens::bearer,
};

const TASKS: usize = 256;
const REQUESTS: usize = 40;

fn config(settle: &str) -> String {
    format!(
        r#"
        [store]
        timeout = "5s"
        settle = "{settle}"
        max_in_flight = 1000
        [quotas.messages]
        [plans.free]
        default = true
        limits.messages = "100/lifetime"
        [[routes]]
        match = "GET /"
        charge = {{ messages = 1 }}
        "#
    )
}

async fn used_and_reserved(layered: &Layered) -> (u64, u64) {
    let value = layered.user("alice", "messages", "lifetime").await;
    (value.used.get(), value.reserved.get())
}

/// How often each status was answered.
async fn stampede(layered: &Layered) -> BTreeMap<u16, usize> {
    let app = Router::new()
        .route("/", routing::get(|| async {}))
        .layer(layered.quota.clone());
    let authorization = bearer("alice");
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let app = app.clone();
            let authorization = authorization.clone();
            tokio::spawn(async move {
                let mut seen = Vec::with_capacity(REQUESTS);
                for _ in 0..REQUESTS {
                    let request = Request::get("/").header("authorization", &authorization);
                    seen.push(status(&app, request.body(Body::empty()).unwrap()).await);
                }
                seen
            })
        })
        .collect();
    let mut seen = BTreeMap::new();
    for task in tasks {
        for status in task.await.unwrap() {
            *seen.entry(status).or_default() += 1;
        }
    }
    seen
}

async fn exactly_the_limit_is_admitted(store: Store, settle: &str) {
    let layered = layered(store, &config(settle)).await;
    let seen = stampede(&layered).await;
    assert_eq!(seen, BTreeMap::from([(200, 100), (429, 10_140)]));
    if settle == "background" {
        let counted = || used_and_reserved(&layered);
        eventually_eq((100, 0), counted, "everything is settled").await;
    }
    assert_eq!(used_and_reserved(&layered).await, (100, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_the_limit_is_admitted_in_memory() {
    exactly_the_limit_is_admitted(Store::Memory, "before-response").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_the_limit_is_admitted_on_redis() {
    exactly_the_limit_is_admitted(Store::Redis, "before-response").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_the_limit_is_admitted_in_memory_in_the_background() {
    exactly_the_limit_is_admitted(Store::Memory, "background").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_the_limit_is_admitted_on_redis_in_the_background() {
    exactly_the_limit_is_admitted(Store::Redis, "background").await;
}

//! Busy, too large, too many at once: denials that are not simply a full counter.

use std::sync::Arc;

use axum::{Router, routing};
use quota_tests::{
    eventually,
    layers::{Store, layered},
    requests::{get, header, json, send, status},
    tokens::Claims,
};
use tokio::{sync::Semaphore, task::JoinHandle};

use super::{Quotas, quota_header};

fn config(limit: &str, cost: u64, more: &str) -> String {
    format!(
        r#"
        [store]
        timeout = "5s"
        {more}
        [quotas.messages]
        [plans.free]
        default = true
        limits.messages = {limit}
        [[routes]]
        match = "GET /chat"
        charge = {{ messages = {cost} }}
        "#
    )
}

/// An application whose handler waits until it is let go.
struct Slow {
    app: Router,
    layered: quota_tests::layers::Layered,
    go: Arc<Semaphore>,
}

impl Slow {
    async fn new(store: Store, config: &str) -> Self {
        let layered = layered(store, config).await;
        let go = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&go);
        let handler = async move || gate.acquire().await.unwrap().forget();
        let app = Router::new()
            .route("/chat", routing::get(handler))
            .layer(layered.quota.clone());
        Self { app, layered, go }
    }

    /// Starts a request, and waits until it holds its units.
    async fn start(&self, held: u64) -> JoinHandle<u16> {
        let app = self.app.clone();
        let running = tokio::spawn(async move { status(&app, get("/chat", "alice")).await });
        self.until_held(held).await;
        running
    }

    /// Waits until so many units are held.
    async fn until_held(&self, held: u64) {
        let holds = || async {
            let value = self.layered.user("alice", "messages", "lifetime").await;
            value.reserved.get() == held
        };
        eventually(holds, "so many units are held").await;
    }
}

async fn units_that_running_requests_hold_are_busy_and_then_free(store: Store) {
    let slow = Slow::new(store, &config("\"3/lifetime\"", 2, "")).await;
    let running = slow.start(2).await;
    let busy = send(&slow.app, get("/chat", "alice")).await;
    assert_eq!(busy.status(), 429);
    assert_eq!(quota_header(&busy, "state"), "busy");
    assert_eq!(header(&busy, "retry-after"), "1");
    assert!(header(&busy, "ratelimit").ends_with(";t=1"));
    assert_eq!(json(&busy)["reason"], "busy");
    assert_eq!(json(&busy)["quota_status"]["reserved"], 2);
    // The one that runs fails, so its units are free again.
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    slow.until_held(0).await;
    let running = slow.start(2).await;
    slow.go.add_permits(1);
    assert_eq!(running.await.unwrap(), 200);
    let full = send(&slow.app, get("/chat", "alice")).await;
    assert_eq!(json(&full)["reason"], "limit");
    assert_eq!(header(&full, "retry-after"), "");
}

async fn too_many_requests_at_once_are_refused_until_one_ends(store: Store) {
    let text = config("\"100/month\"", 1, "max_in_flight = 2");
    let text = text.replace(
        "[quotas.messages]",
        "[responses]\ndenied_status = 402\n[quotas.messages]",
    );
    let text = text.replace("\"100/month\"", "[\"100/month\", \"100/lifetime\"]");
    let slow = Slow::new(store, &text).await;
    let first = slow.start(1).await;
    let second = slow.start(2).await;
    let refused = send(&slow.app, get("/chat", "alice")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(json(&refused)["reason"], "concurrency");
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(
        header(&refused, "ratelimit"),
        "\"messages-month\";r=98;t=1, \"messages-lifetime\";r=98;t=1"
    );
    assert_eq!(json(&refused)["violated-policies"], serde_json::json!([]));
    // Another user is not concerned.
    slow.go.add_permits(3);
    assert_eq!(status(&slow.app, get("/chat", "bob")).await, 200);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (200, 200));
    slow.go.add_permits(1);
    assert_eq!(status(&slow.app, get("/chat", "alice")).await, 200);
}

async fn a_request_for_more_than_everything_is_too_large(store: Store) {
    let quotas = Quotas::new(
        store,
        &config("\"5/day\"", 6, "").replace("[store]\n        timeout = \"5s\"", ""),
    )
    .await;
    let refused = quotas.get("/chat", &Claims::user("alice")).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(json(&refused)["reason"], "too_large");
    assert_eq!(json(&refused)["requested"], 6);
    assert_eq!(header(&refused, "retry-after"), "");
    assert_eq!(quota_header(&refused, "used"), "0");
}

async fn grace_lets_a_request_of_more_than_the_limit_pass(store: Store) {
    let text = config("{ limit = \"5/day\", grace = \"20%\" }", 6, "")
        .replace("[store]\n        timeout = \"5s\"", "");
    let quotas = Quotas::new(store, &text).await;
    let response = quotas.get("/chat", &Claims::user("alice")).await;
    assert_eq!(
        (response.status().as_u16(), quota_header(&response, "state")),
        (200, "exceeded")
    );
}

on_both_stores!(
    units_that_running_requests_hold_are_busy_and_then_free,
    too_many_requests_at_once_are_refused_until_one_ends,
    a_request_for_more_than_everything_is_too_large,
    grace_lets_a_request_of_more_than_the_limit_pass,
);

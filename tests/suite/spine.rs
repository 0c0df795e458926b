//! A request is reserved, served, and committed on 2xx.

use axum::{Router, body::Body, routing::get};
use http::Request;
use quota_tests::{
    clients::{read_whole, render},
    layers::{Store, layered},
    tokens::bearer,
};
use tower::ServiceExt;

const CONFIG: &str = r#"
[store]
timeout = "5s"
[quotas.messages]
unit = { en = ["message", "messages"] }
[plans.free]
default = true
warn_at = ["80%"]
limits.messages = ["5/lifetime", "150/month"]
[[routes]]
match = "GET /hello"
charge = { messages = 1 }
"#;

async fn headers_count_down_to_a_refusal(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .layer(layered.quota.clone());
    let mut seen = Vec::new();
    for _ in 0..6 {
        let request = Request::get("/hello")
            .header("authorization", bearer("alice"))
            .body(Body::empty())
            .unwrap();
        let response = read_whole(app.clone().oneshot(request).await.unwrap()).await;
        let shown = |name: &str| matches!(name, "x-quota-used" | "x-quota-state");
        seen.push(
            render(&response, shown)
                .lines()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
        );
    }
    assert_eq!(
        seen,
        [
            "200 x-quota-state: ok x-quota-used: 1",
            "200 x-quota-state: ok x-quota-used: 2",
            "200 x-quota-state: ok x-quota-used: 3",
            "200 x-quota-state: warning x-quota-used: 4",
            "200 x-quota-state: exceeded x-quota-used: 5",
            "429 x-quota-state: exceeded x-quota-used: 5",
        ]
    );
    let value = layered.user("alice", "messages", "lifetime").await;
    assert_eq!((value.used.get(), value.reserved.get()), (5, 0));
}

#[tokio::test]
async fn headers_count_down_to_a_refusal_in_memory() {
    headers_count_down_to_a_refusal(Store::Memory).await;
}

#[tokio::test]
async fn headers_count_down_to_a_refusal_on_redis() {
    headers_count_down_to_a_refusal(Store::Redis).await;
}

//! Every kind of refusal as a whole, as clients see it.

use std::sync::Arc;

use axum::{Router, routing};
use http::Request;
use insta::assert_snapshot;
use quota_store::{ManualClock, MemoryCounterStore, MemoryOptions, UnixMillis};
use quota_tests::{
    clients::render,
    layers::layered_over,
    requests::{get, get_as, send},
    tokens::Claims,
};

const CONFIG: &str = r#"
unmatched = "deny"
[responses]
upgrade_url = "https://example.com/pricing"
[quotas.messages]
unit = { en = ["message", "messages"] }
title = { en = "Messages" }
[quotas.images]
unit = { en = ["image", "images"] }
[plans.free]
default = true
warn_at = ["80%"]
limits.messages = ["2/day", "150/month"]
tenant_limits.messages = "3/month"
[plans.graceful]
grace = "50%"
limits.messages = "2/lifetime"
[[routes]]
match = "GET /chat"
charge = { messages = 1 }
[[routes]]
match = "GET /many"
charge = { messages = 5 }
[[routes]]
match = "GET /draw"
charge = { images = 1 }
"#;

/// 2026-01-01 12:00 UTC.
const NOON: UnixMillis = UnixMillis::from_seconds(1_767_268_800);

struct Noon(Router);

impl Noon {
    /// An application at noon whose store takes this many subjects.
    async fn new(config: &str, subjects: usize) -> Self {
        let clock = Arc::new(ManualClock::new(NOON));
        let options = MemoryOptions::default().with_max_subjects(subjects);
        let store = Arc::new(MemoryCounterStore::new(&options, clock.clone()));
        let layered = layered_over(store, config, clock).await;
        let app = Router::new()
            .route("/{anything}", routing::get(async || "hello"))
            .fallback(async || "fallback")
            .layer(layered.quota.clone());
        Self(app)
    }

    async fn told(&self, request: Request<axum::body::Body>) -> String {
        let response = send(&self.0, request).await;
        let text = render(&response, |_| true);
        let Some((before, after)) = text.split_once("urn:uuid:") else {
            return text;
        };
        // A UUID of version 7, of which nothing is known ahead.
        let (uuid, after) = after.split_at(36);
        assert_eq!(uuid.as_bytes()[14], b'7');
        format!("{before}urn:uuid:...{after}").replace(",\"", ",\n\"")
    }
}

async fn noon() -> Noon {
    Noon::new(CONFIG, 1000).await
}

#[tokio::test]
async fn an_admitted_request_has_all_headers() {
    assert_snapshot!(noon().await.told(get("/chat", "alice")).await);
}

#[tokio::test]
async fn a_full_day_is_explained() {
    let noon = noon().await;
    noon.told(get("/chat", "alice")).await;
    noon.told(get("/chat", "alice")).await;
    assert_snapshot!(noon.told(get("/chat", "alice")).await);
}

#[tokio::test]
async fn a_full_tenant_is_explained_with_another_status() {
    let text = CONFIG.replace("[responses]", "[responses]\ndenied_status = 402");
    let noon = Noon::new(&text, 1000).await;
    let member = |user: &str| get_as("/chat", &Claims::user(user).with_org("acme"));
    for user in ["alice", "bob", "carol"] {
        noon.told(member(user)).await;
    }
    assert_snapshot!(noon.told(member("dave")).await);
}

#[tokio::test]
async fn a_full_lifetime_with_grace_is_explained() {
    let noon = noon().await;
    let request = || get_as("/chat", &Claims::user("alice").with_plan("graceful"));
    for _ in 0..3 {
        noon.told(request()).await;
    }
    assert_snapshot!(noon.told(request()).await);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_explained() {
    assert_snapshot!(noon().await.told(get("/many", "alice")).await);
}

#[tokio::test]
async fn a_quota_that_is_not_included_is_explained() {
    assert_snapshot!(noon().await.told(get("/draw", "alice")).await);
}

#[tokio::test]
async fn a_missing_token_is_explained() {
    let request = Request::get("/chat").body(axum::body::Body::empty());
    assert_snapshot!(noon().await.told(request.unwrap()).await);
}

#[tokio::test]
async fn an_expired_token_is_explained() {
    let expired = Claims::user("alice").with("exp", serde_json::json!(1_600_000_000));
    assert_snapshot!(noon().await.told(get_as("/chat", &expired)).await);
}

#[tokio::test]
async fn a_missing_tenant_is_explained() {
    let text = format!("{CONFIG}[identity]\nrequire_tenant = true\n");
    let noon = Noon::new(&text, 1000).await;
    assert_snapshot!(noon.told(get("/chat", "alice")).await);
}

#[tokio::test]
async fn a_route_without_a_rule_is_explained() {
    assert_snapshot!(noon().await.told(get("/other", "alice")).await);
}

#[tokio::test]
async fn a_misspelled_path_is_explained() {
    assert_snapshot!(noon().await.told(get("//chat", "alice")).await);
}

#[tokio::test]
async fn a_store_that_can_not_serve_is_explained() {
    let noon = Noon::new(CONFIG, 1).await;
    noon.told(get("/chat", "alice")).await;
    assert_snapshot!(noon.told(get("/chat", "bob")).await);
}

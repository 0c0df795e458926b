//! Who asks the APIs, and when that can't be known.

use axum::{Router, body::Body, routing::get};
use http::{Request, header};
use quota_tests::{
    layers::{Store, layered},
    requests::send,
    tokens::{Claims, TEST_SECRET, token},
};

/// Signed by nobody, in the form of a token whose key has to be fetched.
const UNKNOWN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEiLCJ0eXAiOiJKV1QifQ.\
     eyJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OSwiYXVkIjoiYXBpIn0.\
     MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw";

const QUOTAS: &str = r#"
[quotas.messages]
[plans.free]
default = true
limits.messages = "5/day"
[[routes]]
match = "GET /chat"
charge = { messages = 1 }
"#;

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_no_fault_of_the_token() {
    // Nothing listens on this port.
    let toml = format!(
        "[identity.jwt]\nalgorithms = [\"RS256\"]\njwks = \"http://127.0.0.1:1/keys\"\n\
         audience = \"any\"\n[admin]\nroles = [\"quota_admin\"]\n{QUOTAS}"
    );
    let layered = layered(Store::Memory, &toml).await;
    let app = Router::new()
        .route("/chat", get(async || "hello"))
        .layer(layered.quota.clone())
        .merge(quota_api::router(&layered.quota));
    for path in ["/chat", "/quota/status", "/admin/quotas/plans"] {
        let request = Request::get(path)
            .header(header::AUTHORIZATION, format!("Bearer {UNKNOWN}"))
            .body(Body::empty())
            .unwrap();
        let response = send(&app, request).await;
        assert_eq!(response.status(), 503, "{path}");
        assert_eq!(response.headers()[header::RETRY_AFTER], "1", "{path}");
    }
}

#[tokio::test]
async fn the_host_of_a_cookie_is_found_as_the_layer_finds_it() {
    let toml = format!("[identity]\ntoken_from = [\"cookie:session\"]\n{QUOTAS}");
    let layered = layered(Store::Memory, &toml).await;
    let app = Router::new()
        .route("/chat", get(async || "hello"))
        .layer(layered.quota.clone())
        .merge(quota_api::router(&layered.quota));
    let session = token(TEST_SECRET, &Claims::user("alice"));
    for path in ["/chat", "/quota/status"] {
        // With HTTP/2 the host is in the URI alone.
        for (origin, status) in [("https://app.example", 200), ("https://evil.example", 401)] {
            let request = Request::get(format!("https://app.example{path}"))
                .header(header::COOKIE, format!("session={session}"))
                .header(header::ORIGIN, origin)
                .body(Body::empty())
                .unwrap();
            let response = send(&app, request).await;
            assert_eq!(response.status(), status, "{path} {origin}");
        }
    }
}

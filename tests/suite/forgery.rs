//! Only the layer speaks in the layer's headers.

use axum::{Router, response::IntoResponse, routing};
use http::{HeaderMap, HeaderValue, StatusCode};
use quota_tests::{
    layers::{Store, layered},
    requests::{get, header, send},
};

const CONFIG: &str = r#"
unmatched = "pass"
[store]
timeout = "5s"
[responses]
headers = ["x-quota", "ratelimit"]
[quotas.messages]
[plans.free]
default = true
limits.messages = "2/lifetime"
[[routes]]
match = ["GET /ok", "GET /failing"]
charge = { messages = 1 }
"#;

const FORGED: [&str; 7] = [
    "x-quota-used",
    "X-Quota-State",
    "x-quota-remaining",
    "x-quota-anything",
    "x-quota-degrade",
    "RateLimit",
    "ratelimit-policy",
];

fn forge(headers: &mut HeaderMap) {
    for name in FORGED {
        for value in ["999", "998"] {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_static(value));
        }
    }
}

/// A handler that says what it was sent, and forges in its turn.
fn forges(status: StatusCode, seen: &HeaderMap) -> impl IntoResponse + use<> {
    let told: Vec<&str> = seen.keys().map(http::HeaderName::as_str).collect();
    let mut headers = HeaderMap::new();
    forge(&mut headers);
    headers.insert("retry-after", HeaderValue::from_static("77"));
    headers.insert("x-quotation", HeaderValue::from_static("kept"));
    (status, headers, told.join(" "))
}

fn app(quota: &quota_layer::QuotaLayer) -> Router {
    let ok = async |seen: HeaderMap| forges(StatusCode::OK, &seen);
    let failing = async |seen: HeaderMap| forges(StatusCode::SERVICE_UNAVAILABLE, &seen);
    Router::new()
        .route("/ok", routing::get(ok))
        .route("/failing", routing::get(failing))
        .route("/free", routing::get(ok))
        .layer(quota.clone())
}

async fn forged_headers_never_reach_the_other_side(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = app(&layered.quota);
    for (path, used) in [("/ok", "1"), ("/failing", "1"), ("/ok", "2"), ("/ok", "2")] {
        let mut request = get(path, "alice");
        forge(request.headers_mut());
        request
            .headers_mut()
            .insert("x-quotation", HeaderValue::from_static("kept"));
        let response = send(&app, request).await;
        let text = format!("{:?}", response.headers());
        assert!(!text.contains("999") && !text.contains("998"), "{text}");
        assert_eq!(header(&response, "x-quota-used"), used);
        assert_eq!(response.headers().get_all("x-quota-used").iter().count(), 1);
        if response.status() != 429 {
            let seen = String::from_utf8(response.body().to_vec()).unwrap();
            assert!(
                !seen.contains("x-quota-") && !seen.contains("ratelimit"),
                "{seen}"
            );
            assert!(seen.contains("x-quotation"));
            assert_eq!(header(&response, "x-quotation"), "kept");
        }
    }
}

async fn a_handlers_own_retry_after_stays(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = app(&layered.quota);
    for path in ["/ok", "/failing"] {
        let response = send(&app, get(path, "alice")).await;
        assert_eq!(header(&response, "retry-after"), "77");
    }
}

/// What the layer does not charge it does not touch.
async fn other_routes_keep_their_headers(store: Store) {
    let layered = layered(store, CONFIG).await;
    let mut request = get("/free", "alice");
    forge(request.headers_mut());
    let response = send(&app(&layered.quota), request).await;
    assert_eq!(header(&response, "x-quota-used"), "999");
    assert!(response.body().starts_with(b"authorization x-quota-used"));
}

async fn a_family_that_is_off_is_left_alone(store: Store) {
    let text = CONFIG.replace("[\"x-quota\", \"ratelimit\"]", "[\"x-quota\"]");
    let layered = layered(store, &text).await;
    let response = send(&app(&layered.quota), get("/ok", "alice")).await;
    assert_eq!(header(&response, "ratelimit"), "999");
    assert_eq!(header(&response, "x-quota-used"), "1");
}

on_both_stores!(
    forged_headers_never_reach_the_other_side,
    a_handlers_own_retry_after_stays,
    other_routes_keep_their_headers,
    a_family_that_is_off_is_left_alone,
);

#[tokio::test]
async fn the_exported_list_names_every_header_of_the_layer() {
    let layered = layered(Store::Memory, CONFIG).await;
    let plain = [
        "content-length",
        "content-type",
        "retry-after",
        "x-quotation",
    ];
    let response = send(&app(&layered.quota), get("/ok", "alice")).await;
    for name in response.headers().keys() {
        let is_exposed = quota_layer::EXPOSED_HEADERS.contains(name);
        assert!(is_exposed || plain.contains(&name.as_str()), "{name}");
    }
}

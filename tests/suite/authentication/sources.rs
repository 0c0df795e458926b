//! Where an identity comes from: the application, a cookie, a WebSocket's protocol, an address.

use std::net::IpAddr;

use axum::{Router, body::Body, routing};
use http::Request;
use quota_layer::{ClientAddress, QuotaIdentity};
use quota_store::Scope;
use quota_tests::{
    layers::{Store, identity, layered, layered_watched, requester},
    requests::{get, header, send, status},
    tokens::{Claims, TEST_SECRET, token},
};

use super::config;

async fn an_application_may_know_its_users_itself(store: Store) {
    let (layered, watch) =
        layered_watched(store, &config("[identity]\nfrom = \"application\"", "")).await;
    let app = Router::new()
        .route("/chat", routing::get(async || "hello"))
        .layer(layered.quota.clone());
    let known = |identity: QuotaIdentity| {
        let mut request = get("/chat", "mallory");
        request.extensions_mut().insert(identity);
        request
    };
    // A token does not count here, however good it is.
    assert_eq!(status(&app, get("/chat", "alice")).await, 401);
    for invalid in [
        QuotaIdentity::new(""),
        QuotaIdentity::new("a\0b"),
        QuotaIdentity::new("a".repeat(300)),
    ] {
        assert_eq!(status(&app, known(invalid)).await, 401);
    }
    assert_eq!(watch.all_calls(), 0);
    let alice = QuotaIdentity::new("alice")
        .with_tenant("acme")
        .with_plan("visitor");
    let response = send(&app, known(alice)).await;
    assert_eq!(
        (
            response.status().as_u16(),
            header(&response, "x-quota-plan")
        ),
        (200, "visitor")
    );
    let alice = requester("alice", Some("acme"));
    let value = layered.counter(&alice, Scope::User, "messages", "lifetime");
    assert_eq!(value.await.used.get(), 1);
}

async fn a_middleware_outside_puts_the_identity_in(store: Store) {
    let layered = layered(store, &config("[identity]\nfrom = \"application\"", "")).await;
    let authenticate = axum::middleware::from_fn(
        async |mut request: Request<Body>, next: axum::middleware::Next| {
            request.extensions_mut().insert(QuotaIdentity::new("alice"));
            next.run(request).await
        },
    );
    let app = Router::new()
        .route("/chat", routing::get(async || "hello"))
        .layer(layered.quota.clone())
        .layer(authenticate);
    let request = Request::get("/chat").body(Body::empty()).unwrap();
    assert_eq!(status(&app, request).await, 200);
    assert_eq!(
        layered
            .user("alice", "messages", "lifetime")
            .await
            .used
            .get(),
        1
    );
}

async fn cookies_and_websocket_protocols_carry_tokens(store: Store) {
    let more =
        "[identity]\ntoken_from = [\"authorization\", \"cookie:session\", \"websocket-protocol\"]";
    let layered = layered(store, &config(more, &identity())).await;
    let app = Router::new()
        .route("/chat", routing::get(async || "hello"))
        .layer(layered.quota.clone());
    let ask = async |headers: &[(&str, String)]| {
        let mut request = Request::get("/chat").header("host", "app.example");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        status(&app, request.body(Body::empty()).unwrap()).await
    };
    let token_of = |user: &str| token(TEST_SECRET, &Claims::user(user));
    let cookie = || {
        (
            "cookie",
            format!("theme=dark; session={}", token_of("carol")),
        )
    };
    let protocol = (
        "sec-websocket-protocol",
        format!("quota, bearer, {}", token_of("wendy")),
    );
    assert_eq!(ask(&[cookie()]).await, 200);
    assert_eq!(
        ask(&[cookie(), ("origin", "https://app.example".to_owned())]).await,
        200
    );
    assert_eq!(
        ask(&[cookie(), ("origin", "https://evil.example".to_owned())]).await,
        401
    );
    assert_eq!(ask(&[cookie(), ("origin", "null".to_owned())]).await, 401);
    assert_eq!(ask(&[("cookie", "session=forged".to_owned())]).await, 401);
    assert_eq!(ask(&[protocol]).await, 200);
    // The first source that has a token decides, and a bad one does not fall through.
    let bad = ("authorization", "Bearer forged".to_owned());
    assert_eq!(ask(&[bad, cookie()]).await, 401);
    for (user, used) in [("carol", 2), ("wendy", 1)] {
        let value = layered.user(user, "messages", "lifetime").await;
        assert_eq!(
            (value.used.get(), value.reserved.get()),
            (used, 0),
            "{user}"
        );
    }
}

/// An application that lets visitors in, counted by address.
async fn open(store: Store, more: &str) -> Router {
    let more = format!("[identity]\nanonymous = {{ plan = \"visitor\" }}\n{more}");
    let layered = layered(store, &config(&more, &identity())).await;
    Router::new()
        .route("/chat", routing::get(async || "hello"))
        .layer(layered.quota)
}

fn from(address: &str, forwarded: &str) -> Request<Body> {
    let address: IpAddr = address.parse().unwrap();
    let mut request = Request::get("/chat").extension(ClientAddress(address));
    if !forwarded.is_empty() {
        request = request.header("x-forwarded-for", forwarded);
    }
    request.body(Body::empty()).unwrap()
}

async fn visitors_are_counted_by_address(store: Store) {
    let app = open(store, "").await;
    let ask = async |address| {
        let response = send(&app, from(address, "10.9.9.9")).await;
        (
            response.status().as_u16(),
            header(&response, "x-quota-plan").to_owned(),
        )
    };
    let admitted = (200, "visitor".to_owned());
    assert_eq!(ask("203.0.113.1").await, admitted);
    assert_eq!(ask("203.0.113.1").await, admitted);
    assert_eq!(ask("203.0.113.1").await.0, 429);
    assert_eq!(ask("203.0.113.2").await, admitted);
    // An IPv6 network is one visitor.
    assert_eq!(ask("2001:db8:1:2::3").await, admitted);
    assert_eq!(ask("2001:db8:1:2:ffff::4").await, admitted);
    assert_eq!(ask("2001:db8:1:2::5").await.0, 429);
    assert_eq!(ask("2001:db8:1:3::3").await, admitted);
    // A bad token is not no token.
    let mut bad = from("203.0.113.7", "");
    bad.headers_mut()
        .insert("authorization", "Bearer x".parse().unwrap());
    assert_eq!(status(&app, bad).await, 401);
    // Without an address there is nothing to count by.
    let unknown = Request::get("/chat").body(Body::empty()).unwrap();
    assert_eq!(status(&app, unknown).await, 401);
}

// The visitors' plan was looked for as if a token had claimed it, and so missed where claims do not
// decide.
async fn visitors_have_their_plan_wherever_plans_come_from(store: Store) {
    let app = open(store, "plan_from = [\"assignment\", \"default\"]").await;
    let response = send(&app, from("203.0.113.1", "")).await;
    assert_eq!(header(&response, "x-quota-plan"), "visitor");
}

async fn trusted_proxies_tell_the_visitors_address(store: Store) {
    let app = open(store, "trusted_proxies = [\"10.0.0.0/8\"]").await;
    let ask = async |address, forwarded| status(&app, from(address, forwarded)).await;
    for expected in [200, 200, 429] {
        assert_eq!(
            ask("10.0.0.1", "6.6.6.6, 203.0.113.1, 10.0.0.2").await,
            expected
        );
    }
    // What the client wrote further left changes nothing.
    assert_eq!(ask("10.0.0.1", "7.7.7.7, 203.0.113.1").await, 429);
    assert_eq!(ask("203.0.113.9", "203.0.113.1").await, 200);
}

async fn a_visitor_never_shares_a_counter_with_a_user(store: Store) {
    let app = open(store, "").await;
    for _ in 0..2 {
        assert_eq!(status(&app, from("203.0.113.1", "")).await, 200);
    }
    for user in ["203.0.113.1", "anonymous:203.0.113.1", "@203.0.113.1"] {
        let response = send(&app, get("/chat", user)).await;
        let told = (
            response.status().as_u16(),
            header(&response, "x-quota-used"),
        );
        assert_eq!(told, (200, "1"), "{user}");
    }
    for user in ["\u{0}203.0.113.1", "\u{0}anonymous\u{0}203.0.113.1"] {
        assert_eq!(status(&app, get("/chat", user)).await, 401);
    }
    assert_eq!(status(&app, from("203.0.113.1", "")).await, 429);
}

on_both_stores!(
    an_application_may_know_its_users_itself,
    a_middleware_outside_puts_the_identity_in,
    cookies_and_websocket_protocols_carry_tokens,
    visitors_are_counted_by_address,
    visitors_have_their_plan_wherever_plans_come_from,
    trusted_proxies_tell_the_visitors_address,
    a_visitor_never_shares_a_counter_with_a_user,
);

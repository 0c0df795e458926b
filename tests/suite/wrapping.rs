//! The layer fits around whatever tower, axum and hyper have, and changes nothing but the headers.

mod bodies;
mod services;

use std::convert::Infallible;

use axum::{Router, body::Body, response::IntoResponse, routing};
use http::{Method, Request, StatusCode};
use quota_tests::{
    clients::{RawClient, RawRequest},
    layers::{Layered, Store, layered, layered_watched},
    requests::{get, header, request, send, status},
    tokens::bearer,
};
use tower::{Service as _, ServiceExt, service_fn};

const CONFIG: &str = r#"
unmatched = "pass"
[store]
timeout = "5s"
[quotas.messages]
[plans.free]
default = true
limits.messages = "1000/lifetime"
[[routes]]
match = ["GET /hello", "POST /chat", "GET /api/v1/chat"]
charge = { messages = 1 }
[[routes]]
match = "GET /health"
exempt = true
"#;

async fn counted(layered: &Layered) -> (u64, u64) {
    let value = layered.user("alice", "messages", "lifetime").await;
    (value.used.get(), value.reserved.get())
}

fn hello() -> Router {
    Router::new().route("/hello", routing::get(async || "hello"))
}

async fn an_answer_keeps_its_length_and_is_charged_once(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = hello().layer(layered.quota.clone());
    let response = send(&app, get("/hello", "alice")).await;
    assert_eq!(response.body(), "hello");
    assert_eq!(header(&response, "content-length"), "5");
    assert_eq!(header(&response, "x-quota-used"), "1");
    assert_eq!(counted(&layered).await, (1, 0));
}

async fn over_a_socket_an_answer_keeps_its_length_and_is_charged_once(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = hello().layer(layered.quota.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    let mut client = RawClient::connect(address).await;
    let request =
        |method| RawRequest::new(method, "/hello").header("authorization", &bearer("alice"));
    let response = client.request(&request("GET")).await;
    assert_eq!(response.body(), "hello");
    assert_eq!(header(&response, "content-length"), "5");
    assert!(!response.headers().contains_key("transfer-encoding"));
    assert_eq!(counted(&layered).await, (1, 0));
    client.send(&request("HEAD")).await;
    let response = client.head_response().await;
    assert_eq!(header(&response, "content-length"), "5");
    assert_eq!(header(&response, "x-quota-used"), "2");
    assert_eq!(counted(&layered).await, (2, 0));
}

async fn head_is_charged_as_get(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = hello().layer(layered.quota.clone());
    let response = send(&app, request(Method::HEAD, "/hello", "alice")).await;
    assert_eq!(response.status(), 200);
    assert!(response.body().is_empty());
    assert_eq!(counted(&layered).await, (1, 0));
}

async fn a_refused_head_has_the_headers_of_a_refused_get(store: Store) {
    let layered = layered(store, &CONFIG.replace("1000/lifetime", "0/lifetime")).await;
    let app = hello().layer(layered.quota.clone());
    let response = send(&app, request(Method::HEAD, "/hello", "alice")).await;
    assert_eq!(response.status(), 429);
    assert_eq!(header(&response, "x-quota-state"), "not_included");
}

async fn what_no_rule_names_touches_no_store(store: Store) {
    let (layered, watch) = layered_watched(store, CONFIG).await;
    let app = Router::new()
        .route("/hello", routing::any(async || "hello"))
        .route("/chat", routing::post(async || "chat"))
        .route("/other", routing::get(async || "other"))
        .route("/health", routing::get(async || "fine"))
        .layer(layered.quota.clone());
    let ask = async |method, path| {
        let response = send(&app, request(method, path, "alice")).await;
        assert_eq!(header(&response, "x-quota-state"), "", "{path}");
        response.status().as_u16()
    };
    assert_eq!(ask(Method::GET, "/nowhere").await, 404);
    assert_eq!(ask(Method::GET, "/chat").await, 405);
    assert_eq!(ask(Method::DELETE, "/chat").await, 405);
    assert_eq!(ask(Method::OPTIONS, "/hello").await, 200);
    assert_eq!(ask(Method::PUT, "/hello").await, 200);
    assert_eq!(ask(Method::GET, "/other").await, 200);
    assert_eq!(ask(Method::GET, "/health").await, 200);
    assert_eq!(watch.all_calls(), 0);
    assert_eq!(ask_charged(&app).await, 200);
    assert_eq!((watch.calls("reserve"), watch.calls("commit")), (1, 1));
}

async fn ask_charged(app: &Router) -> u16 {
    status(app, get("/hello", "alice")).await
}

async fn a_layer_on_a_router_and_on_a_nested_one_charges_once(store: Store) {
    let layered = layered(store, CONFIG).await;
    let quota = &layered.quota;
    let inner = Router::new()
        .route("/chat", routing::get(async || "chat").layer(quota.clone()))
        .layer(quota.clone());
    let app = Router::new().nest("/api/v1", inner).layer(quota.clone());
    let response = send(&app, get("/api/v1/chat", "alice")).await;
    assert_eq!(header(&response, "x-quota-used"), "1");
    assert_eq!(response.headers().get_all("x-quota-used").iter().count(), 1);
    assert_eq!(counted(&layered).await, (1, 0));
}

/// Two layers that share nothing are two quotas.
async fn two_layers_each_charge(store: Store) {
    let (outer, inner) = (layered(store, CONFIG).await, layered(store, CONFIG).await);
    let app = hello()
        .layer(inner.quota.clone())
        .layer(outer.quota.clone());
    assert_eq!(status(&app, get("/hello", "alice")).await, 200);
    assert_eq!(counted(&outer).await, (1, 0));
    assert_eq!(counted(&inner).await, (1, 0));
}

async fn a_route_layer_charges_and_leaves_404_alone(store: Store) {
    let (layered, watch) = layered_watched(store, CONFIG).await;
    let app = hello().route_layer(layered.quota.clone());
    assert_eq!(status(&app, get("/hello", "alice")).await, 200);
    assert_eq!(counted(&layered).await, (1, 0));
    assert_eq!(status(&app, get("/nowhere", "alice")).await, 404);
    assert_eq!(watch.calls("reserve"), 1);
}

async fn a_layer_on_a_handler_charges(store: Store) {
    let layered = layered(store, CONFIG).await;
    let handler = routing::get(async || "hello").layer(layered.quota.clone());
    let app = Router::new().route("/hello", handler);
    assert_eq!(status(&app, get("/hello", "alice")).await, 200);
    assert_eq!(counted(&layered).await, (1, 0));
}

async fn two_routes_share_one_counter(store: Store) {
    let layered = layered(store, CONFIG).await;
    let app = hello()
        .route("/chat", routing::post(async || "chat"))
        .layer(layered.quota.clone());
    let first = send(&app, get("/hello", "alice")).await;
    let second = send(&app, request(Method::POST, "/chat", "alice")).await;
    let used = [&first, &second].map(|response| header(response, "x-quota-used"));
    assert_eq!(used, ["1", "2"]);
}

/// Without a state axum applies the layer anew for every request.
async fn a_router_that_is_called_directly_keeps_counting(store: Store) {
    let layered = layered(store, &CONFIG.replace("1000/lifetime", "3/lifetime")).await;
    let mut app: Router = hello().layer(layered.quota.clone());
    let mut seen = Vec::new();
    for _ in 0..5 {
        let response = app.call(get("/hello", "alice")).await;
        let Ok(response) = response;
        seen.push(response.status().as_u16());
    }
    assert_eq!(seen, [200, 200, 200, 429, 429]);
}

async fn a_cors_layer_outside_answers_preflights_without_the_layer(store: Store) {
    let (layered, watch) = layered_watched(store, CONFIG).await;
    let cors = axum::middleware::from_fn(
        async |request: Request<Body>, next: axum::middleware::Next| {
            if request.method() == Method::OPTIONS {
                return StatusCode::NO_CONTENT.into_response();
            }
            next.run(request).await
        },
    );
    let app = hello().layer(layered.quota.clone()).layer(cors);
    assert_eq!(
        status(&app, request(Method::OPTIONS, "/hello", "alice")).await,
        204
    );
    assert_eq!(watch.all_calls(), 0);
}

async fn a_plain_tower_service_is_charged(store: Store) {
    let layered = layered(store, CONFIG).await;
    let inner = service_fn(async |_: Request<Body>| {
        Ok::<_, Infallible>(http::Response::new(Body::from("hello")))
    });
    let service = tower::ServiceBuilder::new()
        .layer(layered.quota.clone())
        .service(inner);
    let Ok(response) = service.oneshot(get("/hello", "alice")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(counted(&layered).await, (1, 0));
}

on_both_stores!(
    an_answer_keeps_its_length_and_is_charged_once,
    over_a_socket_an_answer_keeps_its_length_and_is_charged_once,
    head_is_charged_as_get,
    a_refused_head_has_the_headers_of_a_refused_get,
    what_no_rule_names_touches_no_store,
    a_layer_on_a_router_and_on_a_nested_one_charges_once,
    two_layers_each_charge,
    a_route_layer_charges_and_leaves_404_alone,
    a_layer_on_a_handler_charges,
    two_routes_share_one_counter,
    a_router_that_is_called_directly_keeps_counting,
    a_cors_layer_outside_answers_preflights_without_the_layer,
    a_plain_tower_service_is_charged,
);

//! The contract of tower: readiness, clones, errors, and what can cross threads.

use std::{
    convert::Infallible,
    future::poll_fn,
    task::{Context, Waker},
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quota_layer::{QuotaHandle, QuotaLayer, QuotaService, ResponseBody, ResponseFuture};
use quota_tests::{
    clients::{RawRequest, raw_request},
    doubles::{Answers, NeedsReady, NeverReady},
    layers::{Store, layered, layered_watched},
    requests::{get, header},
    tokens::bearer,
};
use tower::{Service, ServiceExt};
use tower_layer::Layer;

use super::{CONFIG, counted};

async fn a_service_that_is_not_ready_takes_no_reservation(store: Store) {
    let (layered, watch) = layered_watched(store, CONFIG).await;
    let mut service = layered.quota.layer(NeverReady);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        let ready = Service::<Request<Body>>::poll_ready(&mut service, &mut cx);
        assert!(ready.is_pending());
    }
    assert_eq!(watch.all_calls(), 0);
}

async fn only_the_instance_that_was_polled_ready_is_called(store: Store) {
    let layered = layered(store, CONFIG).await;
    let inner = NeedsReady::new(Answers::new(StatusCode::OK, "hello"));
    let mut service = layered.quota.layer(inner);
    for path in ["/hello", "/other", "/hello"] {
        let ready = ServiceExt::<Request<Body>>::ready(&mut service);
        let ready = ready.await.unwrap();
        let response = ready.call(get(path, "alice")).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    // A clone starts unpolled, and becomes ready by itself.
    poll_fn(|cx| Service::<Request<Body>>::poll_ready(&mut service, cx))
        .await
        .unwrap();
    let clone = service.clone();
    clone.oneshot(get("/hello", "alice")).await.unwrap();
    service.call(get("/hello", "alice")).await.unwrap();
    assert_eq!(counted(&layered).await, (4, 0));
}

/// A limit on concurrency inside counts permits: none may be lost with a clone.
async fn a_concurrency_limit_inside_gets_its_permits_back(store: Store) {
    let layered = layered(store, CONFIG).await;
    let service = tower::ServiceBuilder::new()
        .layer(layered.quota.clone())
        .concurrency_limit(1)
        .service(Answers::new(StatusCode::OK, "hello"));
    for _ in 0..3 {
        let service = service.clone();
        service.oneshot(get("/hello", "alice")).await.unwrap();
    }
    assert_eq!(counted(&layered).await, (3, 0));
}

async fn an_error_of_readiness_is_passed_on(store: Store) {
    let (layered, watch) = layered_watched(store, CONFIG).await;
    let (mock, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let mut service = layered.quota.layer(mock);
    handle.send_error("overloaded");
    let error = service.ready().await.unwrap_err();
    assert_eq!(error.to_string(), "overloaded");
    assert_eq!(watch.all_calls(), 0);
}

async fn a_plain_hyper_service_is_charged_over_a_socket(store: Store) {
    let layered = layered(store, CONFIG).await;
    let service = layered.quota.layer(tower::service_fn(
        async |_: Request<hyper::body::Incoming>| {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
        },
    ));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let served = builder.serve_connection(TokioIo::new(stream), service);
            served.await.unwrap();
        }
    });
    let request = RawRequest::new("GET", "/hello").header("authorization", &bearer("alice"));
    let response = raw_request(address, &request.header("connection", "close")).await;
    assert_eq!(response.body(), "hello");
    assert_eq!(header(&response, "content-length"), "5");
    assert_eq!(header(&response, "x-quota-used"), "1");
    assert_eq!(counted(&layered).await, (1, 0));
}

/// A refusal needs no body type of the inner service.
async fn refusals_work_over_any_body(store: Store) {
    let layered = layered(store, CONFIG).await;
    let service = layered.quota.layer(Answers::new(StatusCode::OK, "hello"));
    let request = Request::get("/hello").body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 401);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{"));
}

on_both_stores!(
    a_service_that_is_not_ready_takes_no_reservation,
    only_the_instance_that_was_polled_ready_is_called,
    a_concurrency_limit_inside_gets_its_permits_back,
    an_error_of_readiness_is_passed_on,
    a_plain_hyper_service_is_charged_over_a_socket,
    refusals_work_over_any_body,
);

type Inner = Answers;

#[test]
fn the_types_cross_threads_and_clone() {
    fn is_send_sync_clone<T: Send + Sync + Clone + 'static>() {}
    fn is_send<T: Send + 'static>() {}
    is_send_sync_clone::<QuotaLayer>();
    is_send_sync_clone::<QuotaService<Inner>>();
    is_send_sync_clone::<QuotaHandle>();
    is_send::<ResponseFuture<Inner, Body>>();
    is_send::<ResponseBody<Full<Bytes>>>();
}

//! Bodies pass as they are: frames, trailers, length and end; and the shape that tonic has.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use quota_tests::{
    doubles::ScriptedBody,
    layers::{Layered, Store, layered},
    requests::{get, header},
};
use tower::{BoxError, ServiceExt, service_fn};
use tower_layer::Layer;

use super::{CONFIG, counted};

async fn through<B>(layered: &Layered, body: B) -> Response<quota_layer::ResponseBody<B>>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let inner = service_fn(move |_: Request<Body>| {
        let body = body.lock().unwrap().take().expect("one call");
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let Ok(response) = layered
        .quota
        .layer(inner)
        .oneshot(get("/hello", "alice"))
        .await;
    response
}

async fn data_trailers_and_errors_are_forwarded(store: Store) {
    let layered = layered(store, CONFIG).await;
    let body = ScriptedBody::new()
        .data("one")
        .data("two")
        .trailer("grpc-status", "0")
        .error("broken");
    let mut body = through(&layered, body).await.into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "one"
    );
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "two"
    );
    let trailers: HeaderMap = body
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_trailers()
        .unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(
        body.frame().await.unwrap().unwrap_err().to_string(),
        "broken"
    );
    assert!(body.frame().await.is_none());
    assert_eq!(counted(&layered).await, (1, 0));
}

async fn length_and_end_are_forwarded(store: Store) {
    let layered = layered(store, CONFIG).await;
    let known = ScriptedBody::new().data("hello").with_known_length();
    let mut known = through(&layered, known).await.into_body();
    assert_eq!(known.size_hint().exact(), Some(5));
    assert!(!known.is_end_stream());
    known.frame().await.unwrap().unwrap();
    assert!(known.is_end_stream());
    let unknown = ScriptedBody::new().data("hello");
    let unknown = through(&layered, unknown).await.into_body();
    assert_eq!(unknown.size_hint().exact(), None);
    assert!(!unknown.is_end_stream());
    let empty = through(&layered, http_body_util::Empty::new()).await;
    assert!(empty.body().is_end_stream());
}

/// What tonic serves: a boxed body that need not be `Sync`, and errors in a box.
async fn tonic_shaped(
    request: Request<Body>,
) -> Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError> {
    if request.headers().contains_key("x-fail") {
        return Err("the transport failed".into());
    }
    let body = ScriptedBody::new()
        .data("\0\0\0\0\0")
        .trailer("grpc-status", "0");
    let body = UnsyncBoxBody::new(body.map_err(BoxError::from));
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(body)?)
}

fn grpc(path: &str) -> Request<Body> {
    let mut request = get(path, "alice");
    let grpc = "application/grpc".parse().unwrap();
    request.headers_mut().insert("content-type", grpc);
    request
}

async fn a_service_of_the_shape_of_tonic_is_charged_and_refused_in_grpc(store: Store) {
    let layered = layered(store, &CONFIG.replace("1000/lifetime", "1/lifetime")).await;
    let service = layered.quota.layer(service_fn(tonic_shaped));
    let mut failing = grpc("/hello");
    failing.headers_mut().insert("x-fail", "1".parse().unwrap());
    let error = service.clone().oneshot(failing).await.unwrap_err();
    assert_eq!(error.to_string(), "the transport failed");
    assert_eq!(counted(&layered).await, (0, 0));
    let response = service.clone().oneshot(grpc("/hello")).await.unwrap();
    let trailers = response.into_body().collect().await.unwrap();
    assert_eq!(trailers.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(counted(&layered).await, (1, 0));
    let refused = service.clone().oneshot(grpc("/hello")).await.unwrap();
    assert_eq!(refused.status(), 200);
    assert_eq!(header(&refused, "grpc-status"), "8");
    assert_eq!(header(&refused, "content-type"), "application/grpc");
    assert_eq!(header(&refused, "x-quota-state"), "exceeded");
    assert!(refused.body().is_end_stream());
    let mut anonymous = grpc("/hello");
    anonymous.headers_mut().remove("authorization");
    let refused = service.oneshot(anonymous).await.unwrap();
    assert_eq!(refused.status(), 200);
    assert_eq!(header(&refused, "grpc-status"), "16");
}

on_both_stores!(
    data_trailers_and_errors_are_forwarded,
    length_and_end_are_forwarded,
    a_service_of_the_shape_of_tonic_is_charged_and_refused_in_grpc,
);

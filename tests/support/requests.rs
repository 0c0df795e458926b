//! Requests of test users to an application in this process, and what the answers say.

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Method, Request, Response};
use tower::ServiceExt;

use crate::{
    clients::read_whole,
    tokens::{Claims, TEST_SECRET, bearer, token},
};

/// A request of `user`, with an empty body.
#[must_use]
pub fn request(method: Method, target: &str, user: &str) -> Request<Body> {
    with_authorization(method, target, &bearer(user))
}

/// A GET of `user`.
#[must_use]
pub fn get(target: &str, user: &str) -> Request<Body> {
    request(Method::GET, target, user)
}

/// A GET with a token of these claims.
#[must_use]
pub fn get_as(target: &str, claims: &Claims) -> Request<Body> {
    let authorization = format!("Bearer {}", token(TEST_SECRET, claims));
    with_authorization(Method::GET, target, &authorization)
}

fn with_authorization(method: Method, target: &str, authorization: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(target)
        .header("authorization", authorization)
        .body(Body::empty())
        .expect("a request")
}

/// Sends a request to an application and reads the whole answer.
pub async fn send(app: &Router, request: Request<Body>) -> Response<Bytes> {
    let Ok(response) = app.clone().oneshot(request).await;
    read_whole(response).await
}

/// The status of the answer to a request.
pub async fn status(app: &Router, request: Request<Body>) -> u16 {
    send(app, request).await.status().as_u16()
}

/// A header of a response as text; empty if there is none.
#[must_use]
pub fn header<'a, B>(response: &'a Response<B>, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().expect("a header is text"))
}

/// The body of a response as JSON.
#[must_use]
pub fn json(response: &Response<Bytes>) -> serde_json::Value {
    serde_json::from_slice(response.body()).expect("the body is JSON")
}

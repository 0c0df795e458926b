//! Services and bodies that stand in for an application, and a store that is watched.

mod body;
mod store;

use std::{
    convert::Infallible,
    future::{Pending, Ready, pending, ready},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use tower_service::Service;

pub use body::{BodyCounts, ScriptedBody};
pub use store::{Commits, Watch, WatchedStore};

/// Panics when it is called without having been polled ready; clones start unpolled.
#[derive(Debug)]
pub struct NeedsReady<S> {
    inner: S,
    is_ready: bool,
}

impl<S> NeedsReady<S> {
    /// Watches over `inner`.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            is_ready: false,
        }
    }
}

impl<S: Clone> Clone for NeedsReady<S> {
    // Readiness is a promise to one instance, as with a permit.
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl<S: Service<Request>, Request> Service<Request> for NeedsReady<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let polled = self.inner.poll_ready(cx);
        self.is_ready = matches!(polled, Poll::Ready(Ok(())));
        polled
    }

    fn call(&mut self, request: Request) -> S::Future {
        assert!(
            std::mem::take(&mut self.is_ready),
            "called an instance that was not polled ready"
        );
        self.inner.call(request)
    }
}

/// Is never ready, and panics when it is called all the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct NeverReady;

impl<Request> Service<Request> for NeverReady {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pending<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, _: Request) -> Self::Future {
        panic!("called a service that is never ready");
    }
}

/// Accepts every request and never answers; clones share the count of calls.
#[derive(Clone, Debug, Default)]
pub struct NeverAnswers(Calls);

impl NeverAnswers {
    /// How many requests it was given.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.get()
    }
}

impl<Request> Service<Request> for NeverAnswers {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pending<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        self.0.add();
        pending()
    }
}

/// Answers every request with the same response; clones share the count of calls.
#[derive(Clone, Debug)]
pub struct Answers {
    response: Response<Full<Bytes>>,
    calls: Calls,
}

impl Answers {
    /// Answers with this status and body.
    #[must_use]
    pub fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        Self {
            response,
            calls: Calls::default(),
        }
    }

    /// With one header more.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.response.headers_mut().append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        self
    }

    /// How many requests it has answered.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }
}

impl<Request> Service<Request> for Answers {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        self.calls.add();
        ready(Ok(self.response.clone()))
    }
}

/// Fails every request with an I/O error of this text.
#[derive(Clone, Copy, Debug)]
pub struct Fails(pub &'static str);

impl<Request> Service<Request> for Fails {
    type Response = Response<Full<Bytes>>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        ready(Err(io::Error::other(self.0)))
    }
}

#[derive(Clone, Debug, Default)]
struct Calls(Arc<AtomicU64>);

impl Calls {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

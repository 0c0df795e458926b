//! The service that the layer wraps others in.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use quota_store::ReservationId;
use tower_service::Service;

use crate::{
    admit::{Incoming, Refused},
    body::ResponseBody,
    future::{ResponseFuture, Turned},
    headers,
    record::{Draft, Origin},
    refusal::{Form, Refusal},
    request,
    runtime::{RequestRuntime, Ruling, Runtime},
    shared::Shared,
};

/// Charges the requests of an inner service. See [`QuotaLayer`](crate::QuotaLayer).
#[derive(Clone, Debug)]
pub struct QuotaService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> QuotaService<S> {
    pub(crate) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for QuotaService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Nothing is reserved here: readiness may be asked for and never used.
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match Course::of(&self.shared, &request) {
            Course::Pass => ResponseFuture::passing(self.inner.call(request)),
            Course::Charge { runtime, rule } => {
                // The instance that reported ready must take the call; a fresh clone has not
                // been polled.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                self.charge(ready, request, runtime, rule)
            }
            Course::Refuse(turned) => {
                let form = Form::of(request.headers());
                ResponseFuture::refused(turned, form)
            }
        }
    }
}

/// What becomes of a request.
enum Course {
    Pass,
    Charge {
        runtime: RequestRuntime,
        rule: usize,
    },
    Refuse(Turned),
}

impl Course {
    fn of<ReqBody>(shared: &Arc<Shared>, request: &Request<ReqBody>) -> Self {
        let runtime = shared.runtime.load();
        let target = request::target(request);
        let is_charged = || request::is_charged_by(shared, request);
        let generate = || ReservationId::generate(shared.store.now());
        let refusal = match runtime.ruling(target, is_charged) {
            Ruling::Pass => return Self::Pass,
            Ruling::Warned => {
                drop(unmatched(shared, &runtime, request, generate()));
                return Self::Pass;
            }
            Ruling::Charge(rule) => {
                let runtime = Arc::clone(&runtime);
                return Self::Charge { runtime, rule };
            }
            Ruling::Unmatched => Refusal::Unmatched,
            Ruling::Misspelled => Refusal::Misspelled,
        };
        let attempt = generate();
        if let Some(draft) = unmatched(shared, &runtime, request, attempt) {
            let status = refusal.status(&runtime.config.responses);
            draft.refused(&refusal, status.as_u16());
        }
        let refused = Refused {
            attempt,
            refusal,
            newer: None,
        };
        let runtime = Arc::clone(&runtime);
        Self::Refuse(Turned { refused, runtime })
    }
}

/// What the ledger is to say of a request that no rule names; it is noted when it is dropped.
#[inline(never)]
fn unmatched<ReqBody>(
    shared: &Shared,
    runtime: &Runtime,
    request: &Request<ReqBody>,
    attempt: ReservationId,
) -> Option<Draft> {
    let records = shared.records.as_ref()?;
    let config = &runtime.config;
    let origin = Origin::of(records, &config.identity, request);
    let path = request::original_path(request.uri().path(), request.extensions());
    let draft = Draft::new(records, attempt, shared.store.now())
        .under(config.revision(), Some(&origin))
        .unmatched(request.method(), path);
    Some(draft)
}

impl<S> QuotaService<S> {
    // Apart, so that requests that pass do not make room for what it needs.
    #[inline(never)]
    fn charge<ReqBody>(
        &self,
        ready: S,
        mut request: Request<ReqBody>,
        runtime: RequestRuntime,
        rule: usize,
    ) -> ResponseFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        headers::strip(request.headers_mut(), &runtime.config.responses);
        let identified = runtime.identifier.identify(
            &runtime.config.identity,
            request.headers(),
            request.extensions(),
            request::host(request.uri(), request.headers()),
        );
        let origin = self.shared.records.as_ref().map(|records| {
            let origin = Origin::of(records, &runtime.config.identity, &request);
            Box::new(origin)
        });
        let incoming = Incoming {
            origin,
            shared: Arc::clone(&self.shared),
            runtime,
            rule,
            identified,
        };
        ResponseFuture::starting(ready, request, incoming)
    }
}

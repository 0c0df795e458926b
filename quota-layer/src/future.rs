//! The future of a response.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    admit::{Incoming, Refused},
    body::ResponseBody,
    refusal::{Context as RefusalContext, Form},
    request,
    runtime::RequestRuntime,
    settle::{Charge, Ending, Tell},
};

/// What the rules, the identity and the store say of a request.
pub(crate) type AdmissionFuture = BoxFuture<'static, Result<Box<Charge>, Turned>>;

/// A request that is turned away, under the configuration that it began with.
#[derive(Debug)]
pub(crate) struct Turned {
    pub(crate) refused: Refused,
    pub(crate) runtime: RequestRuntime,
}

pin_project! {
    /// The future of a [`QuotaService`](crate::QuotaService).
    ///
    /// Dropped before the handler has answered, it gives back what was reserved.
    pub struct ResponseFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, ReqBody, S::Future, S::Response, S::Error>,
    }
}

/// What waits until the request is admitted.
struct Waiting<S, ReqBody> {
    /// The instance that was polled ready.
    service: S,
    request: Request<ReqBody>,
}

pin_project! {
    #[project = StateProj]
    #[project_replace = StateOwned]
    enum State<S, ReqBody, F, Res, E> {
        // Passing: the inner future says itself that it is done
        Passing { #[pin] inner: F },
        // Starting => Admitting | Calling | Refused
        Starting {
            waiting: Waiting<S, ReqBody>,
            incoming: Incoming,
        },
        // Admitting => Calling | Refused
        Admitting {
            waiting: Box<Waiting<S, ReqBody>>,
            admission: AdmissionFuture,
        },
        // Calling => Settling | done
        Calling { #[pin] inner: F, charge: Box<Charge> },
        // Settling => done
        Settling {
            answer: Result<Res, E>,
            settling: BoxFuture<'static, (Box<Charge>, Tell)>,
        },
        // Refused => done
        Refused { turned: Turned, form: Form },
        Done,
    }
}

impl<S, ReqBody> ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(crate) const fn passing(inner: S::Future) -> Self {
        Self {
            state: State::Passing { inner },
        }
    }

    pub(crate) const fn starting(
        service: S,
        request: Request<ReqBody>,
        incoming: Incoming,
    ) -> Self {
        Self {
            state: State::Starting {
                waiting: Waiting { service, request },
                incoming,
            },
        }
    }

    pub(crate) const fn refused(turned: Turned, form: Form) -> Self {
        Self {
            state: State::Refused { turned, form },
        }
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Passing { inner } => {
                    let answer = ready!(inner.poll(cx));
                    return Poll::Ready(answer.map(|response| response.map(ResponseBody::inner)));
                }
                StateProj::Starting { .. } => state.as_mut().started(),
                StateProj::Admitting { admission, .. } => {
                    let admission = ready!(admission.as_mut().poll(cx));
                    state.as_mut().admitted(admission);
                }
                StateProj::Calling { inner, charge } => {
                    let answer = ready!(inner.poll(cx));
                    let ending = Ending::of(&answer);
                    if let Some(tell) = charge.settle_now(ending) {
                        let answer = told(answer, charge, &tell);
                        state.set(State::Done);
                        return Poll::Ready(answer);
                    }
                    state.as_mut().answered(answer, ending);
                }
                StateProj::Settling { settling, .. } => {
                    let (charge, tell) = ready!(settling.as_mut().poll(cx));
                    return Poll::Ready(state.settled(&charge, &tell));
                }
                StateProj::Refused { .. } => return Poll::Ready(Ok(state.turned_away())),
                StateProj::Done => unreachable!("a response future is polled after it was ready"),
            }
        }
    }
}

impl<S, ReqBody, ResBody> State<S, ReqBody, S::Future, Response<ResBody>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    fn started(mut self: Pin<&mut Self>) {
        let StateOwned::Starting { waiting, incoming } = self.as_mut().project_replace(Self::Done)
        else {
            return;
        };
        let next = match incoming.admit_now() {
            Some(answer) => Self::concluded(waiting, incoming.concluded(answer)),
            None => Self::Admitting {
                waiting: Box::new(waiting),
                admission: Box::pin(incoming.admission()),
            },
        };
        self.set(next);
    }

    fn admitted(mut self: Pin<&mut Self>, admission: Result<Box<Charge>, Turned>) {
        let StateOwned::Admitting { waiting, .. } = self.as_mut().project_replace(Self::Done)
        else {
            return;
        };
        self.set(Self::concluded(*waiting, admission));
    }

    fn concluded(waiting: Waiting<S, ReqBody>, admission: Result<Box<Charge>, Turned>) -> Self {
        let Waiting {
            mut service,
            mut request,
        } = waiting;
        match admission {
            Ok(charge) => {
                request::mark(&charge.shared, &mut request, charge.handle().clone());
                let inner = service.call(request);
                Self::Calling { inner, charge }
            }
            Err(turned) => {
                let form = Form::of(request.headers());
                Self::Refused { turned, form }
            }
        }
    }

    fn answered(
        mut self: Pin<&mut Self>,
        answer: Result<Response<ResBody>, S::Error>,
        ending: Ending,
    ) {
        let StateOwned::Calling { charge, .. } = self.as_mut().project_replace(Self::Done) else {
            return;
        };
        self.set(Self::Settling {
            answer,
            settling: Box::pin(charge.settled(ending)),
        });
    }

    fn settled(
        self: Pin<&mut Self>,
        charge: &Charge,
        tell: &Tell,
    ) -> Result<Response<ResponseBody<ResBody>>, S::Error> {
        let StateOwned::Settling { answer, .. } = self.project_replace(Self::Done) else {
            unreachable!("only a settling future is settled");
        };
        told(answer, charge, tell)
    }

    fn turned_away(self: Pin<&mut Self>) -> Response<ResponseBody<ResBody>> {
        let StateOwned::Refused { turned, form } = self.project_replace(Self::Done) else {
            unreachable!("only a refused future is turned away");
        };
        let context = RefusalContext {
            responses: &turned.runtime.config.responses,
            attempt: turned.refused.attempt,
            form,
        };
        let response = turned.refused.refusal.into_response(context);
        response.map(ResponseBody::refusal)
    }
}

/// The answer with the headers that tell of the quota.
fn told<ResBody, E>(
    answer: Result<Response<ResBody>, E>,
    charge: &Charge,
    tell: &Tell,
) -> Result<Response<ResponseBody<ResBody>>, E> {
    answer.map(|mut response| {
        charge.tell(tell, response.headers_mut());
        response.map(ResponseBody::inner)
    })
}

impl<S, ReqBody> fmt::Debug for ResponseFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

//! Requests that change something.

use std::future::Future;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{
        FromRef, FromRequest, FromRequestParts, OriginalUri, Request,
        rejection::{BytesRejection, FailedToBufferBody},
    },
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use quota_layer::administration::Doing;
use quota_store::{
    ReservationId,
    directory::{Begun, KeptAnswer, KeyClaim},
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    access::Caller,
    api::Served,
    input::{self, PlainText},
    problem::Problem,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest `Idempotency-Key`, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// After how many seconds one that is under way may be asked for again.
const RUNNING_SECONDS: u64 = 1;

/// A request that changes something, its head checked and its body read.
#[derive(Debug)]
pub(crate) struct Intent {
    served: Served,
    actor: String,
    key_space: String,
    key: Option<String>,
    fingerprint: [u8; 32],
    body: Bytes,
}

/// The same with its body in JSON.
#[derive(Debug)]
pub(crate) struct Write<T> {
    pub(crate) intent: Intent,
    pub(crate) body: T,
}

/// What was done, as the answer tells it.
#[derive(Debug)]
pub(crate) struct Done {
    status: StatusCode,
    body: String,
}

impl Done {
    /// It was done, and this came of it.
    pub(crate) fn ok(body: &impl Serialize) -> Self {
        Self::new(StatusCode::OK, body)
    }

    /// With another status than 200.
    pub(crate) fn new(status: StatusCode, body: &impl Serialize) -> Self {
        Self {
            status,
            body: serde_json::to_string(body).unwrap_or_default(),
        }
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        (self.status, [(header::CONTENT_TYPE, json)], self.body).into_response()
    }
}

impl<S> FromRequest<S> for Intent
where
    S: Send + Sync,
    Served: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let Extension(caller) = Extension::<Caller>::from_request_parts(&mut parts, state)
            .await
            .map_err(|_| Problem::not_found())?;
        let key = key(&parts.headers)?;
        let uri = match OriginalUri::from_request_parts(&mut parts, state).await {
            Ok(OriginalUri(uri)) => uri,
            Err(never) => match never {},
        };
        let line = format!("{} {uri}\n", parts.method);
        let body = Bytes::from_request(Request::from_parts(parts, body), state)
            .await
            .map_err(|rejection| unreadable(&rejection))?;
        let digest = Sha256::new().chain_update(line).chain_update(&body);
        Ok(Self {
            served: Served::from_ref(state),
            key_space: caller.key_space(),
            actor: caller.actor,
            key,
            fingerprint: digest.finalize().into(),
            body,
        })
    }
}

impl<S, T> FromRequest<S> for Write<T>
where
    S: Send + Sync,
    Served: FromRef<S>,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_json(request.headers())?;
        let intent = Intent::from_request(request, state).await?;
        let body = input::parse_body(&intent.body)?;
        Ok(Self { intent, body })
    }
}

/// A body in JSON of a request that needs no key and is not audited.
pub(crate) async fn read_json<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    check_json(request.headers())?;
    let body = Bytes::from_request(request, &())
        .await
        .map_err(|rejection| unreadable(&rejection))?;
    input::parse_body(&body)
}

impl Intent {
    /// Does it, once where it came with a key, and answers what came of it.
    ///
    /// It goes on when the client leaves.
    pub(crate) async fn perform<F, Fut>(self, reason: PlainText, act: F) -> Written
    where
        F: FnOnce(Served, Doing) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Done, Problem>> + Send + 'static,
    {
        let task = tokio::spawn(self.run(reason, act));
        // Where it panicked the log tells of it.
        task.await.unwrap_or_else(|_| Err(Problem::unavailable()))
    }

    async fn run<F, Fut>(self, reason: PlainText, act: F) -> Written
    where
        F: FnOnce(Served, Doing) -> Fut,
        Fut: Future<Output = Result<Done, Problem>>,
    {
        let Some(key) = self.key.clone() else {
            let id = ReservationId::generate(self.served.now());
            let doing = self.doing(id.as_uuid(), reason);
            return act(self.served, doing).await.map(Done::into_response);
        };
        let claim = KeyClaim {
            actor: self.key_space.clone(),
            key,
            fingerprint: self.fingerprint,
            at: self.served.now(),
        };
        let directory = self.served.administration().directory();
        let directory = directory.map_err(Problem::in_query)?.clone();
        match directory.begin(&claim).await? {
            Begun::New => {}
            Begun::Running => return Err(running()),
            Begun::OtherRequest => return Err(other_request()),
            Begun::Finished(answer) => return Ok(replayed(answer)),
        }
        let doing = self.doing(id(&claim), reason);
        match act(self.served, doing).await {
            Ok(done) => {
                let answer = KeptAnswer {
                    status: done.status.as_u16(),
                    body: done.body.clone(),
                };
                // It is done: whoever asks again within a minute is told that it runs.
                if let Err(error) = directory.finish(&claim, &answer).await {
                    tracing::error!(target: "quota::api", %error, "an answer was not kept");
                }
                Ok(done.into_response())
            }
            Err(problem) => {
                // Nothing came of it, or doing it again under the same id completes it.
                if let Err(error) = directory.abandon(&claim).await {
                    tracing::error!(target: "quota::api", %error, "a key was not let go");
                }
                Err(problem)
            }
        }
    }

    fn doing(&self, id: Uuid, PlainText(reason): PlainText) -> Doing {
        Doing {
            id,
            actor: self.actor.clone(),
            reason,
            idempotency_key: self.key.clone(),
        }
    }
}

/// The id of what is done with a key: the same when it is sent again.
///
/// It does not depend on when it is sent: what began before midnight is completed after it. The same
/// request with the same key is the same act for good, also after the key was forgotten.
fn id(claim: &KeyClaim) -> Uuid {
    let digest = Sha256::new()
        .chain_update(claim.actor.len().to_be_bytes())
        .chain_update(&claim.actor)
        .chain_update(claim.key.len().to_be_bytes())
        .chain_update(&claim.key)
        .chain_update(claim.fingerprint)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let bad = |detail: &str| Problem::parameter("Idempotency-Key", detail);
    let keys: Vec<&HeaderValue> = headers.get_all(IDEMPOTENCY_KEY).iter().collect();
    let key = match keys.as_slice() {
        [] => return Ok(None),
        [key] => key,
        _ => return Err(bad("It is given twice: give it once.")),
    };
    let key = key
        .to_str()
        .ok()
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or_else(|| bad("It holds something else than letters, digits and signs of ASCII."))?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(bad("It must be 1 to 255 bytes long."));
    }
    Ok(Some(key.to_owned()))
}

fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE);
    let given = given.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "Send JSON, with `Content-Type: application/json`.",
    ))
}

fn unreadable(rejection: &BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The body is larger than 1 MiB.",
            )
        }
        _ => Problem::new(
            StatusCode::BAD_REQUEST,
            "unreadable_body",
            "The body broke off.",
        ),
    }
}

fn running() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "running",
        "A request with this Idempotency-Key is still running. Try again in a moment.",
    )
    .retry_after(RUNNING_SECONDS)
}

fn other_request() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "key_reused",
        "This Idempotency-Key was used for another request: take a new one.",
    )
}

fn replayed(answer: KeptAnswer) -> Response {
    let done = Done {
        status: StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK),
        body: answer.body,
    };
    let mut response = done.into_response();
    response
        .headers_mut()
        .insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    response
}

/// The answer to a request that changes something.
pub(crate) type Written = Result<Response, Problem>;

/// An answer in JSON.
pub(crate) type Answer<T> = Result<Json<T>, Problem>;

//! What a client is told when its request can't be answered, as `application/problem+json`.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quota_layer::{
    Unauthenticated,
    administration::{AdminError, NotIdentified},
};
use serde::Serialize;
use utoipa::ToSchema;

/// After how many seconds a store that could not be asked may be asked again.
const RETRY_SECONDS: u64 = 1;

const REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) struct Problem(Box<Parts>);

// Boxed, since every answer has room for one.
#[derive(Debug)]
struct Parts {
    status: StatusCode,
    reason: &'static str,
    detail: String,
    place: Option<Place>,
    headers: HeaderMap,
}

/// What of the request is at fault.
#[derive(Debug)]
enum Place {
    /// A parameter of the path, the query or the head, by name.
    Parameter(String),
    /// A field of the body, as a JSON pointer.
    Field(String),
}

/// A problem (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// What kind of problem it is; `about:blank` where the status says it.
    r#type: &'static str,
    /// What the status means.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// A word for the case, for programs.
    reason: &'static str,
    /// What is wrong, and how to mend it.
    detail: &'a str,
    /// The parameter at fault, with status 400.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    /// The field of the body at fault, as a JSON pointer, with status 422.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl Problem {
    /// A problem of this status. `detail` is for the client's eyes.
    pub(crate) fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            reason,
            detail: detail.into(),
            place: None,
            headers: HeaderMap::new(),
        }))
    }

    /// A parameter of the path, the query or the head can't be used.
    pub(crate) fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail);
        problem.0.place = Some(Place::Parameter(name.into()));
        problem
    }

    /// A field of the body can't be used.
    pub(crate) fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", detail);
        problem.0.place = Some(Place::Field(pointer.into()));
        problem
    }

    /// There is nothing there, or nothing that the caller may know of: one answer for both.
    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing of that name, or you may not see it.",
        )
    }

    /// A store can't be asked at the moment.
    pub(crate) fn unavailable() -> Self {
        let detail =
            "The store behind this can't be asked at the moment. Please try again shortly.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after(RETRY_SECONDS)
    }

    /// Nobody is known to send it.
    pub(crate) fn not_identified(cause: NotIdentified) -> Self {
        match cause {
            NotIdentified::Unauthenticated(cause) => Self::unauthenticated(cause),
            NotIdentified::Unavailable {
                retry_after_seconds,
            } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The token can't be verified at the moment. Please try again shortly.",
            )
            .retry_after(retry_after_seconds),
            _ => Self::unavailable(),
        }
    }

    /// Nobody is identified.
    pub(crate) fn unauthenticated(cause: Unauthenticated) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            cause.to_string(),
        )
        .header(header::WWW_AUTHENTICATE, cause.www_authenticate())
    }

    /// What the administration says of something asked for in the query or the path.
    pub(crate) fn in_query(error: AdminError) -> Self {
        match error {
            AdminError::Invalid { field, problem } => Self::parameter(field, problem),
            other => Self::of(other),
        }
    }

    /// What the administration says of something asked for in the body.
    pub(crate) fn in_body(error: AdminError) -> Self {
        match error {
            // The administration names the body so where it is at fault as a whole.
            AdminError::Invalid { field, problem } if field == "body" => Self::field("", problem),
            AdminError::Invalid { field, problem } => {
                Self::field(format!("/{}", field.replace('.', "/")), problem)
            }
            other => Self::of(other),
        }
    }

    /// The same, where only this field of the body names something that may not be there.
    pub(crate) fn in_body_at(pointer: &'static str) -> impl Fn(AdminError) -> Self {
        move |error| match error {
            AdminError::NotFound { what } => Self::field(pointer, format!("There is no {what}.")),
            other => Self::in_body(other),
        }
    }

    fn of(error: AdminError) -> Self {
        match error {
            AdminError::NotFound { .. } => Self::not_found(),
            AdminError::Conflict(detail) => Self::new(StatusCode::CONFLICT, "conflict", detail),
            AdminError::NoLedger => {
                Self::new(StatusCode::NOT_FOUND, "no_ledger", error.to_string())
            }
            AdminError::Invalid { field, problem } => Self::parameter(field, problem),
            failed => {
                tracing::error!(
                    target: "quota::api",
                    error = &failed as &dyn std::error::Error,
                    "a store can't be asked"
                );
                Self::unavailable()
            }
        }
    }

    /// With this `Retry-After`.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// With this header.
    pub(crate) fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }
}

impl From<quota_store::ledger::LedgerError> for Problem {
    fn from(error: quota_store::ledger::LedgerError) -> Self {
        Self::of(AdminError::Ledger(error))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts {
            status,
            reason,
            detail,
            place,
            headers,
        } = *self.0;
        let is_unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
        let (parameter, field) = match &place {
            Some(Place::Parameter(name)) => (Some(name.as_str()), None),
            Some(Place::Field(pointer)) => (None, Some(pointer.as_str())),
            None => (None, None),
        };
        let body = ProblemBody {
            r#type: if is_unavailable {
                REDUCED_CAPACITY
            } else {
                "about:blank"
            },
            title: if is_unavailable {
                "Temporary reduced capacity"
            } else {
                status.canonical_reason().unwrap_or("Refused")
            },
            status: status.as_u16(),
            reason,
            detail: &detail,
            parameter,
            field,
        };
        let mut response = (status, headers, Json(body)).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

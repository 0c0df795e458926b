//! What a client is told when its request does not reach the handler.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use quota_store::{Bound, Cause, Denied, ReservationId, UnixMillis};
use serde::Serialize;
use smallvec::SmallVec;

use crate::{
    config::ResponsesConfig,
    headers::{self, Told},
    identity::Unauthenticated,
    status::{CounterView, QuotaState, QuotaStatus, Snapshot, closest},
};

mod grpc;
mod text;

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// Why a request does not reach the handler.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The store denied it.
    Denied(Box<Denial>),
    /// No token, or a bad one.
    Unauthenticated(Unauthenticated),
    /// The token has no tenant, and the configuration wants one.
    TenantRequired,
    /// The token's plan does not exist, and the configuration does not fall back.
    UnknownPlan,
    /// No rule names it, and the configuration denies such requests.
    Unmatched,
    /// The path is an unusual spelling of a charged one.
    Misspelled,
    /// The store or the keys can't be asked.
    Unavailable {
        /// After how many seconds trying again may help.
        retry_after_seconds: u64,
    },
}

/// What the store denied, and why.
#[derive(Debug)]
pub(crate) struct Denial {
    snapshot: Snapshot,
    now: UnixMillis,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// These counters did not fit, the one that the client is told of first.
    Counters(SmallVec<[(usize, Misfit); 3]>),
    /// Too many requests of the user are running.
    InFlight { most: u32 },
}

/// Why one counter did not fit, what waiting cures least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Misfit {
    NotIncluded,
    TooLarge,
    Limit,
    Busy,
}

impl Misfit {
    fn of(view: &CounterView<'_>) -> Self {
        let Bound::AtMost(hard) = view.rule.hard else {
            return Self::Busy;
        };
        let amount = view.rule.amount;
        if hard.is_zero() {
            Self::NotIncluded
        } else if amount > hard {
            Self::TooLarge
        } else if view.value.used.get() + amount.get() > hard.get() {
            Self::Limit
        } else {
            Self::Busy
        }
    }

    const fn state(self) -> QuotaState {
        match self {
            Self::NotIncluded => QuotaState::NotIncluded,
            Self::TooLarge | Self::Limit => QuotaState::Exceeded,
            Self::Busy => QuotaState::Busy,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::NotIncluded => "not_included",
            Self::TooLarge => "too_large",
            Self::Limit => "limit",
            Self::Busy => "busy",
        }
    }

    /// Seconds after which the same request could fit; `None` where waiting does not help.
    fn wait_seconds(self, view: &CounterView<'_>, now: UnixMillis) -> Option<u64> {
        match self {
            Self::NotIncluded | Self::TooLarge => None,
            Self::Limit => view.seconds_left(now),
            Self::Busy => Some(1),
        }
    }
}

impl Denial {
    /// Makes a denial of what the store answered about the counters of `snapshot`.
    pub(crate) fn new(snapshot: Snapshot, denied: &Denied, max_in_flight: u32) -> Self {
        let why = match &denied.cause {
            Cause::InFlight => Why::InFlight {
                most: max_in_flight,
            },
            Cause::Limits(places) => {
                let views: Vec<CounterView<'_>> = snapshot.views().collect();
                let mut misfits: SmallVec<[(usize, Misfit); 3]> = places
                    .iter()
                    .map(|place| (*place, Misfit::of(&views[*place])))
                    .collect();
                // What waiting does not cure comes first, then the longest wait.
                misfits.sort_by_key(|(place, misfit)| {
                    let wait = misfit.wait_seconds(&views[*place], denied.now);
                    (*misfit, std::cmp::Reverse(wait.unwrap_or(u64::MAX)))
                });
                Why::Counters(misfits)
            }
        };
        Self {
            snapshot,
            now: denied.now,
            why,
        }
    }

    /// The word for it in metrics, logs and bodies.
    pub(crate) fn reason(&self) -> &'static str {
        match &self.why {
            Why::Counters(misfits) => misfits[0].1.reason(),
            Why::InFlight { .. } => "concurrency",
        }
    }

    fn view(&self, place: usize, misfit: Option<Misfit>) -> Option<CounterView<'_>> {
        let mut view = self.snapshot.views().nth(place)?;
        view.denied = misfit.map(Misfit::state);
        Some(view)
    }

    /// Every counter, those that denied marked.
    fn views(&self) -> impl Iterator<Item = CounterView<'_>> {
        self.snapshot.views().enumerate().map(|(place, mut view)| {
            if let Why::Counters(misfits) = &self.why {
                let misfit = misfits.iter().find(|(denied, _)| *denied == place);
                view.denied = misfit.map(|(_, misfit)| misfit.state());
            }
            view
        })
    }

    /// The counter that the client is told of.
    fn about(&self) -> Option<CounterView<'_>> {
        match &self.why {
            Why::Counters(misfits) => self.view(misfits[0].0, Some(misfits[0].1)),
            Why::InFlight { .. } => closest(self.snapshot.views()),
        }
    }

    /// The counter that denied; `None` where none did.
    pub(crate) fn violation(&self) -> Option<CounterView<'_>> {
        self.violations().next()
    }

    fn violations(&self) -> impl Iterator<Item = CounterView<'_>> {
        let misfits = match &self.why {
            Why::Counters(misfits) => misfits.as_slice(),
            Why::InFlight { .. } => &[],
        };
        misfits
            .iter()
            .filter_map(|(place, misfit)| self.view(*place, Some(*misfit)))
    }

    fn wait_seconds(&self) -> Option<u64> {
        match &self.why {
            Why::Counters(misfits) => {
                let (place, misfit) = misfits[0];
                let view = self.view(place, Some(misfit))?;
                misfit.wait_seconds(&view, self.now)
            }
            Why::InFlight { .. } => Some(1),
        }
    }

    /// How many units the request asked for of the counter it is told of.
    fn requested(&self) -> u64 {
        self.about().map_or(0, |view| view.rule.amount.get())
    }

    /// The names of what denied, for the log.
    pub(crate) fn violated(&self) -> Vec<String> {
        self.violations()
            .map(|view| view.rule.labels.policy.clone())
            .collect()
    }
}

/// The problem body of a refusal (RFC 9457), in the order in which people read it.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    reason: &'static str,
    detail: String,
    instance: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    quota: Option<QuotaProblem<'a>>,
}

#[derive(Debug, Serialize)]
struct QuotaProblem<'a> {
    #[serde(rename = "violated-policies")]
    violated_policies: Vec<String>,
    requested: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_url: Option<&'a str>,
    quota_status: Option<QuotaStatus>,
    violations: Vec<QuotaStatus>,
}

/// What a refusal is written with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) responses: &'a ResponsesConfig,
    /// The attempt's id.
    pub(crate) attempt: ReservationId,
    /// Whether the request is a gRPC call.
    pub(crate) form: Form,
}

/// In which form a client understands refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Http,
    Grpc,
}

impl Form {
    /// gRPC calls say so in their content type.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        match content_type {
            Some(content_type) if content_type.starts_with(b"application/grpc") => Self::Grpc,
            _ => Self::Http,
        }
    }
}

impl Refusal {
    /// The word for it in bodies, metrics and logs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.reason(),
            Self::Unauthenticated(_) => "unauthenticated",
            Self::TenantRequired => "tenant_required",
            Self::UnknownPlan => "unknown_plan",
            Self::Unmatched => "unmatched",
            Self::Misspelled => "misspelled",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    pub(crate) fn status(&self, responses: &ResponsesConfig) -> StatusCode {
        match self {
            // Too many at once is over when one of them ends: that is never a matter of payment.
            Self::Denied(denial) if matches!(denial.why, Why::InFlight { .. }) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Denied(_) => StatusCode::from_u16(responses.denied_status)
                .unwrap_or(StatusCode::TOO_MANY_REQUESTS),
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::TenantRequired | Self::UnknownPlan | Self::Unmatched => StatusCode::FORBIDDEN,
            Self::Misspelled => StatusCode::BAD_REQUEST,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::Denied(denial) => denial.wait_seconds(),
            Self::Unavailable {
                retry_after_seconds,
            } => Some(*retry_after_seconds),
            _ => None,
        }
    }

    /// Writes the response.
    pub(crate) fn into_response(self, context: Context<'_>) -> Response<Bytes> {
        let mut response = match context.form {
            Form::Http => self.problem_response(context),
            Form::Grpc => grpc::response(&self),
        };
        self.write_headers(response.headers_mut(), context.responses);
        response
    }

    fn problem_response(&self, context: Context<'_>) -> Response<Bytes> {
        let status = self.status(context.responses);
        let problem = Problem {
            r#type: match self {
                Self::Denied(_) => QUOTA_EXCEEDED,
                Self::Unavailable { .. } => REDUCED_CAPACITY,
                _ => "about:blank",
            },
            title: match self {
                Self::Denied(_) => "Quota exceeded",
                Self::Unavailable { .. } => "Temporary reduced capacity",
                _ => status.canonical_reason().unwrap_or("Refused"),
            },
            status: status.as_u16(),
            reason: self.reason(),
            detail: text::detail(self, context.responses),
            instance: format!("urn:uuid:{}", context.attempt),
            quota: match self {
                Self::Denied(denial) => Some(denial.problem(context.responses)),
                _ => None,
            },
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static("en"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Language"));
        response
    }

    fn write_headers(&self, headers: &mut HeaderMap, responses: &ResponsesConfig) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self {
            Self::Denied(denial) => denial.write_headers(headers, responses),
            Self::Unavailable { .. } => headers::write_unavailable(headers, responses),
            Self::Unauthenticated(cause) => {
                headers.insert(header::WWW_AUTHENTICATE, cause.www_authenticate());
            }
            Self::TenantRequired | Self::UnknownPlan | Self::Unmatched | Self::Misspelled => {}
        }
    }
}

impl Denial {
    fn problem<'a>(&self, responses: &'a ResponsesConfig) -> QuotaProblem<'a> {
        let shown = |view: &CounterView<'_>| !headers::is_hidden(responses, view.rule.scope);
        QuotaProblem {
            violated_policies: self.violated(),
            requested: self.requested(),
            upgrade_url: responses.upgrade_url.as_deref(),
            quota_status: self.about().filter(shown).map(|view| view.status()),
            violations: self
                .violations()
                .filter(shown)
                .map(|view| view.status())
                .collect(),
        }
    }

    fn write_headers(&self, headers: &mut HeaderMap, responses: &ResponsesConfig) {
        if let Some(about) = self.about() {
            let wait_seconds = match self.why {
                Why::Counters(_) => None,
                Why::InFlight { .. } => self.wait_seconds(),
            };
            let told = Told {
                about,
                all: self.views(),
                now: self.now,
                wait_seconds,
            };
            headers::write(headers, responses, told);
        }
    }
}

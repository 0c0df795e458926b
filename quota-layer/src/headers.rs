//! The quota headers of requests and responses.

use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};
use quota_store::{Bound, Scope, UnixMillis};
use sfv::{Integer, KeyRef, ListSerializer, StringRef};

use crate::{
    config::ResponsesConfig,
    status::{CounterView, QuotaState},
};

const TYPE: HeaderName = HeaderName::from_static("x-quota-type");
const SCOPE: HeaderName = HeaderName::from_static("x-quota-scope");
const PLAN: HeaderName = HeaderName::from_static("x-quota-plan");
const WINDOW: HeaderName = HeaderName::from_static("x-quota-window");
const LIMIT: HeaderName = HeaderName::from_static("x-quota-limit");
const USED: HeaderName = HeaderName::from_static("x-quota-used");
const REMAINING: HeaderName = HeaderName::from_static("x-quota-remaining");
const RESET: HeaderName = HeaderName::from_static("x-quota-reset");
const STATE: HeaderName = HeaderName::from_static("x-quota-state");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Every header that the layer may put on a response, for `Access-Control-Expose-Headers`.
pub const EXPOSED_HEADERS: [HeaderName; 12] = [
    TYPE,
    SCOPE,
    PLAN,
    WINDOW,
    LIMIT,
    USED,
    REMAINING,
    RESET,
    STATE,
    RATELIMIT,
    RATELIMIT_POLICY,
    RETRY_AFTER,
];

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const MAX_SF_INTEGER: u64 = 999_999_999_999_999;

/// Removes what only the layer may say, whoever said it.
pub(crate) fn strip(headers: &mut HeaderMap, responses: &ResponsesConfig) {
    let is_ours = |name: &HeaderName| {
        let name = name.as_str();
        (responses.x_quota && name.starts_with("x-quota-"))
            || (responses.ratelimit && (name == "ratelimit" || name == "ratelimit-policy"))
    };
    if headers.keys().any(is_ours) {
        let forged: Vec<HeaderName> = headers
            .keys()
            .filter(|name| is_ours(name))
            .cloned()
            .collect();
        for name in forged {
            headers.remove(name);
        }
    }
}

/// What the headers tell.
pub(crate) struct Told<'a, I> {
    /// The counter that `X-Quota-*` are about.
    pub(crate) about: CounterView<'a>,
    /// All counters, for the `RateLimit` fields.
    pub(crate) all: I,
    /// The store's time.
    pub(crate) now: UnixMillis,
    /// How long to wait on every counter, where it is not a counter that denied.
    pub(crate) wait_seconds: Option<u64>,
}

/// Writes the enabled families.
pub(crate) fn write<'a, I>(headers: &mut HeaderMap, responses: &ResponsesConfig, told: Told<'a, I>)
where
    I: Iterator<Item = CounterView<'a>>,
{
    headers.reserve(EXPOSED_HEADERS.len());
    if responses.x_quota {
        write_x_quota(headers, responses, &told.about);
    }
    if responses.ratelimit {
        write_ratelimit(headers, responses, told);
    }
}

/// Says that the request was let through uncounted.
pub(crate) fn write_unavailable(headers: &mut HeaderMap, responses: &ResponsesConfig) {
    if responses.x_quota {
        headers.insert(
            STATE,
            HeaderValue::from_static(QuotaState::Unavailable.as_str()),
        );
    }
}

/// Whether members may not see the numbers of this counter.
pub(crate) fn is_hidden(responses: &ResponsesConfig, view: &CounterView<'_>) -> bool {
    view.rule.scope == Scope::Tenant && !responses.tenant_headers
}

fn write_x_quota(headers: &mut HeaderMap, responses: &ResponsesConfig, view: &CounterView<'_>) {
    let labels = &view.rule.labels;
    headers.insert(TYPE, labels.quota_header.clone());
    headers.insert(SCOPE, HeaderValue::from_static(view.rule.scope.as_str()));
    headers.insert(PLAN, labels.plan_header.clone());
    headers.insert(WINDOW, labels.window_header.clone());
    headers.insert(STATE, HeaderValue::from_static(view.state().as_str()));
    if let Some(end) = view.span.end() {
        headers.insert(RESET, HeaderValue::from(end.seconds()));
    }
    if is_hidden(responses, view) {
        return;
    }
    headers.insert(LIMIT, labels.limit_header.clone());
    headers.insert(USED, HeaderValue::from(view.value.used.get()));
    if let Some(remaining) = view.remaining() {
        headers.insert(REMAINING, HeaderValue::from(remaining.get()));
    }
}

/// The `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4.
///
/// The draft still moves: nothing else knows its names and letters.
fn write_ratelimit<'a, I>(headers: &mut HeaderMap, responses: &ResponsesConfig, told: Told<'a, I>)
where
    I: Iterator<Item = CounterView<'a>>,
{
    let (mut policies, mut states) = (String::with_capacity(128), String::with_capacity(96));
    for view in told.all {
        let (Some(items), Some(left)) = (&view.rule.labels.ratelimit, view.hard_remaining()) else {
            continue;
        };
        if is_hidden(responses, &view) {
            continue;
        }
        if !policies.is_empty() {
            policies.push_str(", ");
            states.push_str(", ");
        }
        policies.push_str(&items.policy);
        if let Some(length) = view.length_seconds() {
            push_parameter(&mut policies, ";w=", length);
        }
        states.push_str(&items.name);
        push_parameter(&mut states, ";r=", left.get());
        // Units that requests in flight hold may be free again at once.
        let wait = told.wait_seconds.or_else(|| match view.denied {
            Some(QuotaState::Busy) => Some(1),
            _ => view.seconds_left(told.now),
        });
        if let Some(wait) = wait {
            push_parameter(&mut states, ";t=", wait);
        }
    }
    if !policies.is_empty()
        && let (Ok(policy), Ok(state)) = (policies.try_into(), states.try_into())
    {
        headers.insert(RATELIMIT_POLICY, policy);
        headers.insert(RATELIMIT, state);
    }
}

/// What the items of a counter in the `RateLimit` fields begin with, whatever the counter says.
#[derive(Debug)]
pub(crate) struct RateLimitItems {
    /// `"messages-day";q=100`, with its unit where that is not requests.
    policy: String,
    /// `"messages-day"`.
    name: String,
}

impl RateLimitItems {
    /// `None` where there is no hard limit, or where a text does not fit a structured field.
    pub(crate) fn new(policy: &str, hard: Bound, unit: Option<&str>) -> Option<Self> {
        let name = StringRef::from_str(policy).ok()?;
        let hard = Integer::try_from(small(hard.amount()?.get())).ok()?;
        let (mut policy_text, mut name_text) = (String::new(), String::new());
        let mut list = ListSerializer::with_buffer(&mut policy_text);
        let item = list.bare_item(name).parameter(key("q"), hard);
        if let Some(unit) = unit.and_then(|unit| StringRef::from_str(unit).ok()) {
            let _: sfv::ParameterSerializer<_> = item.parameter(key("qu"), unit);
        }
        list.finish()?;
        let mut list = ListSerializer::with_buffer(&mut name_text);
        let _: sfv::ParameterSerializer<_> = list.bare_item(name);
        list.finish()?;
        Some(Self {
            policy: policy_text,
            name: name_text,
        })
    }
}

fn key(name: &'static str) -> &'static KeyRef {
    KeyRef::constant(name)
}

fn push_parameter(text: &mut String, key: &str, number: u64) {
    text.push_str(key);
    text.push_str(itoa::Buffer::new().format(small(number)));
}

/// Cut off at the largest integer of a structured field.
fn small(number: u64) -> i64 {
    i64::try_from(number.min(MAX_SF_INTEGER)).unwrap_or_default()
}

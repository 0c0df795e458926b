//! The quota headers of requests and responses.

use std::mem;

use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};
use quota_store::{Bound, Limit, Plan, QuotaName, Scope, UnixMillis, WindowSpan};
use sfv::{Integer, KeyRef, ListSerializer, StringRef};

use crate::{
    charge::CounterRule,
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

/// Writes the enabled families into headers that were [stripped](strip) of them.
pub(crate) fn write<'a, I>(headers: &mut HeaderMap, responses: &ResponsesConfig, told: Told<'a, I>)
where
    I: Iterator<Item = CounterView<'a>>,
{
    // A copy is cheaper than as many insertions.
    let mut ours = told.about.window.headers.clone();
    if responses.x_quota {
        write_x_quota(&mut ours, responses, &told.about);
    }
    if responses.ratelimit {
        write_ratelimit(&mut ours, told);
    }
    // No name is in both, so the fewer may go to the others.
    if headers.len() < ours.len() {
        mem::swap(headers, &mut ours);
    }
    headers.extend(ours);
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

/// Whether members may not see the numbers of counters of this scope.
pub(crate) fn is_hidden(responses: &ResponsesConfig, scope: Scope) -> bool {
    scope == Scope::Tenant && !responses.tenant_headers
}

/// What `X-Quota-*` say of a counter at all times; nothing where they are not enabled.
pub(crate) fn x_quota(
    responses: &ResponsesConfig,
    (quota, scope, plan): (&QuotaName, Scope, &Plan),
    limit: &Limit,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !responses.x_quota {
        return headers;
    }
    headers.insert(TYPE, text(quota.as_str()));
    headers.insert(SCOPE, HeaderValue::from_static(scope.as_str()));
    headers.insert(PLAN, text(plan.name.as_str()));
    headers.insert(WINDOW, text(&limit.window.to_string()));
    if !is_hidden(responses, scope) {
        let value = match limit.bound {
            Bound::AtMost(limit) => number(limit.get()),
            Bound::Unlimited => HeaderValue::from_static("unlimited"),
        };
        headers.insert(LIMIT, value);
    }
    headers
}

/// What both families say of a counter while its window is open.
pub(crate) fn of_window(
    x_quota: &HeaderMap,
    span: WindowSpan,
    policies: Option<&HeaderValue>,
) -> HeaderMap {
    // Room for what changes and for what handlers say, so that copies need not grow.
    let mut headers = HeaderMap::with_capacity(2 * EXPOSED_HEADERS.len());
    headers.extend(x_quota.clone());
    if let (false, Some(end)) = (x_quota.is_empty(), span.end()) {
        headers.insert(RESET, number(end.seconds()));
    }
    if let Some(policies) = policies {
        headers.insert(RATELIMIT_POLICY, policies.clone());
    }
    headers
}

fn write_x_quota(headers: &mut HeaderMap, responses: &ResponsesConfig, view: &CounterView<'_>) {
    headers.insert(STATE, HeaderValue::from_static(view.state().as_str()));
    if is_hidden(responses, view.rule.scope) {
        return;
    }
    headers.insert(USED, number(view.value.used.get()));
    if let Some(remaining) = view.remaining() {
        headers.insert(REMAINING, number(remaining.get()));
    }
}

/// Whether the `RateLimit` fields tell of counters of this scope.
pub(crate) fn shows_ratelimit(responses: &ResponsesConfig, scope: Scope) -> bool {
    responses.ratelimit && !is_hidden(responses, scope)
}

/// The `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4.
///
/// The draft still moves: nothing else knows its names and letters.
fn write_ratelimit<'a, I>(headers: &mut HeaderMap, told: Told<'a, I>)
where
    I: Iterator<Item = CounterView<'a>>,
{
    let mut states = Vec::with_capacity(256);
    for view in told.all {
        let (Some(items), Some(left)) = (&view.rule.labels.ratelimit, view.hard_remaining()) else {
            continue;
        };
        if !states.is_empty() {
            states.extend_from_slice(b", ");
        }
        states.extend_from_slice(items.name.as_bytes());
        push_parameter(&mut states, b";r=", left.get());
        // Units that requests in flight hold may be free again at once.
        let wait = told.wait_seconds.or_else(|| match view.denied {
            Some(QuotaState::Busy) => Some(1),
            _ => view.seconds_left(told.now),
        });
        if let Some(wait) = wait {
            push_parameter(&mut states, b";t=", wait);
        }
    }
    // There is a policy for each state.
    if !states.is_empty()
        && let Ok(states) = HeaderValue::from_bytes(&states)
    {
        headers.insert(RATELIMIT, states);
    }
}

/// `RateLimit-Policy` of these counters; `None` where there is no limit to tell.
pub(crate) fn policies<'a>(
    counters: impl Iterator<Item = (&'a CounterRule, &'a WindowSpan)>,
) -> Option<HeaderValue> {
    let mut policies = Vec::new();
    for (rule, span) in counters {
        let Some(items) = &rule.labels.ratelimit else {
            continue;
        };
        if !policies.is_empty() {
            policies.extend_from_slice(b", ");
        }
        policies.extend_from_slice(items.policy.as_bytes());
        if let Some(length) = length_seconds(*span) {
            push_parameter(&mut policies, b";w=", length);
        }
    }
    let value = HeaderValue::from_bytes(&policies).ok()?;
    (!value.is_empty()).then_some(value)
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

/// The length of a window in seconds, at least one; `None` for a lifetime.
fn length_seconds(span: WindowSpan) -> Option<u64> {
    let length_ms = span.end()?.get() - span.start().get();
    Some(length_ms.div_ceil(1000).max(1))
}

fn push_parameter(text: &mut Vec<u8>, key: &[u8], number: u64) {
    text.extend_from_slice(key);
    text.extend_from_slice(itoa::Buffer::new().format(small(number)).as_bytes());
}

/// Names and windows are plain ASCII, so this always is a header value.
fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

/// A number as a header, in one allocation.
fn number(number: u64) -> HeaderValue {
    let mut digits = itoa::Buffer::new();
    HeaderValue::from_str(digits.format(number)).unwrap_or_else(|_| HeaderValue::from(number))
}

/// Cut off at the largest integer of a structured field.
fn small(number: u64) -> i64 {
    i64::try_from(number.min(MAX_SF_INTEGER)).unwrap_or_default()
}

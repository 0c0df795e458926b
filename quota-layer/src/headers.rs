//! The quota headers of requests and responses.

use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};
use quota_store::{Scope, UnixMillis};
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
    headers.reserve(9);
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
    let (mut policy_text, mut state_text) = (String::with_capacity(128), String::with_capacity(96));
    let mut policies = ListSerializer::with_buffer(&mut policy_text);
    let mut states = ListSerializer::with_buffer(&mut state_text);
    for view in told.all {
        let (Some(hard), Some(left)) = (view.rule.hard.amount(), view.hard_remaining()) else {
            continue;
        };
        let Ok(name) = StringRef::from_str(&view.rule.labels.policy) else {
            continue;
        };
        if is_hidden(responses, &view) {
            continue;
        }
        let mut policy = policies
            .bare_item(name)
            .parameter(key("q"), integer(hard.get()));
        if let Some(unit) = view.rule.labels.ratelimit_unit.as_deref()
            && let Ok(unit) = StringRef::from_str(unit)
        {
            policy = policy.parameter(key("qu"), unit);
        }
        if let Some(length) = view.length_seconds() {
            let _: sfv::ParameterSerializer<_> = policy.parameter(key("w"), integer(length));
        }
        let state = states
            .bare_item(name)
            .parameter(key("r"), integer(left.get()));
        // Units that requests in flight hold may be free again at once.
        let wait = told.wait_seconds.or_else(|| match view.denied {
            Some(QuotaState::Busy) => Some(1),
            _ => view.seconds_left(told.now),
        });
        if let Some(wait) = wait {
            let _: sfv::ParameterSerializer<_> = state.parameter(key("t"), integer(wait));
        }
    }
    let written = policies.finish().is_some() && states.finish().is_some();
    if written && let (Ok(policy), Ok(state)) = (policy_text.try_into(), state_text.try_into()) {
        headers.insert(RATELIMIT_POLICY, policy);
        headers.insert(RATELIMIT, state);
    }
}

fn key(name: &'static str) -> &'static KeyRef {
    KeyRef::constant(name)
}

fn integer(number: u64) -> Integer {
    let number = i64::try_from(number.min(MAX_SF_INTEGER)).unwrap_or_default();
    Integer::try_from(number).unwrap_or(Integer::ZERO)
}

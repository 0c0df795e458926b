//! How things look in audits.

use jiff::Timestamp;
use quota_store::{
    Bound, UnixMillis,
    directory::{Assignment, Entry, Override},
};
use serde_json::{Value, json};

use super::CounterChange;

/// An instant in RFC 3339.
pub(super) fn instant(at: UnixMillis) -> Value {
    let millis = i64::try_from(at.get()).ok();
    let at = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
    at.map_or(Value::Null, |at| json!(at.to_string()))
}

fn instant_or_null(at: Option<UnixMillis>) -> Value {
    at.map_or(Value::Null, instant)
}

fn bound(bound: Bound) -> Value {
    match bound {
        Bound::AtMost(amount) => json!(amount.get()),
        Bound::Unlimited => json!("unlimited"),
    }
}

fn assignment(one: &Assignment) -> Value {
    json!({
        "plan": one.plan.as_str(),
        "since": instant(one.since),
        "until": instant_or_null(one.until),
        "anchor": instant_or_null(one.anchor),
        "timezone": one.timezone,
        "status": one.status.as_str(),
    })
}

fn own_limit(one: &Override) -> Value {
    json!({
        "quota": one.quota.as_str(),
        "window": one.window.to_string(),
        "limit": bound(one.limit),
        "until": instant_or_null(one.until),
    })
}

/// What is known of a subject.
pub(super) fn entry(entry: &Entry) -> Value {
    json!({
        "assignments": entry.assignments.iter().map(assignment).collect::<Vec<_>>(),
        "overrides": entry.overrides.iter().map(own_limit).collect::<Vec<_>>(),
    })
}

/// What counters said before, and what they say after.
pub(super) fn counters(changes: &[CounterChange]) -> (Value, Value) {
    let list = |used: fn(&CounterChange) -> u64| {
        let each = changes.iter().map(|change| {
            json!({
                "quota": change.quota.as_str(),
                "window": change.window.to_string(),
                "scope": change.scope.as_str(),
                "used": used(change),
            })
        });
        Value::Array(each.collect())
    };
    let before = list(|change| change.used_before.get());
    (before, list(|change| change.used_after.get()))
}

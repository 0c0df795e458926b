//! What refusals say, in English.

use jiff::{Timestamp, tz::TimeZone};
use quota_store::{Amount, Bound, UnixMillis, Window};

use super::{Denial, Misfit, Refusal, Why};
use crate::{config::ResponsesConfig, headers, status::CounterView};

/// One or two sentences: what happened, and what helps.
pub(super) fn detail(refusal: &Refusal, responses: &ResponsesConfig) -> String {
    match refusal {
        Refusal::Denied(denial) => denied(denial, responses),
        other => summary(other),
    }
}

/// The same without any number of a counter.
pub(super) fn summary(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Denied(denial) => format!("Quota exceeded ({}).", denial.reason()),
        Refusal::Unauthenticated(cause) => cause.to_string(),
        Refusal::TenantRequired => {
            "The token names no tenant, and this service needs one.".to_owned()
        }
        Refusal::UnknownPlan => "The token names a plan that does not exist.".to_owned(),
        Refusal::Unmatched => "No quota rule covers this method and path.".to_owned(),
        Refusal::Misspelled => {
            "Send the path in its normal form: no empty or dot segments, no escaped slashes, no \
             escapes of letters, digits, `-`, `.`, `_` or `~`."
                .to_owned()
        }
        Refusal::Unavailable { .. } => {
            "Quotas can't be checked at the moment. Please try again shortly.".to_owned()
        }
    }
}

fn denied(denial: &Denial, responses: &ResponsesConfig) -> String {
    let misfit = match &denial.why {
        Why::InFlight { most } => {
            return format!(
                "You have {most} requests running, the most allowed at once. Try again when one \
                 of them has ended."
            );
        }
        Why::Counters(misfits) => misfits[0].1,
    };
    let Some(view) = denial.about() else {
        return String::new();
    };
    if headers::is_hidden(responses, view.rule.scope) {
        return format!(
            "{} of your organisation is used up.",
            view.rule.labels.title
        );
    }
    match misfit {
        Misfit::NotIncluded => format!(
            "The plan {} does not include {}.",
            view.rule.plan.name, view.rule.labels.unit_plural
        ),
        Misfit::TooLarge => too_large(&view),
        Misfit::Limit => used_up(&view),
        Misfit::Busy => format!(
            "All {} that are left are held by requests that are still running. Try again in a \
             moment.",
            view.rule.labels.unit_plural
        ),
    }
}

fn too_large(view: &CounterView<'_>) -> String {
    let requested = view.rule.amount.get();
    let Bound::AtMost(hard) = view.rule.hard else {
        return String::new();
    };
    format!(
        "This request asks for {requested} {}, more than the {hard} that the plan allows {}.",
        unit(view, requested),
        within(view.rule.limit.window),
    )
}

fn used_up(view: &CounterView<'_>) -> String {
    let (Bound::AtMost(limit), Bound::AtMost(hard)) = (view.rule.limit.bound, view.rule.hard)
    else {
        return String::new();
    };
    let who = match view.rule.scope {
        quota_store::Scope::User => "You have",
        quota_store::Scope::Tenant => "Your organisation has",
    };
    let used = view.value.used;
    let units = unit(view, limit.get());
    let within = within(view.rule.limit.window);
    let grace = match hard.saturating_sub(limit) {
        Amount::ZERO => String::new(),
        grace => format!(", the {grace} of grace included"),
    };
    let asked = match view.rule.amount {
        Amount::ONE => String::new(),
        amount => format!(" This request asks for {amount}."),
    };
    let more = view.window.span.end().map_or_else(String::new, |end| {
        format!(" More on {}.", local_time(end, &view.rule.plan.timezone))
    });
    format!("{who} used {used} of {limit} {units} {within}{grace}.{asked}{more}")
}

fn unit<'a>(view: &'a CounterView<'_>, count: u64) -> &'a str {
    if count == 1 {
        &view.rule.labels.unit
    } else {
        &view.rule.labels.unit_plural
    }
}

fn within(window: Window) -> String {
    match window {
        Window::Day => "today".to_owned(),
        Window::Lifetime => "in total".to_owned(),
        Window::Seconds(_) => format!("in this window of {window}"),
        window => format!("this {window}"),
    }
}

/// Such as `2026-01-02 00:00 UTC`, with seconds where they matter.
fn local_time(instant: UnixMillis, zone: &TimeZone) -> String {
    let seconds = i64::try_from(instant.seconds()).unwrap_or(i64::MAX);
    let Ok(at) = Timestamp::from_second(seconds) else {
        return String::new();
    };
    let form = if seconds % 60 == 0 {
        "%Y-%m-%d %H:%M %Z"
    } else {
        "%Y-%m-%d %H:%M:%S %Z"
    };
    at.to_zoned(zone.clone()).strftime(form).to_string()
}

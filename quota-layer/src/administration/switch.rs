//! Working out what a subject has after a change of plan.

use jiff::tz::TimeZone;
use quota_store::{
    Amount, Availability, Bound, PlanName, UnixMillis,
    directory::{Assignment, Entry, Override, Status},
};

use super::{
    AdminError, ChangeAt, ChangeRule, PlanChange,
    position::Position,
    rules::{added, prorated},
};
use crate::plans::billing_anchor;

/// Whether a change of plan makes sense under what is in force.
pub(super) fn check(change: &PlanChange, before: &Position) -> Result<(), AdminError> {
    let invalid = |field: &str, problem: &str| {
        Err(AdminError::Invalid {
            field: field.to_owned(),
            problem: problem.to_owned(),
        })
    };
    check_plan(before, &change.plan, "plan")?;
    if let Some(then) = &change.then {
        check_plan(before, then, "then")?;
        if change.ends_at.is_none() {
            return invalid("then", "say when it follows, as ends_at");
        }
    }
    if let Some(zone) = &change.timezone
        && TimeZone::get(zone).is_err()
    {
        return invalid(
            "timezone",
            "there is no such time zone; write a name of the IANA database, such as Africa/Douala",
        );
    }
    let start = starts(change, before);
    if change.at == ChangeAt::PeriodEnd && change.starts_at.is_some() {
        return invalid("starts_at", "give it, or at = period-end, not both");
    }
    if change
        .ends_at
        .is_some_and(|end| end <= start || end <= before.now)
    {
        return invalid("ends_at", "it lies before the plan begins, or is over");
    }
    if change.rule != ChangeRule::Carry && start > before.now {
        return invalid(
            "rule",
            "a change that takes effect later carries over what was used; leave the rule out",
        );
    }
    Ok(())
}

fn check_plan(before: &Position, name: &PlanName, field: &str) -> Result<(), AdminError> {
    let invalid = |problem: String| {
        Err(AdminError::Invalid {
            field: field.to_owned(),
            problem,
        })
    };
    let plans = &before.config().plans;
    let Some(plan) = plans.iter().find(|plan| plan.name == *name) else {
        let known: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
        return invalid(format!(
            "there is no plan `{name}`; there are: {}",
            known.join(", ")
        ));
    };
    let has_it = before.holding.terms(before.scope).plan() == Some(name);
    if plan.availability == Availability::Disabled && !has_it {
        return invalid(format!(
            "the plan `{name}` is disabled: who has it keeps it, and nobody gets it any more"
        ));
    }
    Ok(())
}

/// When a change takes effect.
pub(super) fn starts(change: &PlanChange, before: &Position) -> UnixMillis {
    match change.at {
        ChangeAt::Now => change.starts_at.unwrap_or(before.now),
        ChangeAt::PeriodEnd => before.billing_period().end().unwrap_or(before.now),
    }
}

/// What is known of the subject after the change, but for limits that its rule gives.
pub(super) fn switched(change: &PlanChange, before: &Position, entry: &Entry) -> Entry {
    let start = starts(change, before);
    let present = entry.assignment_at(before.now);
    let assignment = Assignment {
        plan: change.plan.clone(),
        since: start,
        until: change.ends_at,
        // The billing day stays what it was, unless the change says another one.
        anchor: change.anchor.or(present.map(billing_anchor)),
        timezone: change
            .timezone
            .clone()
            .or_else(|| present.and_then(|one| one.timezone.clone())),
        status: change.status,
    };
    let then = change.then.as_ref().zip(change.ends_at);
    let then = then.map(|(plan, since)| Assignment {
        plan: plan.clone(),
        since,
        until: None,
        status: Status::Active,
        anchor: assignment.anchor.or(Some(start)),
        ..assignment.clone()
    });
    // What was to follow before does not follow any more.
    let present = present.filter(|_| start > before.now).cloned();
    Entry {
        generation: entry.generation,
        assignments: present
            .into_iter()
            .chain([assignment])
            .chain(then)
            .collect(),
        overrides: kept_overrides(before, entry, start),
    }
}

/// Limits that are not over. Those that end with the window that is open go with the plan that
/// they were given for.
fn kept_overrides(before: &Position, entry: &Entry, start: UnixMillis) -> Vec<Override> {
    let in_force = entry.overrides_at(before.now);
    let goes = |one: &Override| {
        start <= before.now && one.until.is_some() && one.until == before.span(one.window).end()
    };
    in_force.filter(|one| !goes(one)).cloned().collect()
}

/// The limits that the rule of a change gives in the windows that are open, in which something
/// `used` was counted.
pub(super) fn given_by_rule(
    rule: ChangeRule,
    (before, after): (&Position, &Position),
    used: impl Fn(usize) -> Amount,
) -> Vec<Override> {
    let is_own = |one: &Override, new: &crate::charge::CounterRule| {
        one.quota == new.quota && one.window == new.limit.window
    };
    let kept = &after.holding.terms(after.scope).overrides;
    let counters = after.counters().enumerate();
    let given = counters.filter_map(|(place, (new, key))| {
        if new.scope != after.scope || kept.iter().any(|one| is_own(one, new)) {
            return None;
        }
        let old = before.limit(&new.quota, new.limit.window)?;
        let bound = new.limit.bound;
        let limit = match rule {
            ChangeRule::Carry | ChangeRule::Reset => return None,
            ChangeRule::Prorate => prorated(old, bound, key.span, after.now)?,
            ChangeRule::Additive => added(old, used(place), bound),
        };
        (limit != bound && !(bound == Bound::Unlimited)).then(|| Override {
            quota: new.quota.clone(),
            window: new.limit.window,
            limit,
            until: key.span.end(),
        })
    });
    given.collect()
}

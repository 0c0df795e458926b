//! Assignments and overrides as JSON, and back.

use super::{
    super::{
        Bind,
        encode::{ENDLESS, parse},
        text,
    },
    LedgerError,
};
use crate::{
    Amount, Bound, UnixMillis,
    directory::{Assignment, Override},
    ledger::sql::{invalid, unreadable},
};

type AssignmentFields = (
    String,
    u64,
    Option<u64>,
    Option<u64>,
    Option<String>,
    String,
);

pub(super) fn assignments(assignments: &[Assignment]) -> Result<Bind<'static>, LedgerError> {
    if !assignments.is_sorted_by_key(|one| one.since) {
        return Err(invalid("assignments stand in the order of their `since`"));
    }
    let fields = assignments.iter().map(|one| {
        (
            one.plan.as_str(),
            one.since.get(),
            one.until.map(UnixMillis::get),
            one.anchor.map(UnixMillis::get),
            &one.timezone,
            one.status.as_str(),
        )
    });
    text::json(&fields.collect::<Vec<_>>())
}

pub(super) fn read_assignments(json: &str) -> Result<Vec<Assignment>, LedgerError> {
    let assignments: Vec<AssignmentFields> = text::from_json(json)?;
    let read = assignments
        .into_iter()
        .map(|(plan, since, until, anchor, timezone, status)| {
            Ok(Assignment {
                plan: parse(&plan)?,
                since: UnixMillis::new(since),
                until: until.map(UnixMillis::new),
                anchor: anchor.map(UnixMillis::new),
                timezone,
                status: parse(&status)?,
            })
        });
    read.collect()
}

/// The plans of assignments by name, each with the end of its last one.
pub(super) fn ends(assignments: &[Assignment]) -> std::collections::BTreeMap<&str, i64> {
    let mut ends = std::collections::BTreeMap::new();
    for (place, one) in assignments.iter().enumerate() {
        let next = assignments.get(place + 1).map(|next| next.since);
        let end = [one.until, next].into_iter().flatten().min();
        let end = end.map_or(ENDLESS, |end| i64::try_from(end.get()).unwrap_or(ENDLESS));
        let latest = ends.entry(one.plan.as_str()).or_insert(end);
        *latest = (*latest).max(end);
    }
    ends
}

type OverrideFields = (String, String, Option<u64>, Option<u64>);

pub(super) fn overrides(overrides: &[Override]) -> Result<Bind<'static>, LedgerError> {
    let fields = overrides.iter().map(|one| {
        (
            one.quota.as_str(),
            one.window.to_string(),
            one.limit.amount().map(Amount::get),
            one.until.map(UnixMillis::get),
        )
    });
    text::json(&fields.collect::<Vec<_>>())
}

pub(super) fn read_overrides(json: &str) -> Result<Vec<Override>, LedgerError> {
    let overrides: Vec<OverrideFields> = text::from_json(json)?;
    let read = overrides.into_iter().map(|(quota, window, limit, until)| {
        let limit = limit
            .map(Amount::try_from)
            .transpose()
            .map_err(unreadable)?;
        Ok(Override {
            quota: parse(&quota)?,
            window: parse(&window)?,
            limit: limit.map_or(Bound::Unlimited, Bound::AtMost),
            until: until.map(UnixMillis::new),
        })
    });
    read.collect()
}

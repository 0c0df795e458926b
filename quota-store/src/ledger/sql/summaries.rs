//! Sums of attempts, which are kept beside them.

use std::collections::BTreeMap;

use super::{Bind, LedgerError, Row, Session, append::stopped, encode, schema, text};
use crate::ledger::{Attempt, Charged, Outcome};

/// One hour and one day of UTC, in milliseconds.
pub(super) const HOUR: i64 = 3_600_000;
pub(super) const DAY: i64 = 24 * HOUR;

/// The start of the hour or day that an instant is in.
pub(super) const fn start_of(unit: i64, at: i64) -> i64 {
    at - at.rem_euclid(unit)
}

/// Tenant, quota, hour or day, plan, rule, outcome.
type TimeKey<'a> = (&'a str, &'a str, i64, &'a str, &'a str, Outcome);
/// Tenant, quota, tag, hour or day, value, outcome.
type TagKey<'a> = (&'a str, &'a str, &'a str, i64, &'a str, Outcome);
/// Tenant, user, quota, day.
type UserKey<'a> = (&'a str, &'a str, &'a str, i64);
/// Tenant, quota, day, size.
type SizeKey<'a> = (&'a str, &'a str, i64, i64);

/// What a batch adds to the sums.
#[derive(Debug, Default)]
pub(super) struct Summaries<'a> {
    hours: BTreeMap<TimeKey<'a>, [i64; 2]>,
    tags: BTreeMap<TagKey<'a>, [i64; 2]>,
    users: BTreeMap<UserKey<'a>, [i64; 3]>,
    sizes: BTreeMap<SizeKey<'a>, [i64; 1]>,
}

impl<'a> Summaries<'a> {
    pub(super) fn add(&mut self, attempt: &'a Attempt) -> Result<(), LedgerError> {
        let at = i64::try_from(attempt.at.get())
            .map_err(|_| super::invalid("an instant is too far away"))?;
        for charge in &attempt.charges {
            self.add_charge(attempt, charge, at);
        }
        Ok(())
    }

    fn add_charge(&mut self, attempt: &'a Attempt, charge: &'a Charged, at: i64) {
        let tenant = attempt.tenant.as_ref().map_or("", |tenant| tenant.as_str());
        let plan = attempt.plan.as_ref().map_or("", |plan| plan.plan.as_str());
        let rule = attempt.rule.as_deref().unwrap_or_default();
        let (quota, outcome) = (charge.quota.as_str(), attempt.outcome);
        let (hour, day) = (start_of(HOUR, at), start_of(DAY, at));
        // A correction is not an attempt of its own.
        let count = match outcome {
            Outcome::Correction => 0,
            _ => i64::from(attempt.count.get()),
        };
        let sums = [count, charge.charged];
        let key = (tenant, quota, hour, plan, rule, outcome);
        add(self.hours.entry(key).or_default(), sums);
        for (name, value) in &attempt.tags {
            let key = (tenant, quota, name.as_str(), hour, value.as_str(), outcome);
            add(self.tags.entry(key).or_default(), sums);
        }
        if let Some(user) = &attempt.user {
            let denied = if outcome == Outcome::Denied { count } else { 0 };
            let key = (tenant, user.as_str(), quota, day);
            let sums = [count, denied, charge.charged];
            add(self.users.entry(key).or_default(), sums);
        }
        if count > 0
            && let Ok(charged @ 1..) = u64::try_from(charge.charged)
        {
            let key = (tenant, quota, day, size(charged));
            add(self.sizes.entry(key).or_default(), [count]);
        }
    }

    /// The rows that add them, in the order of their keys.
    pub(super) fn rows(&self) -> SummaryRows {
        let days = by_day(&self.hours, |key| {
            (key.0, key.1, day(key.2), key.3, key.4, key.5)
        });
        let tag_days = by_day(&self.tags, |key| {
            (key.0, key.1, key.2, day(key.3), key.4, key.5)
        });
        let users = self.users.iter().map(|(key, sums)| {
            let &(tenant, user, quota, day) = key;
            let mut row = texts([tenant, user, quota]);
            row.push(Bind::Integer(day));
            with(row, sums)
        });
        let sizes = self.sizes.iter().map(|(key, sums)| {
            let &(tenant, quota, day, size) = key;
            let mut row = texts([tenant, quota]);
            row.extend([day, size].map(Bind::Integer));
            with(row, sums)
        });
        SummaryRows {
            hours: time_rows(&self.hours),
            tags: tag_rows(&self.tags),
            days: time_rows(&days),
            tag_days: tag_rows(&tag_days),
            users: users.collect(),
            sizes: sizes.collect(),
        }
    }
}

const fn day(hour: i64) -> i64 {
    start_of(DAY, hour)
}

/// The sums of hours as sums of days.
fn by_day<K: Ord + Copy>(
    hours: &BTreeMap<K, [i64; 2]>,
    day: impl Fn(K) -> K,
) -> BTreeMap<K, [i64; 2]> {
    let mut days = BTreeMap::new();
    for (key, sums) in hours {
        add(days.entry(day(*key)).or_default(), *sums);
    }
    days
}

fn time_rows(sums: &BTreeMap<TimeKey<'_>, [i64; 2]>) -> Vec<Row<'static>> {
    let rows = sums.iter().map(|(key, sums)| {
        let &(tenant, quota, time, plan, rule, outcome) = key;
        let mut row = texts([tenant, quota]);
        row.push(Bind::Integer(time));
        row.extend(texts([plan, rule]));
        row.push(encode::outcome_bind(outcome));
        with(row, sums)
    });
    rows.collect()
}

fn tag_rows(sums: &BTreeMap<TagKey<'_>, [i64; 2]>) -> Vec<Row<'static>> {
    let rows = sums.iter().map(|(key, sums)| {
        let &(tenant, quota, tag, time, value, outcome) = key;
        let mut row = texts([tenant, quota, tag]);
        row.push(Bind::Integer(time));
        row.extend(texts([value]));
        row.push(encode::outcome_bind(outcome));
        with(row, sums)
    });
    rows.collect()
}

/// What is added to each table of sums.
pub(super) struct SummaryRows {
    hours: Vec<Row<'static>>,
    tags: Vec<Row<'static>>,
    days: Vec<Row<'static>>,
    tag_days: Vec<Row<'static>>,
    users: Vec<Row<'static>>,
    sizes: Vec<Row<'static>>,
}

impl SummaryRows {
    pub(super) async fn write<S: Session>(&self, session: &mut S) -> Result<(), LedgerError> {
        session.insert_adding(&schema::HOURS, &self.hours).await?;
        session.insert_adding(&schema::TAGS, &self.tags).await?;
        session.insert_adding(&schema::DAYS, &self.days).await?;
        let tag_days = &self.tag_days;
        session.insert_adding(&schema::TAG_DAYS, tag_days).await?;
        session.insert_adding(&schema::USERS, &self.users).await?;
        session.insert_adding(&schema::SIZES, &self.sizes).await
    }
}

fn add<const N: usize>(sums: &mut [i64; N], differences: [i64; N]) {
    for (sum, difference) in sums.iter_mut().zip(differences) {
        *sum = stopped(*sum, difference);
    }
}

fn texts<const N: usize>(texts: [&str; N]) -> Row<'static> {
    let binds = texts.into_iter().map(text::bind);
    binds.map(Bind::into_owned).collect()
}

fn with(mut row: Row<'static>, sums: &[i64]) -> Row<'static> {
    row.extend(sums.iter().copied().map(Bind::Integer));
    row
}

/// A charge, rounded down to its 6 leading bits: exact up to 64, and less than 1/32 off above.
fn size(charged: u64) -> i64 {
    let bits = u64::BITS - charged.leading_zeros();
    let dropped = bits.saturating_sub(6);
    ((charged >> dropped) << dropped).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_up_to_64_and_close_above() {
        for exact in 1..=64_u64 {
            assert_eq!(size(exact), exact.cast_signed());
        }
        for charged in [65, 100, 1_000, 4_095, 1 << 40, crate::Amount::MAX.get()] {
            let size = size(charged).cast_unsigned();
            assert!(
                size <= charged && (charged - size) * 32 < charged,
                "{charged}"
            );
        }
    }

    #[test]
    fn hours_and_days_begin_at_their_start() {
        assert_eq!(start_of(HOUR, 3_600_001), 3_600_000);
        assert_eq!(start_of(DAY, DAY - 1), 0);
    }
}

//! Figures about one quota, from the sums.

use std::collections::BTreeMap;

use super::{
    Bind, Fields, LedgerError, Operation, Session, Statement,
    append::stopped,
    balances::push_time,
    encode,
    summaries::{DAY, HOUR, start_of},
    text,
};
use crate::{
    Amount, UnixMillis,
    ledger::{Bucket, By, Figures, Outcome, Part, Sizes, Span, Statistics, StatisticsQuery},
};

impl Operation for StatisticsQuery {
    type Answer = Statistics;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Statistics, LedgerError> {
        let (from, to) = widened(self.span, self.kept().unit);
        let parts = session.rows(&self.parts(from, to), sum).await?;
        let mut total = Figures::default();
        match &self.by {
            // An attempt without the tag is in no part.
            Some(By::Tag(_)) => {
                let kept = self.kept();
                let mut all = self.select("SELECT 0, '', outcome", kept.sums);
                push_time(&mut all, kept.column, from, to);
                all.push(" GROUP BY outcome");
                let all = session.rows(&all, sum).await?;
                for one in &all {
                    add(&mut total, one);
                }
            }
            None | Some(By::Plan | By::Rule) => {
                for one in &parts {
                    add(&mut total, one);
                }
            }
        }

        let (from, to) = widened(self.span, DAY);
        let mut users =
            self.select_from("SELECT COUNT(*) FROM (SELECT DISTINCT user_id FROM usage_users");
        push_time(&mut users, "day", from, to);
        users.push(") AS users");
        let users = session.rows(&users, |row| row.count(0)).await?;

        let mut sizes =
            self.select_from("SELECT size, CAST(SUM(attempts) AS BIGINT) FROM usage_sizes");
        push_time(&mut sizes, "day", from, to);
        sizes.push(" GROUP BY size ORDER BY size");
        let sizes = session.rows(&sizes, |row| Ok((row.count(0)?, row.count(1)?)));
        let sizes = sizes.await?;
        Ok(Statistics {
            total,
            users: users.first().copied().unwrap_or_default(),
            sizes: percentiles(&sizes),
            parts: collect(self.bucket, parts)?,
        })
    }
}

impl StatisticsQuery {
    /// `SELECT ... FROM ... WHERE` this tenant and quota.
    fn select_from<'a>(&'a self, select: &str) -> Statement<'a> {
        let mut statement = Statement::new(select.to_owned(), Vec::new());
        let tenant = encode::tenant_bind(self.tenant.as_ref());
        statement.push_equal(" WHERE tenant", tenant);
        statement.push_equal(" AND quota", text::bind(self.quota.as_str()));
        statement
    }

    fn select<'a>(&'a self, columns: &str, table: &str) -> Statement<'a> {
        self.select_from(&format!(
            "{columns}, CAST(SUM(attempts) AS BIGINT), CAST(SUM(charged) AS BIGINT) FROM {table}"
        ))
    }

    /// Where the sums for its bucket are kept.
    const fn kept(&self) -> Kept {
        match self.bucket {
            Bucket::Hour => Kept {
                unit: HOUR,
                column: "hour",
                sums: "usage_hours",
                tags: "usage_tags",
            },
            Bucket::Day | Bucket::Month => Kept {
                unit: DAY,
                column: "day",
                sums: "usage_days",
                tags: "usage_tag_days",
            },
        }
    }

    /// The sums by time, group and outcome. Months are put together from days afterwards.
    pub(in crate::ledger) fn parts(&self, from: i64, to: i64) -> Statement<'_> {
        let kept = self.kept();
        let (group, table) = match &self.by {
            None => ("''", kept.sums),
            Some(By::Plan) => ("plan", kept.sums),
            Some(By::Rule) => ("rule", kept.sums),
            Some(By::Tag(_)) => ("value", kept.tags),
        };
        let column = kept.column;
        let mut statement = self.select(&format!("SELECT {column}, {group}, outcome"), table);
        if let Some(By::Tag(name)) = &self.by {
            statement.push_equal(" AND tag", text::bind(name));
        }
        push_time(&mut statement, column, from, to);
        statement.push(" GROUP BY 1, 2, 3");
        statement
    }
}

/// Where sums are kept, and by what time.
struct Kept {
    unit: i64,
    column: &'static str,
    sums: &'static str,
    tags: &'static str,
}

/// From the start of the first unit that is touched to the end of the last.
pub(super) fn widened(span: Span, unit: i64) -> (i64, i64) {
    let integer = |at: UnixMillis| i64::try_from(at.get()).unwrap_or(i64::MAX);
    let to = integer(span.to).saturating_add(unit - 1);
    (start_of(unit, integer(span.from)), start_of(unit, to))
}

struct Sum {
    time: i64,
    group: String,
    outcome: Outcome,
    attempts: u64,
    charged: i64,
}

fn sum(row: &dyn Fields) -> Result<Sum, LedgerError> {
    Ok(Sum {
        time: row.integer(0)?,
        group: text::read(row, 1)?,
        outcome: encode::parse(&row.text(2)?)?,
        attempts: row.count(3)?,
        charged: row.integer(4)?,
    })
}

fn add(figures: &mut Figures, sum: &Sum) {
    figures.charged = stopped(figures.charged, sum.charged);
    if sum.attempts > 0 {
        *figures.attempts.entry(sum.outcome).or_default() += sum.attempts;
    }
}

fn collect(bucket: Bucket, sums: Vec<Sum>) -> Result<Vec<Part>, LedgerError> {
    let mut parts = BTreeMap::<(UnixMillis, String), Figures>::new();
    for mut sum in sums {
        let from = start(bucket, sum.time)?;
        let group = std::mem::take(&mut sum.group);
        add(parts.entry((from, group)).or_default(), &sum);
    }
    Ok(parts
        .into_iter()
        .map(|((from, group), figures)| Part {
            from,
            group,
            figures,
        })
        .collect())
}

/// The start of the part that an instant is in.
pub(super) fn start(bucket: Bucket, at: i64) -> Result<UnixMillis, LedgerError> {
    let millis = match bucket {
        Bucket::Hour => start_of(HOUR, at),
        Bucket::Day => start_of(DAY, at),
        Bucket::Month => {
            let instant = jiff::Timestamp::from_millisecond(at).map_err(super::unreadable)?;
            let date = instant.to_zoned(jiff::tz::TimeZone::UTC).date();
            let first = date.first_of_month().to_zoned(jiff::tz::TimeZone::UTC);
            first
                .map_err(super::unreadable)?
                .timestamp()
                .as_millisecond()
        }
    };
    u64::try_from(millis)
        .map(UnixMillis::new)
        .map_err(super::unreadable)
}

/// The smallest size that so many hundredths of the charges do not pass.
fn percentiles(sizes: &[(u64, u64)]) -> Sizes {
    let total: u128 = sizes.iter().map(|(_, count)| u128::from(*count)).sum();
    let at = |hundredths: u128| {
        let wanted = (total * hundredths).div_ceil(100);
        let mut passed = 0;
        let found = sizes.iter().find(|(_, count)| {
            passed += u128::from(*count);
            passed >= wanted
        });
        Amount::saturating(found.map_or(0, |(size, _)| *size))
    };
    Sizes {
        p50: at(50),
        p90: at(90),
        p99: at(99),
        largest: at(100),
    }
}

/// The name of a user's or quota's column, bound.
pub(super) fn push_optional<'a>(
    statement: &mut Statement<'a>,
    condition: &str,
    bind: Option<Bind<'a>>,
) {
    if let Some(bind) = bind {
        statement.push_equal(condition, bind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_sizes_that_occurred() {
        let sizes = percentiles(&[(1, 50), (2, 40), (7, 9), (100, 1)]);
        let expected = [1, 2, 7, 100].map(Amount::saturating);
        assert_eq!([sizes.p50, sizes.p90, sizes.p99, sizes.largest], expected);
        assert_eq!(percentiles(&[]), Sizes::default());
    }

    #[test]
    fn a_month_begins_on_its_first() {
        // 2024-02-29 12:00 UTC.
        let from = start(Bucket::Month, 1_709_208_000_000).unwrap();
        assert_eq!(from, UnixMillis::new(1_706_745_600_000));
    }
}

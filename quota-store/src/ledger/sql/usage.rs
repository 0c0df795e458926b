//! What one user used.

use std::collections::BTreeMap;

use super::{
    Fields, LedgerError, Operation, Session, Statement,
    append::stopped,
    balances::push_time,
    encode,
    statistics::{push_optional, start, widened},
    summaries::DAY,
    text,
};
use crate::{
    QuotaName, UnixMillis,
    ledger::{Bucket, Charged, Outcome, Span, Usage, UsageQuery},
};

impl Operation for UsageQuery {
    type Answer = Vec<Usage>;

    /// Days come from the sums; hours and tags are added up from the user's own rows.
    async fn run<S: Session>(&self, session: &mut S) -> Result<Vec<Usage>, LedgerError> {
        let mut parts = Parts::default();
        if self.by_tag.is_none() && self.bucket != Bucket::Hour {
            for (at, quota, figures) in self.read_sums(session).await? {
                let from = start(self.bucket, at)?;
                parts.add((quota, from, String::new()), figures);
            }
            return Ok(parts.into_usage());
        }
        for row in self.read_log(session).await? {
            self.add(&mut parts, row)?;
        }
        Ok(parts.into_usage())
    }
}

type Key = (QuotaName, UnixMillis, String);

/// Attempts, denied, charged.
type Figures = (i64, i64, i64);

#[derive(Default)]
struct Parts(BTreeMap<Key, Figures>);

impl Parts {
    fn add(&mut self, key: Key, (attempts, denied, charged): Figures) {
        let sums = self.0.entry(key).or_default();
        sums.0 = stopped(sums.0, attempts);
        sums.1 = stopped(sums.1, denied);
        sums.2 = stopped(sums.2, charged);
    }

    fn into_usage(self) -> Vec<Usage> {
        let parts = self.0.into_iter();
        parts
            .map(
                |((quota, from, group), (attempts, denied, charged))| Usage {
                    quota,
                    from,
                    group,
                    attempts: attempts.max(0).unsigned_abs(),
                    denied: denied.max(0).unsigned_abs(),
                    charged,
                },
            )
            .collect()
    }
}

struct LogRow {
    at: i64,
    outcome: Outcome,
    charges: Vec<Charged>,
    tags: BTreeMap<String, String>,
    count: i64,
}

fn log_row(row: &dyn Fields) -> Result<LogRow, LedgerError> {
    Ok(LogRow {
        at: row.integer(0)?,
        outcome: encode::parse(&row.text(1)?)?,
        charges: encode::charges(&row.text(2)?)?,
        tags: text::from_json(&row.text(3)?)?,
        count: row.integer(4)?,
    })
}

impl UsageQuery {
    fn select<'a>(&'a self, select: &'static str) -> Statement<'a> {
        let mut statement = Statement::new(select, Vec::new());
        let tenant = encode::tenant_bind(self.requester.tenant.as_ref());
        statement.push_equal(" WHERE tenant", tenant);
        let user = text::bind(self.requester.user.as_str());
        statement.push_equal(" AND user_id", user);
        statement
    }

    async fn read_sums<S: Session>(
        &self,
        session: &mut S,
    ) -> Result<Vec<(i64, QuotaName, Figures)>, LedgerError> {
        let mut statement =
            self.select("SELECT day, quota, attempts, denied, charged FROM usage_users");
        let quota = self.quota.as_ref().map(|quota| text::bind(quota.as_str()));
        push_optional(&mut statement, " AND quota", quota);
        let (from, to) = widened(self.span, DAY);
        push_time(&mut statement, "day", from, to);
        let rows = session.rows(&statement, |row| {
            let figures = (row.integer(2)?, row.integer(3)?, row.integer(4)?);
            Ok((row.integer(0)?, encode::parse(&row.text(1)?)?, figures))
        });
        rows.await
    }

    async fn read_log<S: Session>(&self, session: &mut S) -> Result<Vec<LogRow>, LedgerError> {
        let mut statement = self.select(
            "SELECT at, outcome, CAST(charges AS TEXT), CAST(tags AS TEXT), attempts \
             FROM attempts",
        );
        let (from, to) = match self.bucket {
            Bucket::Hour => self.exact(),
            Bucket::Day | Bucket::Month => widened(self.span, DAY),
        };
        push_time(&mut statement, "at", from, to);
        session.rows(&statement, log_row).await
    }

    fn exact(&self) -> (i64, i64) {
        let Span { from, to } = self.span;
        let integer = |at: UnixMillis| i64::try_from(at.get()).unwrap_or(i64::MAX);
        (integer(from), integer(to))
    }

    fn add(&self, parts: &mut Parts, mut row: LogRow) -> Result<(), LedgerError> {
        let group = match &self.by_tag {
            None => String::new(),
            Some(name) => match row.tags.remove(name) {
                Some(value) => value,
                None => return Ok(()),
            },
        };
        let from = start(self.bucket, row.at)?;
        let count = match row.outcome {
            Outcome::Correction => 0,
            _ => row.count,
        };
        let denied = if row.outcome == Outcome::Denied {
            count
        } else {
            0
        };
        for charge in row.charges {
            if self
                .quota
                .as_ref()
                .is_none_or(|quota| charge.quota == *quota)
            {
                let key = (charge.quota, from, group.clone());
                parts.add(key, (count, denied, charge.charged));
            }
        }
        Ok(())
    }
}

//! What counters should say.

use std::borrow::Cow;

use super::{
    Bind, Fields, LedgerError, Operation, Session, Statement,
    append::{changes, stopped},
    encode::{self, CounterRow, POSTING},
    summaries::{DAY, HOUR, start_of},
    text, unreadable,
};
use crate::{
    Amount, CounterKey, QuotaName, Requester, ReservationId, Scope, Subject, TenantId, UnixMillis,
    UserId,
    ledger::{Balance, PostingKind, Span},
};

/// What counters of one requester should say.
pub(super) struct Used(pub(super) Requester, pub(super) Vec<CounterKey>);

impl Operation for Used {
    type Answer = Vec<Amount>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Vec<Amount>, LedgerError> {
        let Self(requester, counters) = self;
        let mut amounts = Vec::with_capacity(counters.len());
        for counter in counters {
            let row = row_of(requester, counter)?;
            let used = read_counter(session, &row).await?;
            amounts.push(shown(used.map_or(0, |(_, used)| used)));
        }
        Ok(amounts)
    }
}

fn row_of(requester: &Requester, counter: &CounterKey) -> Result<CounterRow, LedgerError> {
    CounterRow::of(requester.tenant.as_ref(), Some(&requester.user), counter)
}

/// Opening balance and used of one counter.
async fn read_counter<S: Session>(
    session: &mut S,
    counter: &CounterRow,
) -> Result<Option<(i64, i64)>, LedgerError> {
    let statement = Statement::new(
        "SELECT opening, used FROM counters WHERE tenant = ?1 AND user_id = ?2 AND quota = ?3 \
         AND window_kind = ?4 AND span_start = ?5 AND span_end = ?6",
        counter.binds(),
    );
    let rows = session.rows(&statement, |row| Ok((row.integer(0)?, row.integer(1)?)));
    Ok(rows.await?.pop())
}

/// A sum as a counter shows it: a correction may come before what it corrects, and then it is
/// negative for a moment.
pub(super) fn shown(sum: i64) -> Amount {
    Amount::ZERO.saturating_add_signed(sum)
}

/// Opening balance and postings, added up anew.
pub(super) struct Recount(pub(super) Requester, pub(super) CounterKey);

impl Operation for Recount {
    type Answer = Amount;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Amount, LedgerError> {
        let Self(requester, counter) = self;
        let row = row_of(requester, counter)?;
        let opening = read_counter(session, &row).await?;
        let mut statement = Statement::new(
            format!("SELECT {POSTING} FROM postings WHERE tenant = ?1"),
            vec![encode::tenant_bind(requester.tenant.as_ref())],
        );
        if counter.scope == Scope::User {
            statement.push_equal(" AND user_id", text::bind(requester.user.as_str()));
        }
        let postings = session.rows(&statement, encode::posting).await?;
        let changes = changes(&postings.iter().collect::<Vec<_>>())?;
        let opening = opening.map_or(0, |(opening, _)| opening);
        let change = changes.get(&row).copied().unwrap_or_default();
        Ok(shown(stopped(opening, change)))
    }
}

/// Whether a change of counters is there.
pub(super) struct IsPosted(pub(super) ReservationId, pub(super) PostingKind);

impl Operation for IsPosted {
    type Answer = bool;

    async fn run<S: Session>(&self, session: &mut S) -> Result<bool, LedgerError> {
        let statement = Statement::new(
            "SELECT 1 FROM postings WHERE reservation = ?1 AND kind = ?2",
            vec![
                Bind::Id(self.0.as_uuid()),
                Bind::Text(self.1.as_str().into()),
            ],
        );
        let found = session.rows(&statement, |row| row.integer(0)).await?;
        Ok(!found.is_empty())
    }
}

/// What [`balance`] reads.
pub(super) const BALANCE: &str =
    "SELECT tenant, user_id, quota, window_kind, span_start, span_end, used FROM counters";

/// The pseudonyms of those who were forgotten: `forgotten-` and 32 digits of a UUID.
const PSEUDONYM: &str = "forgotten-________________________________";

/// Counters of one partition whose windows have not ended; not those of people who were forgotten,
/// whom no store counts any more.
pub(super) struct Balances {
    pub(super) partition: u8,
    pub(super) now: UnixMillis,
    pub(super) after: Option<Balance>,
    pub(super) limit: u32,
}

impl Operation for Balances {
    type Answer = Vec<Balance>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Vec<Balance>, LedgerError> {
        let after = self.after.as_ref().map(counter_of).transpose()?;
        let mut statement = Statement::new(
            format!(
                "{BALANCE} WHERE partition_number = ?1 AND span_end > ?2 \
                 AND user_id NOT LIKE '{PSEUDONYM}'"
            ),
            vec![
                Bind::Integer(self.partition.into()),
                encode::millis(self.now)?,
            ],
        );
        if let Some(after) = &after {
            statement.push(
                " AND (span_end, tenant, user_id, quota, window_kind, span_start) \
                 > (?3, ?4, ?5, ?6, ?7, ?8)",
            );
            statement.binds.extend([
                Bind::Integer(after.end),
                Bind::Text(Cow::Borrowed(&after.tenant)),
                Bind::Text(Cow::Borrowed(&after.user)),
                Bind::Text(after.quota.as_str().into()),
                Bind::Text(Cow::Borrowed(&after.window)),
                Bind::Integer(after.start),
            ]);
        }
        statement
            .push(" ORDER BY span_end, tenant, user_id, quota, window_kind, span_start LIMIT ");
        statement.push_bind(Bind::Integer(self.limit.into()));
        session.rows(&statement, balance).await
    }
}

pub(super) fn counter_of(balance: &Balance) -> Result<CounterRow, LedgerError> {
    let (tenant, user) = parts(&balance.subject);
    CounterRow::of(tenant, user, &balance.counter)
}

/// Tenant and user of a subject.
pub(super) fn parts(subject: &Subject) -> (Option<&TenantId>, Option<&UserId>) {
    match subject {
        Subject::User { tenant, user } => (tenant.as_ref(), Some(user)),
        Subject::Tenant(tenant) => (Some(tenant), None),
    }
}

/// Reads tenant and user from `place` on.
pub(super) fn subject(row: &dyn Fields, place: usize) -> Result<Subject, LedgerError> {
    let tenant = encode::tenant(row, place)?;
    Ok(match encode::user(row, place + 1)? {
        Some(user) => Subject::User { tenant, user },
        None => Subject::Tenant(tenant.ok_or_else(|| unreadable("something of nobody"))?),
    })
}

/// Reads [`BALANCE`].
pub(super) fn balance(row: &dyn Fields) -> Result<Balance, LedgerError> {
    let counter = CounterRow::read(row, 0)?;
    Ok(Balance {
        subject: subject(row, 0)?,
        counter: counter.counter()?,
        used: shown(row.integer(6)?),
    })
}

/// What attempts of a subject were charged within any time.
pub(super) struct ChargedWithin(pub(super) Subject, pub(super) QuotaName, pub(super) Span);

impl Operation for ChargedWithin {
    type Answer = Amount;

    /// Whole days or hours come from the sums, what is left at both ends from the log.
    async fn run<S: Session>(&self, session: &mut S) -> Result<Amount, LedgerError> {
        let Self(subject, _, span) = self;
        let unit = match subject {
            Subject::User { .. } => DAY,
            Subject::Tenant(_) => HOUR,
        };
        let end = |at: UnixMillis| i64::try_from(at.get()).unwrap_or(i64::MAX);
        let (from, to) = (end(span.from), end(span.to));
        let first = start_of(unit, from.saturating_add(unit - 1));
        let last = start_of(unit, to);
        if first >= last {
            return Ok(shown(self.read_log(session, from, to).await?));
        }
        let before = self.read_log(session, from, first).await?;
        let whole = self.read_sums(session, first, last).await?;
        let after = self.read_log(session, last, to).await?;
        Ok(shown(stopped(stopped(before, whole), after)))
    }
}

impl ChargedWithin {
    async fn read_sums<S: Session>(
        &self,
        session: &mut S,
        from: i64,
        to: i64,
    ) -> Result<i64, LedgerError> {
        let Self(subject, quota, _) = self;
        let (tenant, user) = parts(subject);
        let mut statement = Statement::new(
            match user {
                Some(_) => "SELECT charged FROM usage_users WHERE quota = ?1",
                None => "SELECT charged FROM usage_hours WHERE quota = ?1",
            },
            vec![text::bind(quota.as_str())],
        );
        statement.push_equal(" AND tenant", encode::tenant_bind(tenant));
        if let Some(user) = user {
            statement.push_equal(" AND user_id", text::bind(user.as_str()));
        }
        let time = if user.is_some() { "day" } else { "hour" };
        push_time(&mut statement, time, from, to);
        let sums = session.rows(&statement, |row| row.integer(0)).await?;
        Ok(sums.into_iter().fold(0, stopped))
    }

    async fn read_log<S: Session>(
        &self,
        session: &mut S,
        from: i64,
        to: i64,
    ) -> Result<i64, LedgerError> {
        let Self(subject, quota, _) = self;
        if from >= to {
            return Ok(0);
        }
        let (tenant, user) = parts(subject);
        let mut statement = Statement::new(
            "SELECT CAST(charges AS TEXT) FROM attempts WHERE tenant = ?1",
            vec![encode::tenant_bind(tenant)],
        );
        if let Some(user) = user {
            statement.push_equal(" AND user_id", text::bind(user.as_str()));
        }
        push_time(&mut statement, "at", from, to);
        let rows = session.rows(&statement, |row| encode::charges(&row.text(0)?));
        let charges = rows.await?.into_iter().flatten();
        Ok(charges
            .filter(|one| one.quota == *quota)
            .fold(0, |sum, one| stopped(sum, one.charged)))
    }
}

/// `AND TIME >= from AND TIME < to`.
pub(super) fn push_time(statement: &mut Statement<'_>, time: &str, from: i64, to: i64) {
    statement.push(&format!(" AND {time} >= "));
    statement.push_bind(Bind::Integer(from));
    statement.push(&format!(" AND {time} < "));
    statement.push_bind(Bind::Integer(to));
}

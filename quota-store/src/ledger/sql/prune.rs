//! Pruning: rows go, balances stay.

use std::collections::BTreeMap;

use super::{
    Bind, Fields, LedgerError, Operation, Row, Session, Statement,
    append::changes,
    encode::{self, ATTEMPT, CounterRow, POSTING},
    roll_up::is_roll_up,
    schema,
    summaries::{DAY, HOUR, start_of},
};
use crate::{
    UnixMillis,
    ledger::{Attempt, Pruned},
};

/// One step of pruning, a transaction of its own.
///
/// What others depend on goes last: the balance of an ended window when no posting of it is left.
pub(super) struct Prune {
    pub(super) before: UnixMillis,
    pub(super) limit: u32,
}

impl Operation for Prune {
    type Answer = Pruned;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Pruned, LedgerError> {
        session.rewrite_alone().await?;
        let (mut rows, folded) = self.postings(session).await?;
        if rows < self.limit.into() {
            rows += self.attempts(session, self.left(rows)).await?;
        }
        for (table, time, unit) in SUMS {
            if rows < self.limit.into() {
                rows += self
                    .sums(session, table, (time, unit), self.left(rows))
                    .await?;
            }
        }
        let opening: Vec<Row<'_>> = folded
            .iter()
            .map(|(counter, amount)| counter.row(*amount, 0))
            .collect();
        session.insert_adding(&schema::COUNTERS, &opening).await?;
        if rows < self.limit.into() {
            rows += self.counters(session, self.left(rows)).await?;
        }
        Ok(Pruned { rows })
    }
}

/// The sums with the column that says when, and how long its parts are.
const SUMS: [(&super::Table, &str, i64); 6] = [
    (&schema::HOURS, "hour", HOUR),
    (&schema::TAGS, "hour", HOUR),
    (&schema::DAYS, "day", DAY),
    (&schema::TAG_DAYS, "day", DAY),
    (&schema::USERS, "day", DAY),
    (&schema::SIZES, "day", DAY),
];

/// The record of an attempt, by its key.
struct Stored {
    id: uuid::Uuid,
    outcome: String,
    /// `None` where it is unreadable. It goes all the same, or nothing behind it ever would; what
    /// it was found by stays, and leads nowhere.
    attempt: Option<Attempt>,
}

fn stored(row: &dyn Fields) -> Result<Stored, LedgerError> {
    let attempt = encode::attempt(row).inspect_err(|error| {
        tracing::error!(
            target: "quota::ledger",
            error = %error,
            "a record that is pruned is unreadable"
        );
    });
    Ok(Stored {
        id: row.id(0)?,
        outcome: row.text(1)?,
        attempt: attempt.ok(),
    })
}

impl Prune {
    fn left(&self, rows: u64) -> i64 {
        i64::from(self.limit).saturating_sub_unsigned(rows)
    }

    /// A record that others were rolled up into goes with what names them, which are as many rows.
    async fn attempts<S: Session>(&self, session: &mut S, limit: i64) -> Result<u64, LedgerError> {
        let statement = Statement::new(
            format!("SELECT {ATTEMPT} FROM attempts a WHERE a.at < ?1 ORDER BY a.at LIMIT ?2"),
            vec![encode::millis(self.before)?, Bind::Integer(limit)],
        );
        let stored = session.rows(&statement, stored).await?;
        let (mut rows, mut labels, mut rolled_up) = (0, Vec::new(), Vec::new());
        let mut keys: Vec<Row<'_>> = Vec::with_capacity(stored.len());
        for Stored {
            id,
            outcome,
            attempt,
        } in &stored
        {
            if rows >= limit.unsigned_abs() {
                break;
            }
            rows += 1;
            if let Some(attempt) = attempt {
                if is_roll_up(attempt) {
                    rows += u64::from(attempt.count.get()) - 1;
                    rolled_up.push(vec![Bind::Id(*id)]);
                }
                labels.extend(encode::label_rows(attempt)?);
            }
            keys.push(vec![Bind::Id(*id), Bind::Text(outcome.as_str().into())]);
        }
        session.delete(&schema::ATTEMPTS, &keys).await?;
        session.delete(&schema::LABELS, &labels).await?;
        session.delete(&schema::ROLLED_UP, &rolled_up).await?;
        Ok(rows)
    }

    /// Removes postings, and answers what they changed.
    async fn postings<S: Session>(
        &self,
        session: &mut S,
    ) -> Result<(u64, BTreeMap<CounterRow, i64>), LedgerError> {
        let statement = Statement::new(
            format!("SELECT {POSTING} FROM postings WHERE at < ?1 ORDER BY at LIMIT ?2"),
            vec![encode::millis(self.before)?, Bind::Integer(self.left(0))],
        );
        let postings = session.rows(&statement, encode::posting).await?;
        let changes = changes(&postings.iter().collect::<Vec<_>>())?;
        let keys: Vec<Row<'_>> = postings
            .iter()
            .map(|posting| {
                vec![
                    Bind::Id(posting.reservation.as_uuid()),
                    Bind::Text(posting.kind.as_str().into()),
                ]
            })
            .collect();
        session.delete(&schema::POSTINGS, &keys).await?;
        Ok((count(postings.len()), changes))
    }

    async fn counters<S: Session>(&self, session: &mut S, limit: i64) -> Result<u64, LedgerError> {
        let before = encode::millis(self.before)?;
        delete_some(session, &schema::COUNTERS, "span_end", (before, limit)).await
    }

    /// Only hours and days that lie before as a whole.
    async fn sums<S: Session>(
        &self,
        session: &mut S,
        table: &'static super::Table,
        (time, unit): (&'static str, i64),
        limit: i64,
    ) -> Result<u64, LedgerError> {
        let before = i64::try_from(self.before.get()).unwrap_or(i64::MAX);
        let before = Bind::Integer(start_of(unit, before));
        delete_some(session, table, time, (before, limit)).await
    }
}

/// Deletes rows from before an instant, so many at most.
async fn delete_some<S: Session>(
    session: &mut S,
    table: &'static super::Table,
    time: &'static str,
    (before, limit): (Bind<'static>, i64),
) -> Result<u64, LedgerError> {
    let key = super::Table::names(table.key_columns());
    let name = table.name;
    let statement = Statement::new(
        format!(
            "DELETE FROM {name} WHERE ({key}) IN \
             (SELECT {key} FROM {name} WHERE {time} < ?1 ORDER BY {time} LIMIT ?2)"
        ),
        vec![before, Bind::Integer(limit)],
    );
    session.execute(&statement).await
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

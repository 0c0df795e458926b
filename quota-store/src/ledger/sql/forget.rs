//! Forgetting a person: rows and sums stay, under a pseudonym.

use super::{
    Bind, Fields, LedgerError, Operation, Row, Session, Statement, Table,
    encode::{self, CounterRow},
    schema, text,
};
use crate::{Requester, UserId};

/// One step of forgetting, a transaction of its own.
pub(super) struct Forget {
    pub(super) requester: Requester,
    pub(super) pseudonym: UserId,
    pub(super) limit: u32,
}

impl Operation for Forget {
    type Answer = u64;

    async fn run<S: Session>(&self, session: &mut S) -> Result<u64, LedgerError> {
        let attempts = self.rename(
            "UPDATE attempts SET user_id = ?1, metadata = '{}', request_id = NULL, \
             client_ip = NULL, user_agent = NULL WHERE (id, outcome) IN \
             (SELECT id, outcome FROM attempts WHERE tenant = ?2 AND user_id = ?3 \
             ORDER BY at, id, outcome LIMIT ?4)",
        );
        // A commit is found by its attempt, which has the same id, or by the record that this was
        // rolled up into.
        let rolled_up = self.rename(
            "UPDATE postings SET user_id = ?1 WHERE kind = 'commit' AND reservation IN \
             (SELECT p.reservation FROM attempts a \
             CROSS JOIN rolled_up_attempts r CROSS JOIN postings p \
             WHERE a.tenant = ?2 AND a.user_id = ?3 AND a.outcome = 'committed' \
             AND a.attempts > 1 AND r.record = a.id AND p.reservation = r.attempt \
             AND p.kind = 'commit' AND p.user_id = ?3 LIMIT ?4)",
        );
        let commits = self.rename(
            "UPDATE postings SET user_id = ?1 WHERE kind = 'commit' AND reservation IN \
             (SELECT id FROM attempts WHERE tenant = ?2 AND user_id = ?3 \
             ORDER BY at, id, outcome LIMIT ?4)",
        );
        let others = self.rename(
            "UPDATE postings SET user_id = ?1 WHERE (reservation, kind) IN \
             (SELECT reservation, kind FROM postings WHERE kind <> 'commit' \
             AND tenant = ?2 AND user_id = ?3 LIMIT ?4)",
        );
        let audits = self.rename(
            "UPDATE audits SET target = ?1 WHERE id IN (SELECT id FROM audits \
             WHERE tenant = ?2 AND target_kind = 'user' AND target = ?3 LIMIT ?4)",
        );
        session.rewrite_alone().await?;
        let mut rows = super::directory::empty(session, &self.requester).await?;
        let rolled_up = session.execute(&rolled_up).await?;
        rows += rolled_up;
        if rolled_up >= self.limit.into() {
            // The records that tell where the others are stay until the last one is renamed.
            return Ok(rows);
        }
        rows += session.execute(&commits).await?;
        rows += session.execute(&others).await?;
        rows += session.execute(&attempts).await?;
        rows += self.days(session).await?;
        rows += self.counters(session).await?;
        rows += session.execute(&audits).await?;
        Ok(rows)
    }
}

impl Forget {
    fn rename(&self, sql: &'static str) -> Statement<'_> {
        let mut binds = vec![text::bind(self.pseudonym.as_str())];
        binds.extend(self.place());
        Statement::new(sql, binds)
    }

    /// Tenant, user and limit.
    fn place(&self) -> [Bind<'_>; 3] {
        [
            encode::tenant_bind(self.requester.tenant.as_ref()),
            text::bind(self.requester.user.as_str()),
            Bind::Integer(self.limit.into()),
        ]
    }

    async fn counters<S: Session>(&self, session: &mut S) -> Result<u64, LedgerError> {
        let statement = Statement::new(
            "SELECT tenant, user_id, quota, window_kind, span_start, span_end, opening, used \
             FROM counters WHERE tenant = ?1 AND user_id = ?2 LIMIT ?3",
            self.place().into(),
        );
        let rows = session.rows(&statement, |row| {
            Ok((CounterRow::read(row, 0)?, row.integer(6)?, row.integer(7)?))
        });
        let counters = rows.await?;
        let keys: Vec<Row<'_>> = counters.iter().map(|(one, ..)| one.binds()).collect();
        let renamed: Vec<(CounterRow, i64, i64)> = counters
            .iter()
            .map(|(one, opening, used)| {
                let user = text::to_sql(self.pseudonym.as_str()).into_owned();
                (
                    CounterRow {
                        user,
                        ..one.clone()
                    },
                    *opening,
                    *used,
                )
            })
            .collect();
        let rows: Vec<Row<'_>> = renamed
            .iter()
            .map(|(one, opening, used)| one.row(*opening, *used))
            .collect();
        self.replace(session, &schema::COUNTERS, keys, rows).await
    }

    async fn days<S: Session>(&self, session: &mut S) -> Result<u64, LedgerError> {
        let statement = Statement::new(
            "SELECT quota, day, attempts, denied, charged FROM usage_users \
             WHERE tenant = ?1 AND user_id = ?2 LIMIT ?3",
            self.place().into(),
        );
        let days = session.rows(&statement, day).await?;
        let row = |user: &UserId, quota: &str, numbers: &[i64]| {
            let [tenant, ..] = self.place();
            let mut row: Row<'_> =
                vec![tenant.into_owned(), text::bind(user.as_str()).into_owned()];
            row.push(Bind::Text(quota.to_owned().into()));
            row.extend(numbers.iter().copied().map(Bind::Integer));
            row
        };
        let user = &self.requester.user;
        let keys = days
            .iter()
            .map(|(quota, numbers)| row(user, quota, &numbers[..1]));
        let rows = days
            .iter()
            .map(|(quota, numbers)| row(&self.pseudonym, quota, numbers));
        let (keys, rows) = (keys.collect(), rows.collect());
        self.replace(session, &schema::USERS, keys, rows).await
    }

    async fn replace<S: Session>(
        &self,
        session: &mut S,
        table: &'static Table,
        keys: Vec<Row<'_>>,
        rows: Vec<Row<'_>>,
    ) -> Result<u64, LedgerError> {
        session.delete(table, &keys).await?;
        session.insert_adding(table, &rows).await?;
        Ok(u64::try_from(keys.len()).unwrap_or(u64::MAX))
    }
}

fn day(row: &dyn Fields) -> Result<(String, [i64; 4]), LedgerError> {
    let numbers = [
        row.integer(1)?,
        row.integer(2)?,
        row.integer(3)?,
        row.integer(4)?,
    ];
    Ok((row.text(0)?, numbers))
}

//! What is known of users and tenants.

use super::{
    super::{
        Fields, Operation, Row,
        balances::{parts, subject},
        encode as columns, schema, text,
    },
    Bind, LedgerError, Session, Statement, encode, integer, made, next,
};
use crate::{
    Generation, Requester, Subject,
    directory::{AssignedQuery, Entries, Entry, EntryChange, Replaced},
    ledger::Page,
};

const ENTRY: &str = "SELECT user_id, generation, assignments, overrides FROM directory_entries";

/// What is known of a user and its tenant.
pub(super) struct OfRequester(pub(super) Requester);

impl Operation for OfRequester {
    type Answer = Entries;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Entries, LedgerError> {
        let tenant = self.0.tenant.as_ref();
        let mut found = Entries {
            user: Entry::default(),
            tenant: tenant.map(|_| Entry::default()),
        };
        for (is_tenant, entry) in session.rows(&entries(&self.0), entry).await? {
            if is_tenant {
                found.tenant = Some(entry);
            } else {
                found.user = entry;
            }
        }
        Ok(found)
    }
}

/// Both rows in one statement. Without a tenant there is no row without a user.
pub(in crate::ledger) fn entries(requester: &Requester) -> Statement<'_> {
    Statement::new(
        format!("{ENTRY} WHERE tenant = ?1 AND user_id IN (?2, '')"),
        vec![
            columns::tenant_bind(requester.tenant.as_ref()),
            text::bind(requester.user.as_str()),
        ],
    )
}

/// What is known of a subject.
pub(super) struct OfSubject(pub(super) Subject);

impl Operation for OfSubject {
    type Answer = Entry;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Entry, LedgerError> {
        let statement = Statement::new(
            format!("{ENTRY} WHERE tenant = ?1 AND user_id = ?2"),
            key(&self.0).into(),
        );
        let found = session.rows(&statement, entry).await?.pop();
        Ok(found.map(|(_, entry)| entry).unwrap_or_default())
    }
}

/// Tenant and user, as the tables have them.
fn key(subject: &Subject) -> [Bind<'_>; 2] {
    let (tenant, user) = parts(subject);
    [columns::tenant_bind(tenant), columns::user_bind(user)]
}

/// An entry, and whether it is that of a tenant.
fn entry(row: &dyn Fields) -> Result<(bool, Entry), LedgerError> {
    let entry = Entry {
        generation: Generation(row.count(1)?),
        assignments: encode::read_assignments(&row.text(2)?)?,
        overrides: encode::read_overrides(&row.text(3)?)?,
    };
    Ok((row.text(0)?.is_empty(), entry))
}

impl Operation for EntryChange {
    type Answer = Replaced;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Replaced, LedgerError> {
        if let Some(generation) = made(session, &self.audit).await? {
            return Ok(Replaced::Done(generation));
        }
        let before = integer(self.entry.generation)?;
        let after = next(before)?;
        if session.execute(&write(self, before, after)?).await? == 1 {
            assign(session, self).await?;
            super::audit(session, &self.audit, after).await?;
            return Ok(Replaced::Done(Generation(after.unsigned_abs())));
        }
        // It may have waited for itself.
        if let Some(generation) = made(session, &self.audit).await? {
            return Ok(Replaced::Done(generation));
        }
        let now = OfSubject(self.subject.clone()).run(session).await?;
        Ok(Replaced::Outdated(now.generation))
    }
}

/// Writes an entry that is still at the generation before; no row is the first one.
fn write(change: &EntryChange, before: i64, after: i64) -> Result<Statement<'_>, LedgerError> {
    let sql = if before == 0 {
        "INSERT INTO directory_entries (tenant, user_id, assignments, overrides, generation) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING"
    } else {
        "UPDATE directory_entries SET assignments = ?3, overrides = ?4, generation = ?5 \
         WHERE tenant = ?1 AND user_id = ?2 AND generation = ?6"
    };
    let mut statement = Statement::new(sql, key(&change.subject).into());
    statement.binds.extend([
        encode::assignments(&change.entry.assignments)?,
        encode::overrides(&change.entry.overrides)?,
        Bind::Integer(after),
    ]);
    if before > 0 {
        statement.binds.push(Bind::Integer(before));
    }
    Ok(statement)
}

/// Notes which plans the assignments name.
async fn assign<S: Session>(session: &mut S, change: &EntryChange) -> Result<(), LedgerError> {
    unassign(session, key(&change.subject)).await?;
    let ends = encode::ends(&change.entry.assignments);
    let rows: Vec<Row<'_>> = ends
        .into_iter()
        .map(|(plan, end)| {
            let [tenant, user] = key(&change.subject);
            vec![Bind::Text(plan.into()), tenant, user, Bind::Integer(end)]
        })
        .collect();
    session.insert_new(&schema::ASSIGNED_PLANS, &rows).await?;
    Ok(())
}

async fn unassign<S: Session>(session: &mut S, key: [Bind<'_>; 2]) -> Result<u64, LedgerError> {
    let statement = Statement::new(
        "DELETE FROM assigned_plans WHERE tenant = ?1 AND user_id = ?2",
        key.into(),
    );
    session.execute(&statement).await
}

/// Empties the entry of a user that is forgotten. The generation goes on, so the row stays.
pub(in crate::ledger) async fn empty<S: Session>(
    session: &mut S,
    requester: &Requester,
) -> Result<u64, LedgerError> {
    let key = || {
        [
            columns::tenant_bind(requester.tenant.as_ref()),
            text::bind(requester.user.as_str()),
        ]
    };
    let statement = Statement::new(
        "UPDATE directory_entries \
         SET assignments = '[]', overrides = '[]', generation = generation + 1 \
         WHERE tenant = ?1 AND user_id = ?2 AND (assignments <> '[]' OR overrides <> '[]')",
        key().into(),
    );
    let emptied = session.execute(&statement).await?;
    unassign(session, key()).await?;
    Ok(emptied)
}

impl Operation for AssignedQuery {
    type Answer = Page<Subject, Subject>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Self::Answer, LedgerError> {
        let mut rows = session
            .rows(&assigned(self)?, |row| subject(row, 0))
            .await?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).cloned();
        Ok(Page { rows, next })
    }
}

pub(in crate::ledger) fn assigned(query: &AssignedQuery) -> Result<Statement<'_>, LedgerError> {
    let mut statement = Statement::new(
        "SELECT tenant, user_id FROM assigned_plans WHERE plan = ?1 AND ends_at > ?2",
        vec![text::bind(query.plan.as_str()), columns::millis(query.now)?],
    );
    let after = query.after.as_ref().map(key);
    match (&query.tenant, after) {
        (None, None) => {}
        (None, Some([tenant, user])) => {
            statement.push(" AND (tenant, user_id) > (");
            statement.push_bind(tenant);
            statement.push(", ");
            statement.push_bind(user);
            statement.push(")");
        }
        (Some(tenant), after) => {
            statement.push_equal(" AND tenant", text::bind(tenant.as_str()));
            if let Some([_, user]) = after {
                statement.push(" AND user_id > ");
                statement.push_bind(user);
            }
        }
    }
    statement.push(" ORDER BY tenant, user_id LIMIT ");
    // One more than asked for tells whether there is a next page.
    statement.push_bind(Bind::Integer(i64::from(query.limit) + 1));
    Ok(statement)
}

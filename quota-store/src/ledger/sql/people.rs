//! Who is in the ledger, and who uses how much.

use super::{
    Bind, LedgerError, Operation, Session, Statement,
    balances::{BALANCE, balance, counter_of, parts},
    encode, text,
};
use crate::{
    Subject, TenantId, UserId,
    ledger::{Balance, HolderCursor, HoldersOrder, HoldersQuery, LastSeen, Page, PlanAtTheTime},
};

/// What is sorted by: a sum that is below zero for a moment is shown as zero.
const LEAST_LAST: &str = "CASE WHEN used > 0 THEN -used ELSE 0 END";

impl Operation for HoldersQuery {
    type Answer = Page<Balance, HolderCursor>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Self::Answer, LedgerError> {
        let rows = session.rows(&holders(self)?, balance).await?;
        Ok(page(rows, self.limit, |last| match &last.subject {
            Subject::User { user, .. } => Some(HolderCursor {
                used: last.used,
                user: user.clone(),
                counter: last.counter.clone(),
            }),
            Subject::Tenant(_) => None,
        }))
    }
}

/// Takes away the row more than was asked for, which tells that there is a next page.
fn page<T, C>(mut rows: Vec<T>, limit: u32, cursor: impl Fn(&T) -> Option<C>) -> Page<T, C> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more).and_then(cursor);
    Page { rows, next }
}

/// By name, the rows of a tenant are read in the order of their key. By what was used, those of the
/// open windows are read from an index and sorted: `counters_by_quota` for one window of one quota,
/// else `counters_by_tenant`. What is written with `NOT` chooses no index in SQLite; Postgres knows
/// what it means, and chooses by its figures.
pub(in crate::ledger) fn holders(query: &HoldersQuery) -> Result<Statement<'_>, LedgerError> {
    let is_by_name = query.order == HoldersOrder::Name;
    let is_led_by_quota = !is_by_name && query.quota.is_some() && query.window.is_some();
    let (aside, equals) = if is_led_by_quota {
        ("", "=")
    } else {
        ("NOT ", "<>")
    };
    let is_user = if is_by_name { ">" } else { "<>" };
    let sql = format!("{BALANCE} WHERE user_id {is_user} ''");
    let mut statement = Statement::new(sql, Vec::new());
    statement.push_equal(" AND tenant", encode::tenant_bind(query.tenant.as_ref()));
    if let Some(quota) = &query.quota {
        statement.push(&format!(" AND {aside}quota {equals} "));
        statement.push_bind(text::bind(quota.as_str()));
    }
    if let Some(window) = query.window {
        statement.push(&format!(" AND {aside}window_kind {equals} "));
        statement.push_bind(Bind::Text(window.to_string().into()));
    }
    statement.push(if is_by_name {
        " AND NOT span_end <= "
    } else {
        " AND span_end > "
    });
    statement.push_bind(encode::millis(query.now)?);
    statement.push(" AND span_start <= ");
    statement.push_bind(encode::millis(query.now)?);
    let first = if is_by_name {
        String::new()
    } else {
        format!("{LEAST_LAST}, ")
    };
    if let Some(after) = &query.after {
        push_after(&mut statement, query, after, &first)?;
    }
    statement.push(&format!(
        " ORDER BY {first}user_id, quota, window_kind, span_start, span_end LIMIT "
    ));
    statement.push_bind(Bind::Integer(i64::from(query.limit) + 1));
    Ok(statement)
}

fn push_after(
    statement: &mut Statement<'_>,
    query: &HoldersQuery,
    after: &HolderCursor,
    first: &str,
) -> Result<(), LedgerError> {
    let counter = counter_of(&Balance {
        subject: Subject::User {
            tenant: query.tenant.clone(),
            user: after.user.clone(),
        },
        counter: after.counter.clone(),
        used: after.used,
    })?;
    statement.push(&format!(
        " AND ({first}user_id, quota, window_kind, span_start, span_end) > ("
    ));
    if !first.is_empty() {
        statement.push_bind(Bind::Integer(-after.used.get().cast_signed()));
        statement.push(", ");
    }
    // All but the tenant.
    for (place, bind) in counter.binds().into_iter().skip(1).enumerate() {
        if place > 0 {
            statement.push(", ");
        }
        statement.push_bind(bind.into_owned());
    }
    statement.push(")");
    Ok(())
}

/// The last attempt of a subject.
pub(super) struct LastSeenOf(pub(super) Subject);

impl Operation for LastSeenOf {
    type Answer = Option<LastSeen>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Self::Answer, LedgerError> {
        let statement = last_seen(&self.0);
        let found = session.rows(&statement, |row| {
            let plan = match (row.optional_text(1)?, row.optional_text(2)?) {
                (Some(plan), Some(source)) => Some(PlanAtTheTime {
                    plan: encode::parse(&plan)?,
                    source: encode::parse(&source)?,
                }),
                _ => None,
            };
            Ok(LastSeen {
                at: encode::at(row, 0)?,
                plan,
            })
        });
        Ok(found.await?.pop())
    }
}

pub(in crate::ledger) fn last_seen(subject: &Subject) -> Statement<'_> {
    let (tenant, user) = parts(subject);
    let mut statement = Statement::new("SELECT at, plan, plan_source FROM attempts", Vec::new());
    statement.push_equal(" WHERE tenant", encode::tenant_bind(tenant));
    if let Some(user) = user {
        statement.push_equal(" AND user_id", text::bind(user.as_str()));
    }
    statement.push(" ORDER BY at DESC, id DESC, outcome DESC LIMIT 1");
    statement
}

/// The users of a tenant.
pub(in crate::ledger) struct Seen {
    pub(in crate::ledger) tenant: Option<TenantId>,
    pub(in crate::ledger) after: Option<UserId>,
    pub(in crate::ledger) limit: u32,
}

impl Operation for Seen {
    type Answer = Page<UserId, UserId>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Self::Answer, LedgerError> {
        let statement = self.users();
        let users = session.rows(&statement, |row| encode::user(row, 0)).await?;
        let users = users.into_iter().flatten().collect();
        Ok(page(users, self.limit, |last: &UserId| Some(last.clone())))
    }
}

impl Seen {
    /// From each user a step to the next one: a user has many rows, and they are not read.
    pub(in crate::ledger) fn users(&self) -> Statement<'_> {
        let next = |after: &str| {
            let first = |table: &str| {
                format!(
                    "SELECT user_id FROM (SELECT user_id FROM {table} WHERE tenant = ?1 \
                     AND user_id > {after} ORDER BY user_id LIMIT 1) AS of_{table}"
                )
            };
            let (counters, attempts) = (first("counters"), first("attempts"));
            format!("(SELECT MIN(user_id) FROM ({counters} UNION ALL {attempts}) AS next_one)")
        };
        let sql = format!(
            "WITH RECURSIVE seen (place, user_id) AS (\
             SELECT CAST(1 AS BIGINT), {} UNION ALL \
             SELECT seen.place + 1, {} FROM seen WHERE seen.place < ?3 AND seen.user_id IS NOT NULL) \
             SELECT user_id FROM seen WHERE user_id IS NOT NULL ORDER BY place",
            next("?2"),
            next("seen.user_id"),
        );
        Statement::new(
            sql,
            vec![
                encode::tenant_bind(self.tenant.as_ref()),
                encode::user_bind(self.after.as_ref()),
                Bind::Integer(i64::from(self.limit) + 1),
            ],
        )
    }
}

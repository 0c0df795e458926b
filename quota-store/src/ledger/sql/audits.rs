//! What administrators did, page by page.

use super::{
    Bind, Fields, LedgerError, Operation, Session, Statement, encode, statistics::push_optional,
    text, unreadable,
};
use crate::ledger::{Audit, AuditCursor, AuditPage, AuditQuery, Page, Target};

const AUDIT: &str = "SELECT id, at, actor, tenant, target_kind, target, action, \
     CAST(state_before AS TEXT), CAST(state_after AS TEXT), reason, idempotency_key FROM audits";

impl Operation for AuditQuery {
    type Answer = AuditPage;

    async fn run<S: Session>(&self, session: &mut S) -> Result<AuditPage, LedgerError> {
        let mut rows = session.rows(&page(self)?, audit).await?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(|last| AuditCursor {
            at: last.at,
            id: last.id,
        });
        Ok(Page { rows, next })
    }
}

fn page(query: &AuditQuery) -> Result<Statement<'_>, LedgerError> {
    let mut statement = Statement::new(AUDIT, Vec::new());
    let tenant = encode::tenant_bind(query.tenant.as_ref());
    statement.push_equal(" WHERE tenant", tenant);
    if let Some(target) = &query.target {
        let kind = Bind::Text(target.kind().into());
        statement.push_equal(" AND target_kind", kind);
        statement.push_equal(" AND target", text::bind(target.name()));
    }
    let actor = query.actor.as_deref().map(text::bind);
    push_optional(&mut statement, " AND actor", actor);
    let action = query.action.as_deref().map(text::bind);
    push_optional(&mut statement, " AND action", action);
    statement.push(" AND at >= ");
    statement.push_bind(encode::millis(query.span.from)?);
    // Before the first page stands the end of the time, which no row is at.
    let (at, id) = match &query.after {
        Some(cursor) if cursor.at < query.span.to => (cursor.at, cursor.id),
        _ => (query.span.to, uuid::Uuid::nil()),
    };
    statement.push(" AND (at, id) < (");
    statement.push_bind(encode::millis(at)?);
    statement.push(", ");
    statement.push_bind(Bind::Id(id));
    statement.push(") ORDER BY at DESC, id DESC LIMIT ");
    // One more than asked for tells whether there is a next page.
    statement.push_bind(Bind::Integer(i64::from(query.limit) + 1));
    Ok(statement)
}

fn audit(row: &dyn Fields) -> Result<Audit, LedgerError> {
    let name = text::read(row, 5)?;
    let target = match row.text(4)?.as_str() {
        "user" => Target::User(crate::UserId::new(&name).map_err(unreadable)?),
        "tenant" => Target::Tenant,
        "plan" => Target::Plan(encode::parse(&name)?),
        "installation" => Target::Installation,
        _ => return Err(unreadable("an audit of something unknown")),
    };
    Ok(Audit {
        id: row.id(0)?,
        at: encode::at(row, 1)?,
        actor: text::read(row, 2)?,
        tenant: encode::tenant(row, 3)?,
        target,
        action: text::read(row, 6)?,
        before: text::from_json(&row.text(7)?)?,
        after: text::from_json(&row.text(8)?)?,
        reason: text::read(row, 9)?,
        idempotency_key: text::read_optional(row, 10)?,
    })
}

//! The usage log, page by page.

use super::{
    Bind, LedgerError, Operation, Session, Statement,
    encode::{self, ATTEMPT, POSTING},
    roll_up::minute_of,
    text,
};
use crate::{
    ReservationId, TenantId,
    ledger::{Attempt, History, LogCursor, LogPage, LogQuery, Outcome, Page, Posting, PostingKind},
};

impl Operation for LogQuery {
    type Answer = LogPage;

    async fn run<S: Session>(&self, session: &mut S) -> Result<LogPage, LedgerError> {
        let rarest = rarest_label(self, session).await?;
        let statement = page(self, rarest)?;
        let mut rows = session.rows(&statement, encode::attempt).await?;
        let has_more = rows.len() > size(self.limit);
        rows.truncate(size(self.limit));
        let last = rows.last().filter(|_| has_more);
        let next = last.map(|last| LogCursor {
            at: last.at,
            id: last.id,
            outcome: last.outcome,
        });
        Ok(Page { rows, next })
    }
}

fn size(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// One statement for a page.
///
/// One condition leads: an index that begins with the tenant and with it, and goes on with the time,
/// gives the rows in order. A user's rows are the fewest; quotas and tags are found in a table of
/// their own. The other conditions are only looked at, and written so that no index is tempting.
pub(in crate::ledger) fn page(
    query: &LogQuery,
    rarest: usize,
) -> Result<Statement<'_>, LedgerError> {
    let mut labels = labels(query);
    let leader = match query.user {
        None if !labels.is_empty() => Some(labels.remove(rarest)),
        _ => None,
    };
    // The table that leads is called `k`.
    let mut statement = Statement::new(format!("SELECT {ATTEMPT} FROM "), Vec::new());
    statement.push(match leader {
        Some(_) => {
            "attempt_labels k CROSS JOIN attempts a WHERE a.id = k.id AND a.outcome = k.outcome AND "
        }
        None => "attempts a WHERE ",
    });
    let k = if leader.is_some() { "k" } else { "a" };
    let tenant = encode::tenant_bind(query.tenant.as_ref());
    statement.push_equal(&format!("{k}.tenant"), tenant);
    if let Some((label, value)) = leader {
        statement.push_equal(" AND k.label", label);
        statement.push_equal(" AND k.value", value);
    }
    push_conditions(&mut statement, query, k == "k");
    for (label, value) in labels {
        push_label(&mut statement, label, value);
    }
    push_place(&mut statement, query, k)?;
    Ok(statement)
}

/// The labels that are asked for, with their values.
fn labels(query: &LogQuery) -> Vec<(Bind<'_>, Bind<'_>)> {
    let tags = query
        .tags
        .iter()
        .map(|(name, value)| (Bind::Text(encode::tag_label(name)), text::bind(value)));
    let quota = query
        .quota
        .iter()
        .map(|quota| (Bind::Text("quota".into()), text::bind(quota.as_str())));
    tags.chain(quota).collect()
}

/// The place of the label that the fewest attempts have, of those with two labels or more.
async fn rarest_label<S: Session>(query: &LogQuery, session: &mut S) -> Result<usize, LedgerError> {
    let labels = labels(query);
    if query.user.is_some() || labels.len() < 2 {
        return Ok(0);
    }
    let mut rarest = (u64::MAX, 0);
    for (place, (label, value)) in labels.into_iter().enumerate() {
        // What has more than this is frequent, and need not be counted to the end.
        let statement = Statement::new(
            "SELECT COUNT(*) FROM (SELECT 1 FROM attempt_labels WHERE tenant = ?1 \
             AND label = ?2 AND value = ?3 LIMIT 10000) AS counted",
            vec![encode::tenant_bind(query.tenant.as_ref()), label, value],
        );
        let count = session.rows(&statement, |row| row.count(0)).await?;
        rarest = rarest.min((count.first().copied().unwrap_or_default(), place));
    }
    Ok(rarest.1)
}

fn push_conditions<'a>(statement: &mut Statement<'a>, query: &'a LogQuery, mut is_led: bool) {
    let user = query.user.as_ref().map(|user| text::bind(user.as_str()));
    let conditions = [
        ("a.user_id", user),
        ("a.rule", query.rule.as_deref().map(text::bind)),
        ("a.outcome", query.outcome.map(encode::outcome_bind)),
    ];
    for (column, value) in conditions {
        if let Some(value) = value {
            let aside = if is_led { " || ''" } else { "" };
            statement.push_equal(&format!(" AND {column}{aside}"), value);
            is_led = true;
        }
    }
    if query
        .outcome
        .is_some_and(|outcome| outcome != Outcome::Committed)
    {
        // So that the index of these can be used.
        statement.push(" AND a.outcome <> 'committed'");
    }
}

fn push_label<'a>(statement: &mut Statement<'a>, label: Bind<'a>, value: Bind<'a>) {
    statement.push(" AND EXISTS (SELECT 1 FROM attempt_labels o WHERE o.tenant = a.tenant");
    statement.push_equal(" AND o.label", label);
    statement.push_equal(" AND o.value", value);
    statement.push(" AND o.at = a.at AND o.id = a.id AND o.outcome = a.outcome)");
}

/// Where the page begins and ends.
fn push_place<'a>(
    statement: &mut Statement<'a>,
    query: &'a LogQuery,
    k: &str,
) -> Result<(), LedgerError> {
    statement.push(&format!(" AND {k}.at >= "));
    statement.push_bind(encode::millis(query.span.from)?);
    // Before the first page stands the end of the time, which no row is at.
    let (at, id, outcome) = match &query.after {
        Some(cursor) if cursor.at < query.span.to => {
            (cursor.at, cursor.id.as_uuid(), cursor.outcome.as_str())
        }
        _ => (query.span.to, uuid::Uuid::nil(), ""),
    };
    statement.push(&format!(" AND ({k}.at, {k}.id, {k}.outcome) < ("));
    statement.push_bind(encode::millis(at)?);
    statement.push(", ");
    statement.push_bind(Bind::Id(id));
    statement.push(", ");
    statement.push_bind(Bind::Text(outcome.into()));
    statement.push(&format!(
        ") ORDER BY {k}.at DESC, {k}.id DESC, {k}.outcome DESC LIMIT "
    ));
    // One more than asked for tells whether there is a next page.
    statement.push_bind(Bind::Integer(i64::from(query.limit) + 1));
    Ok(())
}

/// Everything about one attempt of one tenant.
pub(super) struct OneAttempt(pub(super) Option<TenantId>, pub(super) ReservationId);

impl Operation for OneAttempt {
    type Answer = Option<History>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Self::Answer, LedgerError> {
        let Self(tenant, id) = self;
        let binds = || vec![Bind::Id(id.as_uuid()), encode::tenant_bind(tenant.as_ref())];
        let attempts = Statement::new(
            format!("SELECT {ATTEMPT} FROM attempts a WHERE a.id = ?1 AND a.tenant = ?2"),
            binds(),
        );
        let mut records = session.rows(&attempts, encode::attempt).await?;
        let postings = Statement::new(
            format!(
                "SELECT {POSTING} FROM postings WHERE reservation = ?1 AND tenant = ?2 ORDER BY kind"
            ),
            binds(),
        );
        let postings = session.rows(&postings, encode::posting).await?;
        let commit = postings.iter().find(|one| one.kind == PostingKind::Commit);
        let is_committed = |record: &Attempt| record.outcome == Outcome::Committed;
        if let Some(commit) = commit
            && !records.iter().any(is_committed)
        {
            let statement = rolled_up(commit)?;
            records.extend(session.rows(&statement, encode::attempt).await?);
        }
        if records.is_empty() && postings.is_empty() {
            return Ok(None);
        }
        records.sort_by_key(|record| record.outcome);
        Ok(Some(History { records, postings }))
    }
}

/// The record that an attempt was rolled up into, by what it changed.
fn rolled_up(commit: &Posting) -> Result<Statement<'_>, LedgerError> {
    let minute = minute_of(commit.at);
    Ok(Statement::new(
        format!(
            "SELECT {ATTEMPT} FROM attempts a WHERE a.tenant = ?1 AND a.user_id = ?2 \
             AND a.at = ?3 AND a.attempts > 1 AND EXISTS (SELECT 1 FROM rolled_up_attempts r \
             WHERE r.record = a.id AND r.attempt = ?4)"
        ),
        vec![
            encode::tenant_bind(commit.tenant.as_ref()),
            encode::user_bind(commit.user.as_ref()),
            encode::millis(minute)?,
            Bind::Id(commit.reservation.as_uuid()),
        ],
    ))
}

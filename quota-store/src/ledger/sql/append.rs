//! Appending a batch: what is new goes in, and only that changes sums.
//!
//! Rows go in by table and key in one order everywhere, so that two transactions never wait for each
//! other in a circle.

use std::collections::BTreeMap;

use super::{
    Bind, LedgerError, Operation, Row, Session, Statement, Table,
    encode::{self, CounterRow, signed},
    schema,
    summaries::Summaries,
    text,
};
use crate::ledger::{Appended, Attempt, Audit, Batch, Posting, StreamMark};

impl Operation for std::sync::Arc<Batch> {
    type Answer = Appended;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Appended, LedgerError> {
        let attempts = append_attempts(session, &self.attempts).await?;
        let postings = append_postings(session, &self.postings).await?;
        let audits = append_audits(session, &self.audits).await?;
        if let Some(mark) = &self.mark {
            advance(session, mark).await?;
        }
        Ok(Appended {
            attempts,
            postings,
            audits,
        })
    }
}

/// Sorts records by their key, and keeps the first of each.
fn in_order<T, K: Ord>(records: &[T], key: impl Fn(&T) -> K) -> Vec<&T> {
    let mut records: Vec<&T> = records.iter().collect();
    records.sort_by_key(|record| key(record));
    records.dedup_by_key(|record| key(record));
    records
}

/// Inserts what is not there yet, and keeps the records that were new.
async fn keep_new<'a, S: Session, T>(
    session: &mut S,
    table: &'static Table,
    records: Vec<&'a T>,
    row: fn(&'a T) -> Result<Row<'a>, LedgerError>,
) -> Result<Vec<&'a T>, LedgerError>
where
    T: Sync,
{
    if records.is_empty() {
        return Ok(records);
    }
    let rows = records
        .iter()
        .map(|record| row(record))
        .collect::<Result<Vec<_>, _>>()?;
    let new = session.insert_new(table, &rows).await?;
    Ok(records
        .into_iter()
        .zip(new)
        .filter_map(|(record, is_new)| is_new.then_some(record))
        .collect())
}

async fn append_attempts<S: Session>(
    session: &mut S,
    attempts: &[Attempt],
) -> Result<usize, LedgerError> {
    let attempts = in_order(attempts, |attempt| (attempt.id, attempt.outcome.as_str()));
    let new = keep_new(session, &schema::ATTEMPTS, attempts, encode::attempt_row).await?;
    if new.is_empty() {
        return Ok(0);
    }
    let mut labels = Vec::new();
    let mut summaries = Summaries::default();
    for attempt in &new {
        labels.extend(encode::label_rows(attempt)?);
        summaries.add(attempt)?;
    }
    session.insert_new(&schema::LABELS, &labels).await?;
    summaries.write(session).await?;
    Ok(new.len())
}

async fn append_postings<S: Session>(
    session: &mut S,
    postings: &[Posting],
) -> Result<usize, LedgerError> {
    let postings = in_order(postings, |posting| {
        (posting.reservation, posting.kind.as_str())
    });
    let new = keep_new(session, &schema::POSTINGS, postings, encode::posting_row).await?;
    let changes = changes(&new)?;
    let rows: Vec<Row<'_>> = changes
        .iter()
        .map(|(counter, amount)| counter.row(0, *amount))
        .collect();
    session.insert_adding(&schema::COUNTERS, &rows).await?;
    Ok(new.len())
}

/// What postings change, by counter.
pub(super) fn changes(postings: &[&Posting]) -> Result<BTreeMap<CounterRow, i64>, LedgerError> {
    let mut changes = BTreeMap::<CounterRow, i64>::new();
    for posting in postings {
        for entry in &posting.entries {
            let (tenant, user) = (posting.tenant.as_ref(), posting.user.as_ref());
            let counter = CounterRow::of(tenant, user, &entry.counter)?;
            let sum = changes.entry(counter).or_default();
            *sum = stopped(*sum, signed(entry.amount)?);
        }
    }
    Ok(changes)
}

/// A sum that stops at the largest amount, on both sides.
pub(super) fn stopped(sum: i64, difference: i64) -> i64 {
    let most = crate::Amount::MAX.get().cast_signed();
    sum.saturating_add(difference).clamp(-most, most)
}

async fn append_audits<S: Session>(
    session: &mut S,
    audits: &[Audit],
) -> Result<usize, LedgerError> {
    let audits = in_order(audits, |audit| audit.id);
    let new = keep_new(session, &schema::AUDITS, audits, audit_row).await?;
    Ok(new.len())
}

fn audit_row(audit: &Audit) -> Result<Row<'_>, LedgerError> {
    Ok(vec![
        Bind::Id(audit.id),
        encode::millis(audit.at)?,
        text::bind(&audit.actor),
        encode::tenant_bind(audit.tenant.as_ref()),
        Bind::Text(audit.target.kind().into()),
        text::bind(audit.target.name()),
        text::bind(&audit.action),
        text::json(&audit.before)?,
        text::json(&audit.after)?,
        text::bind(&audit.reason),
        text::bind_optional(audit.idempotency_key.as_deref()),
    ])
}

async fn advance<S: Session>(session: &mut S, mark: &StreamMark) -> Result<(), LedgerError> {
    let integer = |part: u64| {
        i64::try_from(part)
            .map(Bind::Integer)
            .map_err(|_| super::invalid("a position in a stream is too large"))
    };
    let statement = Statement::new(
        "INSERT INTO streams (stream, millis, sequence) VALUES (?1, ?2, ?3) \
         ON CONFLICT (stream) DO UPDATE \
         SET millis = excluded.millis, sequence = excluded.sequence \
         WHERE (excluded.millis, excluded.sequence) > (streams.millis, streams.sequence)",
        vec![
            text::bind(&mark.stream),
            integer(mark.position.millis)?,
            integer(mark.position.sequence)?,
        ],
    );
    session.execute(&statement).await?;
    Ok(())
}

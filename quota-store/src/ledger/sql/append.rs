//! Appending a batch: what is new goes in, and only that changes sums.
//!
//! Tables are written in one order everywhere, and rows by their key, so that two transactions
//! never wait for each other in a circle: entries of the directory, postings, attempts, labels,
//! sums, counters, audits, marks.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    Bind, LedgerError, Operation, Row, Session, Statement, Table,
    encode::{self, CounterRow, signed},
    schema,
    summaries::{Summaries, SummaryRows},
    text,
};
use crate::{
    ReservationId,
    ledger::{Appended, Attempt, Audit, Batch, Outcome, Posting, PostingKind, StreamMark},
};

/// A batch as rows, made where the caller is: only one transaction writes at a time.
pub(in crate::ledger) struct Append {
    batch: Arc<Batch>,
    attempts: Rows,
    postings: Rows,
    audits: Rows,
    attempt_sums: AttemptSums,
    counters: Vec<Row<'static>>,
}

/// Rows by their key, each key once, with the places of their records in the batch.
struct Rows {
    rows: Vec<Row<'static>>,
    places: Vec<usize>,
}

/// What an attempt is there once for.
type Key = (ReservationId, Outcome);

/// What attempts that are new bring along.
struct AttemptSums {
    labels: Vec<Row<'static>>,
    summaries: SummaryRows,
}

impl Append {
    pub(in crate::ledger) fn new(batch: Arc<Batch>) -> Result<Self, LedgerError> {
        let attempts = Rows::new(
            &batch.attempts,
            |attempt| (attempt.id, attempt.outcome.as_str()),
            encode::attempt_row,
        )?;
        let postings = Rows::new(
            &batch.postings,
            |posting| (posting.reservation, posting.kind.as_str()),
            encode::posting_row,
        )?;
        Ok(Self {
            attempt_sums: AttemptSums::new(&attempts.all(&batch.attempts))?,
            counters: counters(&postings.all(&batch.postings))?,
            audits: Rows::new(&batch.audits, |audit| audit.id, audit_row)?,
            attempts,
            postings,
            batch,
        })
    }

    /// Inserts attempts but those that are known by their postings.
    async fn append_attempts<S: Session>(
        &self,
        session: &mut S,
        known: &HashSet<Key>,
    ) -> Result<usize, LedgerError> {
        let others;
        let rows = if known.is_empty() {
            &self.attempts
        } else {
            others = self.attempts.without(&self.batch.attempts, known);
            &others
        };
        let is_new = rows.insert(session, &schema::ATTEMPTS).await?;
        let new = rows.new_ones(&self.batch.attempts, &is_new);
        if new.len() == self.attempts.rows.len() {
            self.attempt_sums.write(session).await?;
        } else if !new.is_empty() {
            // Some came before: what the others bring is worked out again.
            AttemptSums::new(&new)?.write(session).await?;
        }
        Ok(new.len())
    }

    async fn change_counters<S: Session>(
        &self,
        session: &mut S,
        is_new: &[bool],
    ) -> Result<usize, LedgerError> {
        let new = self.postings.new_ones(&self.batch.postings, is_new);
        if new.len() == is_new.len() {
            session
                .insert_adding(&schema::COUNTERS, &self.counters)
                .await?;
        } else if !new.is_empty() {
            let counters = counters(&new)?;
            session.insert_adding(&schema::COUNTERS, &counters).await?;
        }
        Ok(new.len())
    }

    /// The attempts whose postings were there already. They were there with them, and may be rolled
    /// up since.
    fn known(&self, is_new: &[bool]) -> HashSet<Key> {
        let places = self.postings.places.iter().zip(is_new);
        places
            .filter(|(_, is_new)| !**is_new)
            .filter_map(|(place, _)| {
                let posting = &self.batch.postings[*place];
                let outcome = match posting.kind {
                    PostingKind::Commit => Outcome::Committed,
                    PostingKind::Late => Outcome::Late,
                    _ => return None,
                };
                Some((posting.reservation, outcome))
            })
            .collect()
    }
}

impl Operation for Arc<Append> {
    type Answer = Appended;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Appended, LedgerError> {
        let is_new = self.postings.insert(session, &schema::POSTINGS).await?;
        let known = self.known(&is_new);
        let attempts = self.append_attempts(session, &known).await?;
        let postings = self.change_counters(session, &is_new).await?;
        let audits = self.audits.insert(session, &schema::AUDITS).await?;
        if let Some(mark) = &self.batch.mark {
            advance(session, mark).await?;
        }
        Ok(Appended {
            attempts,
            postings,
            audits: audits.into_iter().filter(|is_new| *is_new).count(),
        })
    }
}

impl Rows {
    /// Sorts records by their key, and keeps the first of each.
    fn new<'a, T, K: Ord>(
        records: &'a [T],
        key: impl Fn(&'a T) -> K,
        row: fn(&'a T) -> Result<Row<'a>, LedgerError>,
    ) -> Result<Self, LedgerError> {
        let mut places: Vec<usize> = (0..records.len()).collect();
        places.sort_by_key(|place| key(&records[*place]));
        places.dedup_by_key(|place| key(&records[*place]));
        let rows = places
            .iter()
            .map(|place| Ok(owned(row(&records[*place])?)))
            .collect::<Result<_, LedgerError>>()?;
        Ok(Self { rows, places })
    }

    fn all<'a, T>(&self, records: &'a [T]) -> Vec<&'a T> {
        self.places.iter().map(|place| &records[*place]).collect()
    }

    fn new_ones<'a, T>(&self, records: &'a [T], is_new: &[bool]) -> Vec<&'a T> {
        let places = self.places.iter().zip(is_new);
        places
            .filter_map(|(place, is_new)| is_new.then_some(&records[*place]))
            .collect()
    }

    /// All but those of these attempts.
    fn without(&self, attempts: &[Attempt], known: &HashSet<Key>) -> Self {
        let others = self.places.iter().zip(&self.rows).filter(|(place, _)| {
            let attempt = &attempts[**place];
            !known.contains(&(attempt.id, attempt.outcome))
        });
        let (places, rows) = others.map(|(place, row)| (*place, row.clone())).unzip();
        Self { rows, places }
    }

    async fn insert<S: Session>(
        &self,
        session: &mut S,
        table: &'static Table,
    ) -> Result<Vec<bool>, LedgerError> {
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        session.insert_new(table, &self.rows).await
    }
}

impl AttemptSums {
    fn new(attempts: &[&Attempt]) -> Result<Self, LedgerError> {
        let mut labels = Vec::new();
        let mut summaries = Summaries::default();
        for attempt in attempts {
            labels.extend(encode::label_rows(attempt)?.into_iter().map(owned));
            summaries.add(attempt)?;
        }
        Ok(Self {
            labels,
            summaries: summaries.rows(),
        })
    }

    async fn write<S: Session>(&self, session: &mut S) -> Result<(), LedgerError> {
        session.insert_new(&schema::LABELS, &self.labels).await?;
        self.summaries.write(session).await
    }
}

fn owned(row: Row<'_>) -> Row<'static> {
    row.into_iter().map(Bind::into_owned).collect()
}

/// Rows that add to counters what postings change.
fn counters(postings: &[&Posting]) -> Result<Vec<Row<'static>>, LedgerError> {
    let changes = changes(postings)?;
    let rows = changes
        .iter()
        .map(|(counter, amount)| owned(counter.row(0, *amount)));
    Ok(rows.collect())
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

pub(super) fn audit_row(audit: &Audit) -> Result<Row<'_>, LedgerError> {
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

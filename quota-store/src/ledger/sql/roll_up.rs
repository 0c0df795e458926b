//! Rolling up: the attempts of a minute become one record, their postings stay.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Bind, Fields,
    Kind::{Integer, Text},
    LedgerError, LedgerErrorKind, Operation, Session, Statement,
    append::stopped,
    encode::{self, ATTEMPT},
    schema,
};
use crate::{
    PlanName, QuotaName, ReservationId, TenantId, UnixMillis, UserId,
    ledger::{Attempt, Charged, LogCursor, Outcome, PlanAtTheTime, PlanSource, RollUp, RolledUp},
};

const MINUTE: u64 = 60_000;

/// The start of the minute that an instant is in.
pub(super) const fn minute_of(at: UnixMillis) -> UnixMillis {
    UnixMillis::new(at.get() - at.get() % MINUTE)
}

/// Whether a record is one that attempts were rolled up into.
pub(super) fn is_roll_up(attempt: &Attempt) -> bool {
    attempt.outcome == Outcome::Committed && attempt.count.get() > 1
}

impl Operation for RollUp {
    type Answer = RolledUp;

    /// Nobody else rewrites records meanwhile, and whoever appends never meets those that are
    /// rolled up, since their postings are there.
    async fn run<S: Session>(&self, session: &mut S) -> Result<RolledUp, LedgerError> {
        session.rewrite_alone().await?;
        let places = session.rows(&self.places()?, place).await?;
        let Some(last) = places.last() else {
            return Ok(RolledUp::default());
        };
        let is_full = u32::try_from(places.len()).is_ok_and(|count| count >= self.limit);
        let next = is_full.then_some(LogCursor {
            at: last.at,
            id: last.id,
            outcome: Outcome::Committed,
        });
        let records = self.records(session, &places).await?;
        let mut rolled_up = Vec::new();
        for records in alike(records).into_values() {
            rolled_up.extend(Minute::of(records));
        }
        let rows = rolled_up.iter().map(|minute| minute.replaced().count() - 1);
        let rows = u64::try_from(rows.sum::<usize>()).unwrap_or(u64::MAX);
        write(session, &rolled_up).await?;
        Ok(RolledUp { rows, next })
    }
}

/// Where a committed attempt stands.
struct Place {
    tenant: Option<TenantId>,
    user: Option<UserId>,
    at: UnixMillis,
    id: ReservationId,
}

fn place(row: &dyn Fields) -> Result<Place, LedgerError> {
    Ok(Place {
        tenant: encode::tenant(row, 0)?,
        user: encode::user(row, 1)?,
        at: encode::at(row, 2)?,
        id: row.id(3)?.into(),
    })
}

impl RollUp {
    /// What is looked at in this step.
    fn places(&self) -> Result<Statement<'_>, LedgerError> {
        let mut statement = Statement::new(
            "SELECT a.tenant, a.user_id, a.at, a.id FROM attempts a \
             WHERE a.outcome = 'committed' AND a.at >= ",
            Vec::new(),
        );
        // The index begins where the step before ended, or it would be read from the start again.
        let from = self.after.as_ref().map_or(self.span.from, |after| after.at);
        statement.push_bind(encode::millis(from)?);
        statement.push(" AND a.at < ");
        statement.push_bind(encode::millis(self.span.to)?);
        if let Some(after) = &self.after {
            statement.push(" AND (a.at, a.id) > (");
            statement.push_bind(encode::millis(after.at)?);
            statement.push(", ");
            statement.push_bind(Bind::Id(after.id.as_uuid()));
            statement.push(")");
        }
        statement.push(" ORDER BY a.at, a.id LIMIT ");
        statement.push_bind(Bind::Integer(self.limit.into()));
        Ok(statement)
    }

    /// All that may be rolled up of the users and minutes of these places, up to the last one: the
    /// step before may have left some of the minute, or a record of it.
    async fn records<S: Session>(
        &self,
        session: &mut S,
        places: &[Place],
    ) -> Result<Vec<Attempt>, LedgerError> {
        let last = places.last().map_or(self.span.from, |last| last.at);
        let minutes: BTreeSet<_> = places
            .iter()
            .map(|place| (&place.tenant, &place.user, minute_of(place.at)))
            .collect();
        let mut keys = Vec::with_capacity(minutes.len());
        for (tenant, user, minute) in minutes {
            let end = UnixMillis::new(minute.get() + MINUTE - 1);
            keys.push(vec![
                encode::tenant_bind(tenant.as_ref()),
                encode::user_bind(user.as_ref()),
                encode::millis(minute)?,
                encode::millis(if end < last { end } else { last })?,
            ]);
        }
        let sql = format!(
            "SELECT {ATTEMPT} FROM {{keys}} k CROSS JOIN attempts a \
             WHERE a.tenant = k.tenant AND a.user_id = k.user_id \
             AND a.at >= k.first_at AND a.at <= k.last_at AND a.outcome = 'committed' \
             AND (a.attempts > 1 OR EXISTS (SELECT 1 FROM postings p \
             WHERE p.reservation = a.id AND p.kind = 'commit'))"
        );
        let columns = [
            ("tenant", Text),
            ("user_id", Text),
            ("first_at", Integer),
            ("last_at", Integer),
        ];
        let records = session.rows_by_key(&sql, &columns, &keys, encode::attempt);
        let mut records = records.await?;
        records.retain(|record| {
            let mut charges = record.charges.iter();
            !record.charges.is_empty() && charges.all(|one| self.quotas.contains(&one.quota))
        });
        Ok(records)
    }
}

/// What attempts have in common that become one record.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    tenant: Option<TenantId>,
    user: Option<UserId>,
    minute: UnixMillis,
    plan: Option<(PlanName, PlanSource)>,
    rule: Option<String>,
    revision: String,
    status: Option<u16>,
    cause: Option<String>,
    tags: BTreeMap<String, String>,
    quotas: Vec<QuotaName>,
}

impl Alike {
    fn of(record: &Attempt) -> Self {
        let plan = |plan: &PlanAtTheTime| (plan.plan.clone(), plan.source);
        Self {
            tenant: record.tenant.clone(),
            user: record.user.clone(),
            minute: minute_of(record.at),
            plan: record.plan.as_ref().map(plan),
            rule: record.rule.clone(),
            revision: record.revision.clone(),
            status: record.status,
            cause: record.cause.clone(),
            tags: record.tags.clone(),
            quotas: record.charges.iter().map(|one| one.quota.clone()).collect(),
        }
    }
}

fn alike(records: Vec<Attempt>) -> BTreeMap<Alike, Vec<Attempt>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for record in records {
        groups.entry(Alike::of(&record)).or_default().push(record);
    }
    groups
}

/// A record of a minute, and what it takes the place of.
struct Minute {
    record: Attempt,
    /// The record of the minute so far, if there is one.
    before: Option<Attempt>,
    /// Attempts that were recorded each.
    single: Vec<Attempt>,
}

impl Minute {
    /// `None` where there is nothing to put together.
    fn of(records: Vec<Attempt>) -> Option<Self> {
        let (before, mut single): (Vec<_>, Vec<_>) = records.into_iter().partition(is_roll_up);
        // Of two that stand for the same minute, as for two users with one pseudonym, each stays.
        let before = before.into_iter().next();
        single.sort_by_key(|attempt| attempt.id);
        let count = before.iter().chain(&single).count();
        if single.is_empty() || count < 2 {
            return None;
        }
        let first = before.as_ref().or(single.first())?;
        let mut record = Attempt {
            at: minute_of(first.at),
            latency: None,
            metadata: serde_json::Map::new(),
            request_id: None,
            client_ip: None,
            user_agent: None,
            ..first.clone()
        };
        for other in before.iter().chain(&single).skip(1) {
            record.count = record.count.checked_add(other.count.get())?;
            for (sum, charge) in record.charges.iter_mut().zip(&other.charges) {
                add(sum, charge);
            }
        }
        Some(Self {
            record,
            before,
            single,
        })
    }

    fn replaced(&self) -> impl Iterator<Item = &Attempt> {
        self.before.iter().chain(&self.single)
    }
}

fn add(sum: &mut Charged, charge: &Charged) {
    sum.reserved = sum.reserved.saturating_add(charge.reserved);
    sum.charged = stopped(sum.charged, charge.charged);
}

async fn write<S: Session>(session: &mut S, minutes: &[Minute]) -> Result<(), LedgerError> {
    let (mut keys, mut rows) = (Vec::new(), Vec::new());
    let (mut old_labels, mut labels, mut attempts) = (Vec::new(), Vec::new(), Vec::new());
    for minute in minutes {
        let record = Bind::Id(minute.record.id.as_uuid());
        for replaced in minute.replaced() {
            let outcome = encode::outcome_bind(replaced.outcome);
            keys.push(vec![Bind::Id(replaced.id.as_uuid()), outcome]);
            old_labels.extend(encode::label_rows(replaced)?);
            if replaced.id != minute.record.id {
                attempts.push(vec![record.clone(), Bind::Id(replaced.id.as_uuid())]);
            }
        }
        rows.push(encode::attempt_row(&minute.record)?);
        labels.extend(encode::label_rows(&minute.record)?);
    }
    if rows.is_empty() {
        return Ok(());
    }
    session.delete(&schema::ATTEMPTS, &keys).await?;
    all_new(&session.insert_new(&schema::ATTEMPTS, &rows).await?)?;
    session.delete(&schema::LABELS, &old_labels).await?;
    session.insert_new(&schema::LABELS, &labels).await?;
    all_new(&session.insert_new(&schema::ROLLED_UP, &attempts).await?)
}

/// Ends the transaction where something is there that must not be.
fn all_new(is_new: &[bool]) -> Result<(), LedgerError> {
    if is_new.iter().all(|is_new| *is_new) {
        return Ok(());
    }
    let reason = "records changed while they were rolled up";
    Err(LedgerError::new(LedgerErrorKind::Busy, reason))
}

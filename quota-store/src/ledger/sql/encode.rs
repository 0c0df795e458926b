//! Records as rows, and back.

use std::{borrow::Cow, num::NonZeroU32, time::Duration};

use super::{Bind, Fields, LedgerError, Row, invalid, text, unreadable};
use crate::{
    Amount, Bound, CounterKey, QuotaName, Scope, TenantId, UnixMillis, UserId, WindowSpan,
    ledger::{Attempt, Charged, DeniedBy, Entry, Outcome, PlanAtTheTime, Posting, PostingKind},
    partition,
};

/// The end of a lifetime.
pub(super) const ENDLESS: i64 = i64::MAX;

/// The columns that [`attempt`] reads, in its order.
pub(super) const ATTEMPT: &str = "a.id, a.outcome, a.at, a.tenant, a.user_id, a.plan, \
     a.plan_source, a.rule, CAST(a.charges AS TEXT), a.status, a.cause, a.latency_us, \
     CAST(a.tags AS TEXT), CAST(a.metadata AS TEXT), a.request_id, a.client_ip, a.user_agent, \
     a.revision, CAST(a.denial AS TEXT), a.attempts";

/// The columns that [`posting`] reads, in its order.
pub(super) const POSTING: &str = "reservation, kind, at, tenant, user_id, CAST(entries AS TEXT)";

pub(super) fn millis(at: UnixMillis) -> Result<Bind<'static>, LedgerError> {
    Ok(Bind::Integer(
        i64::try_from(at.get()).map_err(|_| invalid("an instant is too far away"))?,
    ))
}

pub(super) fn at(row: &dyn Fields, place: usize) -> Result<UnixMillis, LedgerError> {
    row.count(place).map(UnixMillis::new)
}

pub(super) fn tenant_bind(tenant: Option<&TenantId>) -> Bind<'_> {
    text::bind_or_empty(tenant.map(TenantId::as_str))
}

pub(super) fn user_bind(user: Option<&UserId>) -> Bind<'_> {
    text::bind_or_empty(user.map(UserId::as_str))
}

pub(super) fn tenant(row: &dyn Fields, place: usize) -> Result<Option<TenantId>, LedgerError> {
    Ok(TenantId::new(&text::read(row, place)?).ok())
}

pub(super) fn user(row: &dyn Fields, place: usize) -> Result<Option<UserId>, LedgerError> {
    Ok(UserId::new(&text::read(row, place)?).ok())
}

/// Reads a word, a name or the like.
pub(super) fn parse<T>(text: &str) -> Result<T, LedgerError>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(unreadable)
}

/// Whether the difference is one that counters can take.
pub(super) fn signed(amount: i64) -> Result<i64, LedgerError> {
    if amount.unsigned_abs() <= Amount::MAX.get() {
        Ok(amount)
    } else {
        Err(invalid(
            "an amount is at most 2^53 - 1, in either direction",
        ))
    }
}

pub(super) fn attempt_row(attempt: &Attempt) -> Result<Row<'_>, LedgerError> {
    let charges = attempt
        .charges
        .iter()
        .map(|one| Ok((one.quota.as_str(), one.reserved.get(), signed(one.charged)?)))
        .collect::<Result<Vec<_>, LedgerError>>()?;
    let plan = attempt.plan.as_ref();
    let latency = attempt
        .latency
        .map(|latency| i64::try_from(latency.as_micros()).unwrap_or(i64::MAX));
    let client_ip = attempt.client_ip.map(|address| address.to_string());
    Ok(vec![
        Bind::Id(attempt.id.as_uuid()),
        Bind::Text(attempt.outcome.as_str().into()),
        millis(attempt.at)?,
        tenant_bind(attempt.tenant.as_ref()),
        user_bind(attempt.user.as_ref()),
        text::bind_optional(plan.map(|plan| plan.plan.as_str())),
        text::bind_optional(plan.map(|plan| plan.source.as_str())),
        text::bind_optional(attempt.rule.as_deref()),
        text::json(&charges)?,
        attempt
            .status
            .map_or(Bind::Null, |status| Bind::Integer(status.into())),
        text::bind_optional(attempt.cause.as_deref()),
        latency.map_or(Bind::Null, Bind::Integer),
        text::json(&attempt.tags)?,
        text::json(&attempt.metadata)?,
        text::bind_optional(attempt.request_id.as_deref()),
        client_ip.map_or(Bind::Null, |address| Bind::Text(Cow::Owned(address))),
        text::bind_optional(attempt.user_agent.as_deref()),
        text::bind(&attempt.revision),
        attempt
            .denial
            .as_ref()
            .map_or(Ok(Bind::Null), denial_bind)?,
        Bind::Integer(attempt.count.get().into()),
    ])
}

type DenialFields = (String, String, Option<u64>, Option<u64>, u64, u64, u64);

fn denial_bind(denial: &DeniedBy) -> Result<Bind<'static>, LedgerError> {
    text::json(&(
        &denial.policy,
        denial.scope.as_str(),
        denial.limit.amount().map(Amount::get),
        denial.hard.amount().map(Amount::get),
        denial.used.get(),
        denial.reserved.get(),
        denial.requested.get(),
    ))
}

fn denial(json: &str) -> Result<DeniedBy, LedgerError> {
    let (policy, scope_word, limit, hard, used, reserved, requested): DenialFields =
        text::from_json(json)?;
    Ok(DeniedBy {
        policy,
        scope: scope(&scope_word)?,
        limit: bound(limit)?,
        hard: bound(hard)?,
        used: amount(used)?,
        reserved: amount(reserved)?,
        requested: amount(requested)?,
    })
}

fn bound(units: Option<u64>) -> Result<Bound, LedgerError> {
    units.map_or(Ok(Bound::Unlimited), |units| {
        Ok(Bound::AtMost(amount(units)?))
    })
}

fn amount(units: u64) -> Result<Amount, LedgerError> {
    Amount::try_from(units).map_err(unreadable)
}

fn scope(word: &str) -> Result<Scope, LedgerError> {
    [Scope::User, Scope::Tenant]
        .into_iter()
        .find(|scope| scope.as_str() == word)
        .ok_or_else(|| unreadable("neither user nor tenant"))
}

pub(super) fn attempt(row: &dyn Fields) -> Result<Attempt, LedgerError> {
    let plan = match (row.optional_text(5)?, row.optional_text(6)?) {
        (Some(plan), Some(source)) => Some(PlanAtTheTime {
            plan: parse(&plan)?,
            source: parse(&source)?,
        }),
        _ => None,
    };
    let status = row.optional_integer(9)?.map(u16::try_from).transpose();
    let latency = row.optional_integer(11)?.map(u64::try_from).transpose();
    let client_ip = row.optional_text(15)?;
    let count = u32::try_from(row.count(19)?).map_err(unreadable)?;
    Ok(Attempt {
        id: row.id(0)?.into(),
        outcome: parse(&row.text(1)?)?,
        at: at(row, 2)?,
        tenant: tenant(row, 3)?,
        user: user(row, 4)?,
        plan,
        rule: text::read_optional(row, 7)?,
        charges: charges(&row.text(8)?)?,
        status: status.map_err(unreadable)?,
        cause: text::read_optional(row, 10)?,
        latency: latency.map_err(unreadable)?.map(Duration::from_micros),
        tags: text::from_json(&row.text(12)?)?,
        metadata: text::remarks(&row.text(13)?),
        request_id: text::read_optional(row, 14)?,
        client_ip: client_ip.map(|address| parse(&address)).transpose()?,
        user_agent: text::read_optional(row, 16)?,
        revision: text::read(row, 17)?,
        denial: row.optional_text(18)?.as_deref().map(denial).transpose()?,
        count: NonZeroU32::new(count).ok_or_else(|| unreadable("an attempt counts"))?,
    })
}

pub(super) fn charges(json: &str) -> Result<Vec<Charged>, LedgerError> {
    let charges: Vec<(String, u64, i64)> = text::from_json(json)?;
    charges
        .into_iter()
        .map(|(quota, reserved, charged)| {
            Ok(Charged {
                quota: parse(&quota)?,
                reserved: amount(reserved)?,
                charged,
            })
        })
        .collect()
}

/// What labels an attempt is found by.
pub(super) fn label_rows<'a>(attempt: &'a Attempt) -> Result<Vec<Row<'a>>, LedgerError> {
    let quotas = attempt
        .charges
        .iter()
        .map(|one| (Cow::Borrowed("quota"), one.quota.as_str()));
    let tags = attempt
        .tags
        .iter()
        .map(|(name, value)| (tag_label(name), value.as_str()));
    quotas
        .chain(tags)
        .map(|(label, value): (Cow<'a, str>, &'a str)| {
            Ok(vec![
                tenant_bind(attempt.tenant.as_ref()),
                Bind::Text(label),
                text::bind(value),
                millis(attempt.at)?,
                Bind::Id(attempt.id.as_uuid()),
                Bind::Text(attempt.outcome.as_str().into()),
            ])
        })
        .collect()
}

/// The label of a tag.
pub(super) fn tag_label(name: &str) -> Cow<'static, str> {
    Cow::Owned(format!("tag.{}", text::to_sql(name)))
}

type EntryFields = (String, String, String, u64, Option<u64>, i64);

pub(super) fn posting_row(posting: &Posting) -> Result<Row<'_>, LedgerError> {
    let entries = posting
        .entries
        .iter()
        .map(|entry| {
            let CounterKey {
                scope,
                quota,
                window,
                span,
            } = &entry.counter;
            Ok((
                scope.as_str(),
                quota.as_str(),
                window.to_string(),
                span.start().get(),
                span.end().map(UnixMillis::get),
                signed(entry.amount)?,
            ))
        })
        .collect::<Result<Vec<_>, LedgerError>>()?;
    Ok(vec![
        Bind::Id(posting.reservation.as_uuid()),
        Bind::Text(posting.kind.as_str().into()),
        millis(posting.at)?,
        tenant_bind(posting.tenant.as_ref()),
        user_bind(posting.user.as_ref()),
        text::json(&entries)?,
    ])
}

pub(super) fn posting(row: &dyn Fields) -> Result<Posting, LedgerError> {
    let kind: PostingKind = parse(&row.text(1)?)?;
    let entries: Vec<EntryFields> = text::from_json(&row.text(5)?)?;
    let entries = entries
        .into_iter()
        .map(|(scope_word, quota, window, start, end, amount)| {
            Ok(Entry {
                counter: CounterKey {
                    scope: scope(&scope_word)?,
                    quota: parse(&quota)?,
                    window: parse(&window)?,
                    span: span(start, end)?,
                },
                amount,
            })
        })
        .collect::<Result<_, LedgerError>>()?;
    Ok(Posting {
        reservation: row.id(0)?.into(),
        kind,
        at: at(row, 2)?,
        tenant: tenant(row, 3)?,
        user: user(row, 4)?,
        entries,
    })
}

fn span(start: u64, end: Option<u64>) -> Result<WindowSpan, LedgerError> {
    match end {
        None => Ok(WindowSpan::LIFETIME),
        Some(end) => WindowSpan::new(UnixMillis::new(start), UnixMillis::new(end))
            .ok_or_else(|| unreadable("a window without a length")),
    }
}

/// The key of a counter, as the table `counters` has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CounterRow {
    pub(super) tenant: String,
    pub(super) user: String,
    pub(super) quota: QuotaName,
    pub(super) window: String,
    pub(super) start: i64,
    pub(super) end: i64,
}

impl CounterRow {
    /// The counter of a user or of its tenant.
    pub(super) fn of(
        tenant: Option<&TenantId>,
        user: Option<&UserId>,
        counter: &CounterKey,
    ) -> Result<Self, LedgerError> {
        let tenant = tenant.map(TenantId::as_str);
        let user = user.map(UserId::as_str);
        let (tenant, user) = match counter.scope {
            Scope::User => (
                tenant.unwrap_or_default(),
                user.ok_or_else(|| invalid("an entry of a user needs the user"))?,
            ),
            Scope::Tenant => (
                tenant.ok_or_else(|| invalid("an entry of a tenant needs the tenant"))?,
                "",
            ),
        };
        let integer = |at: UnixMillis| {
            i64::try_from(at.get()).map_err(|_| invalid("a window is too far away"))
        };
        Ok(Self {
            tenant: text::to_sql(tenant).into_owned(),
            user: text::to_sql(user).into_owned(),
            quota: counter.quota.clone(),
            window: counter.window.to_string(),
            start: integer(counter.span.start())?,
            end: counter.span.end().map_or(Ok(ENDLESS), integer)?,
        })
    }

    /// The key's columns.
    pub(super) fn binds(&self) -> Row<'_> {
        vec![
            Bind::Text(Cow::Borrowed(&self.tenant)),
            Bind::Text(Cow::Borrowed(&self.user)),
            Bind::Text(self.quota.as_str().into()),
            Bind::Text(Cow::Borrowed(&self.window)),
            Bind::Integer(self.start),
            Bind::Integer(self.end),
        ]
    }

    /// A row of the table that adds to a counter.
    pub(super) fn row(&self, opening: i64, used: i64) -> Row<'_> {
        let mut row = self.binds();
        let no_tenant = self.tenant.is_empty();
        let owner = if no_tenant { &self.user } else { &self.tenant };
        let owner = text::from_sql(owner.clone());
        let partition = partition::of(&partition::encoded(&owner));
        row.extend([partition.into(), opening, used].map(Bind::Integer));
        row
    }

    /// Reads the key's columns from `place` on, and makes the counter of them.
    pub(super) fn read(row: &dyn Fields, place: usize) -> Result<Self, LedgerError> {
        Ok(Self {
            tenant: row.text(place)?,
            user: row.text(place + 1)?,
            quota: parse(&row.text(place + 2)?)?,
            window: row.text(place + 3)?,
            start: row.integer(place + 4)?,
            end: row.integer(place + 5)?,
        })
    }

    /// The counter, whose scope is told by whether there is a user.
    pub(super) fn counter(&self) -> Result<CounterKey, LedgerError> {
        let start = u64::try_from(self.start).map_err(unreadable)?;
        let end = (self.end != ENDLESS).then_some(self.end);
        let end = end.map(u64::try_from).transpose().map_err(unreadable)?;
        Ok(CounterKey {
            scope: if self.user.is_empty() {
                Scope::Tenant
            } else {
                Scope::User
            },
            quota: self.quota.clone(),
            window: parse(&self.window)?,
            span: span(start, end)?,
        })
    }
}

/// The word of an outcome.
pub(super) fn outcome_bind(outcome: Outcome) -> Bind<'static> {
    Bind::Text(outcome.as_str().into())
}

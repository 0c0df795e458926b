//! The text of an event.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Event, EventKind, UnreadableEvent, bare_attempt, within};
use crate::{
    Amount, CounterKey, QuotaName, Requester, ReservationId, Scope, TenantId, UnixMillis, UserId,
    WindowSpan,
    ledger::{Attempt, Charged, Entry, Outcome, PlanAtTheTime, Posting, PostingKind, UnknownWord},
};

#[derive(Serialize, Deserialize)]
pub(super) struct EventFields<'a> {
    pub(super) id: Uuid,
    pub(super) at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<Cow<'a, str>>,
    pub(super) entries: Vec<EntryFields<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<AttemptFields<'a>>,
}

/// Scope, quota, window, start, end and amount.
pub(super) type EntryFields<'a> = (Cow<'a, str>, Cow<'a, str>, String, u64, Option<u64>, i64);

pub(super) fn entry_fields(counter: &CounterKey, amount: i64) -> EntryFields<'_> {
    (
        counter.scope.as_str().into(),
        counter.quota.as_str().into(),
        counter.window.to_string(),
        counter.span.start().get(),
        counter.span.end().map(UnixMillis::get),
        amount,
    )
}

#[derive(Serialize, Deserialize)]
pub(super) struct AttemptFields<'a> {
    pub(super) at: u64,
    /// Quota, reserved, charged.
    pub(super) charges: Vec<(Cow<'a, str>, u64, i64)>,
    /// The plan and where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) plan: Option<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) latency_us: Option<u64>,
    #[serde(default, skip_serializing_if = "is_empty_map")]
    pub(super) tags: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "is_empty_object")]
    pub(super) metadata: Cow<'a, Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user_agent: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub(super) revision: Cow<'a, str>,
}

#[expect(clippy::ptr_arg, reason = "serde hands over the field as it is")]
fn is_empty_map(map: &Cow<'_, BTreeMap<String, String>>) -> bool {
    map.is_empty()
}

#[expect(clippy::ptr_arg, reason = "serde hands over the field as it is")]
fn is_empty_object(map: &Cow<'_, Map<String, Value>>) -> bool {
    map.is_empty()
}

impl<'a> AttemptFields<'a> {
    pub(super) fn of(attempt: &'a Attempt) -> Self {
        let text = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
        let charges = attempt
            .charges
            .iter()
            .map(|one| (one.quota.as_str().into(), one.reserved.get(), one.charged));
        let plan =
            |plan: &'a PlanAtTheTime| (plan.plan.as_str().into(), plan.source.as_str().into());
        let micros = |latency: Duration| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        Self {
            at: attempt.at.get(),
            charges: charges.collect(),
            plan: attempt.plan.as_ref().map(plan),
            rule: text(&attempt.rule),
            status: attempt.status,
            cause: text(&attempt.cause),
            latency_us: attempt.latency.map(micros),
            tags: Cow::Borrowed(&attempt.tags),
            metadata: Cow::Borrowed(&attempt.metadata),
            request_id: text(&attempt.request_id),
            client_ip: attempt.client_ip,
            user_agent: text(&attempt.user_agent),
            revision: attempt.revision.as_str().into(),
        }
    }

    fn read(self, mut attempt: Attempt) -> Result<Attempt, UnreadableEvent> {
        let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        let plan = |(plan, source): (Cow<'_, str>, Cow<'_, str>)| {
            Ok::<_, UnreadableEvent>(PlanAtTheTime {
                plan: plan.parse().map_err(|_| UnreadableEvent::Field("plan"))?,
                source: source
                    .parse()
                    .map_err(|_: UnknownWord| UnreadableEvent::Field("source"))?,
            })
        };
        attempt.at = UnixMillis::new(self.at);
        for (quota, reserved, charged) in self.charges {
            attempt.charges.push(Charged {
                quota: quota_of(&quota)?,
                reserved: Amount::new(reserved).ok_or(UnreadableEvent::Field("reserved"))?,
                charged,
            });
        }
        attempt.plan = self.plan.map(plan).transpose()?;
        attempt.rule = text(self.rule);
        attempt.status = self.status;
        attempt.cause = text(self.cause);
        attempt.latency = self.latency_us.map(Duration::from_micros);
        attempt.tags = self.tags.into_owned();
        attempt.metadata = self.metadata.into_owned();
        attempt.request_id = text(self.request_id);
        attempt.client_ip = self.client_ip;
        attempt.user_agent = text(self.user_agent);
        attempt.revision = self.revision.into_owned();
        Ok(attempt)
    }
}

fn quota_of(quota: &str) -> Result<QuotaName, UnreadableEvent> {
    QuotaName::new(quota).map_err(|_| UnreadableEvent::Field("quota"))
}

impl EventFields<'_> {
    pub(super) fn read(self, kind: EventKind) -> Result<Event, UnreadableEvent> {
        let id = ReservationId::from(self.id);
        let tenant = self.tenant.as_deref().map(TenantId::new).transpose();
        let tenant = tenant.map_err(|_| UnreadableEvent::Field("tenant"))?;
        let user = self.user.as_deref().map(UserId::new).transpose();
        let user = user.map_err(|_| UnreadableEvent::Field("user"))?;
        let mut entries = self
            .entries
            .into_iter()
            .map(entry)
            .collect::<Result<Vec<_>, _>>()?;
        let (outcome, posting_kind, at) = match kind {
            EventKind::Commit => (Outcome::Committed, PostingKind::Commit, self.at),
            EventKind::Late => (Outcome::Late, PostingKind::Late, self.at),
            EventKind::Correction(differences) => {
                // As the script has them.
                entries.sort_by_key(|entry| entry.counter.scope);
                if entries.len() != differences.len() {
                    return Err(UnreadableEvent::Field("differences"));
                }
                for (entry, difference) in entries.iter_mut().zip(differences) {
                    entry.amount = difference;
                }
                (Outcome::Correction, PostingKind::Correction, self.at)
            }
            EventKind::Admin { difference, at } => {
                for entry in &mut entries {
                    entry.amount = difference;
                }
                let at = within(at, entries.iter().map(|entry| entry.counter.span));
                (Outcome::Committed, PostingKind::Admin, at.get())
            }
        };
        entries.retain(|entry| entry.amount != 0);
        let at = UnixMillis::new(at);
        let attempt = match (self.attempt, &user) {
            (Some(fields), Some(user)) => {
                let requester = Requester {
                    tenant: tenant.clone(),
                    user: user.clone(),
                };
                Some(fields.read(bare_attempt(id, outcome, at, &requester))?)
            }
            (Some(_), None) => return Err(UnreadableEvent::Field("user")),
            (None, _) => None,
        };
        let posting = (!entries.is_empty()).then_some(Posting {
            reservation: id,
            kind: posting_kind,
            at,
            tenant,
            user,
            entries,
        });
        Ok(Event { attempt, posting })
    }
}

fn entry(fields: EntryFields<'_>) -> Result<Entry, UnreadableEvent> {
    let (scope, quota, window, start, end, amount) = fields;
    let scope = [Scope::User, Scope::Tenant]
        .into_iter()
        .find(|one| one.as_str() == scope)
        .ok_or(UnreadableEvent::Field("scope"))?;
    let span = match end {
        None => Some(WindowSpan::LIFETIME),
        Some(end) => WindowSpan::new(UnixMillis::new(start), UnixMillis::new(end)),
    };
    if amount.unsigned_abs() > Amount::MAX.get() {
        return Err(UnreadableEvent::Field("amount"));
    }
    Ok(Entry {
        counter: CounterKey {
            scope,
            quota: quota_of(&quota)?,
            window: window
                .parse()
                .map_err(|_| UnreadableEvent::Field("window"))?,
            span: span.ok_or(UnreadableEvent::Field("span"))?,
        },
        amount,
    })
}

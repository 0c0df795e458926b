//! Events: what a store writes down beside its counters, for the ledger.
//!
//! An event is text that any later version of the program can read: fields are added and never
//! change their meaning. What kind it is stands beside it, since the same commit may turn out to be
//! late.

use std::{borrow::Cow, collections::BTreeMap, num::NonZeroU32, time::Duration};

use serde_json::Map;

use super::{Attempt, Batch, Charged, Entry, Outcome, Posting, PostingKind};
use crate::{
    Act, Amount, Commit, Correction, CounterKey, Operation, Orphans, Requester, Reservation,
    ReservationId, Scope, TenantId, UnixMillis, WindowSpan,
};

mod fields;

use fields::{AttemptFields, EventFields, entry_fields};

/// What happened, for the ledger.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    attempt: Option<Attempt>,
    posting: Option<Posting>,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Commit,
    Late,
    /// It changed `used` by so much: of the user's counters first, then of the tenant's.
    Correction(Vec<i64>),
    /// An administrator changed `used` by so much, at this instant.
    Admin {
        difference: i64,
        at: UnixMillis,
    },
}

/// Why an event can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadableEvent {
    #[error("it is no event: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it says {0} where that can't be")]
    Field(&'static str),
}

/// Units of one counter that a reservation held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) counter: CounterKey,
    pub(crate) amount: Amount,
}

impl Event {
    /// A reservation that nobody settled.
    pub(crate) fn expired(
        id: ReservationId,
        requester: &Requester,
        orphans: Orphans,
        held: Vec<Held>,
        noticed: UnixMillis,
    ) -> Self {
        let at = begun(id, &held, noticed);
        let charged = |amount: Amount| match orphans {
            Orphans::Release => 0,
            Orphans::Charge => signed(amount),
        };
        let mut attempt = bare_attempt(id, Outcome::Expired, at, requester);
        for one in &held {
            add_charge(&mut attempt, &one.counter, one.amount, charged(one.amount));
        }
        let posting = (orphans == Orphans::Charge).then(|| {
            let mut posting = Posting::of(requester, id, PostingKind::Expire, at);
            posting.entries = held
                .into_iter()
                .map(|one| Entry {
                    amount: charged(one.amount),
                    counter: one.counter,
                })
                .collect();
            posting
        });
        Self {
            attempt: Some(attempt),
            posting: posting.filter(|posting| !posting.entries.is_empty()),
        }
    }

    /// Puts it into a batch.
    pub(crate) fn append_to(self, batch: &mut Batch) {
        batch.attempts.extend(self.attempt);
        batch.postings.extend(self.posting);
    }

    /// Reads an event.
    pub(crate) fn decode(kind: EventKind, text: &[u8]) -> Result<Self, UnreadableEvent> {
        serde_json::from_slice::<EventFields<'_>>(text)?.read(kind)
    }
}

/// When a reservation was made, from its id, which holds a time; it lies in all windows.
fn begun(id: ReservationId, held: &[Held], noticed: UnixMillis) -> UnixMillis {
    let made = id.as_uuid().get_timestamp().map_or(noticed, |time| {
        let (seconds, nanos) = time.to_unix();
        UnixMillis::from_seconds(seconds).saturating_add(Duration::from_nanos(nanos.into()))
    });
    let made = made.min(noticed);
    let spans = || held.iter().map(|one| one.counter.span);
    within(made, spans())
}

/// The instant of all these windows that is nearest.
fn within(at: UnixMillis, spans: impl Iterator<Item = WindowSpan> + Clone) -> UnixMillis {
    let earliest = spans.clone().map(WindowSpan::start).max();
    let latest = spans
        .filter_map(WindowSpan::end)
        .min()
        .map(|end| UnixMillis::new(end.get() - 1));
    let at = latest.map_or(at, |latest| at.min(latest));
    earliest.map_or(at, |earliest| at.max(earliest))
}

fn signed(amount: Amount) -> i64 {
    amount.get().cast_signed()
}

/// An attempt of which no more is known than what a store knows.
fn bare_attempt(
    id: ReservationId,
    outcome: Outcome,
    at: UnixMillis,
    requester: &Requester,
) -> Attempt {
    Attempt {
        id,
        outcome,
        at,
        tenant: requester.tenant.clone(),
        user: Some(requester.user.clone()),
        plan: None,
        rule: None,
        charges: Vec::new(),
        status: None,
        cause: None,
        latency: None,
        tags: BTreeMap::new(),
        metadata: Map::new(),
        request_id: None,
        client_ip: None,
        user_agent: None,
        revision: String::new(),
        denial: None,
        count: NonZeroU32::MIN,
    }
}

/// Counts one hold. Several windows of a quota, the user's and the tenant's, are one charge.
fn add_charge(attempt: &mut Attempt, counter: &CounterKey, reserved: Amount, charged: i64) {
    let is_there = |one: &Charged| one.quota == counter.quota;
    if !attempt.charges.iter().any(is_there) {
        attempt.charges.push(Charged {
            quota: counter.quota.clone(),
            reserved,
            charged,
        });
    }
}

/// The event of a commit, whether it turns out to be late or not.
pub(crate) fn of_commit(commit: &Commit) -> Vec<u8> {
    let amounts = commit.amounts.iter().copied().map(signed);
    encode(&commit.reservation, commit.attempt.as_deref(), &amounts)
}

/// The event of a correction.
pub(crate) fn of_correction(correction: &Correction) -> Vec<u8> {
    let most = signed(Amount::MAX);
    let amounts = correction.differences.iter();
    let amounts = amounts.map(|difference| (*difference).clamp(-most, most));
    encode(
        &correction.reservation,
        correction.attempt.as_deref(),
        &amounts,
    )
}

fn encode(
    reservation: &Reservation,
    attempt: Option<&Attempt>,
    amounts: &(impl Iterator<Item = i64> + Clone),
) -> Vec<u8> {
    let request = &*reservation.request;
    let bare = || {
        let at = reservation.reserved_at;
        let mut attempt = bare_attempt(request.id, Outcome::Committed, at, &request.requester);
        for (hold, amount) in request.holds.iter().zip(amounts.clone()) {
            add_charge(&mut attempt, &hold.counter, hold.amount, amount);
        }
        Cow::Owned(attempt)
    };
    let attempt = attempt.map_or_else(bare, Cow::Borrowed);
    let entries = request.holds.iter().zip(amounts.clone());
    let entries = entries.map(|(hold, amount)| entry_fields(&hold.counter, amount));
    to_json(&EventFields {
        id: request.id.as_uuid(),
        at: reservation.reserved_at.get(),
        tenant: request.requester.tenant.as_ref().map(tenant_text),
        user: Some(Cow::Borrowed(request.requester.user.as_str())),
        entries: entries.collect(),
        attempt: Some(AttemptFields::of(&attempt)),
    })
}

fn tenant_text(tenant: &TenantId) -> Cow<'_, str> {
    Cow::Borrowed(tenant.as_str())
}

/// The event of an act that changes `used`. By how much is known only afterwards.
pub(crate) fn of_operation(operation: &Operation) -> Option<Vec<u8>> {
    let counter = match &operation.act {
        Act::Reset(counter) | Act::SetUsed(counter, _) | Act::AddUsed(counter, _) => counter,
        Act::Raise(..) | Act::AdvanceGeneration(..) => return None,
    };
    let requester = &operation.requester;
    let user = || Cow::Borrowed(requester.user.as_str());
    Some(to_json(&EventFields {
        id: operation.id.0,
        at: 0,
        tenant: requester.tenant.as_ref().map(tenant_text),
        user: (counter.scope == Scope::User).then(user),
        entries: vec![entry_fields(counter, 0)],
        attempt: None,
    }))
}

fn to_json(event: &EventFields<'_>) -> Vec<u8> {
    // Only maps with keys that are no text fail, and there are none.
    serde_json::to_vec(event).unwrap_or_default()
}

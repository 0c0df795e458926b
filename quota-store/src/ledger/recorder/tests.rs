//! What the recorder owes.

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroU32,
    sync::Arc,
};

use self::double::Double;
use super::{Recorder, RecorderOptions};
use crate::{
    Amount, CounterKey, QuotaName, Requester, ReservationId, Scope, TenantId, UnixMillis, UserId,
    Window, WindowSpan,
    ledger::{Attempt, Charged, Entry, Outcome, Posting, PostingKind},
};

mod bounds;
mod double;
#[cfg(feature = "sqlite")]
mod durable;
mod failures;
mod sampling;

/// The start of a minute.
const START: u64 = 1_798_761_600_000;

fn ama() -> Requester {
    Requester {
        tenant: Some(TenantId::new("acme").unwrap()),
        user: UserId::new("ama").unwrap(),
    }
}

fn messages() -> QuotaName {
    QuotaName::new("messages").unwrap()
}

/// An id that is the same for the same number.
fn id(number: u64) -> ReservationId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(START, &random)
        .into_uuid()
        .into()
}

fn attempt(number: u64, outcome: Outcome) -> Attempt {
    let Requester { tenant, user } = ama();
    Attempt {
        id: id(number),
        outcome,
        at: UnixMillis::new(START + 1_000),
        tenant,
        user: Some(user),
        plan: None,
        rule: Some("POST /chat".to_owned()),
        charges: vec![Charged {
            quota: messages(),
            reserved: Amount::ONE,
            charged: i64::from(outcome == Outcome::Committed),
        }],
        status: None,
        cause: None,
        latency: None,
        tags: BTreeMap::new(),
        metadata: serde_json::Map::new(),
        request_id: Some(number.to_string()),
        client_ip: None,
        user_agent: None,
        revision: "0123456789ab".to_owned(),
        denial: None,
        count: NonZeroU32::MIN,
    }
}

fn lifetime() -> CounterKey {
    CounterKey {
        scope: Scope::User,
        quota: messages(),
        window: Window::Lifetime,
        span: WindowSpan::LIFETIME,
    }
}

/// A commit of one unit.
fn commit(number: u64) -> Posting {
    let at = UnixMillis::new(START + 1_000);
    Posting {
        entries: vec![Entry {
            counter: lifetime(),
            amount: 1,
        }],
        ..Posting::of(&ama(), id(number), PostingKind::Commit, at)
    }
}

fn charge(recorder: &Recorder, number: u64) -> super::Recording {
    recorder.record(attempt(number, Outcome::Committed), Some(commit(number)))
}

fn ids(attempts: &[Attempt]) -> Vec<ReservationId> {
    attempts.iter().map(|attempt| attempt.id).collect()
}

/// Whether each of these numbers is there once, and nothing else.
#[track_caller]
fn assert_each_once(attempts: &[Attempt], numbers: std::ops::Range<u64>) {
    let there = ids(attempts);
    let distinct: HashSet<_> = there.iter().copied().collect();
    assert_eq!(distinct.len(), there.len(), "something is there twice");
    assert_eq!(distinct, numbers.map(id).collect());
}

fn start(double: &Arc<Double>, options: &RecorderOptions) -> Recorder {
    Recorder::start(Arc::clone(double) as _, options)
}

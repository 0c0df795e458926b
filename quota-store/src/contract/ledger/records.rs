//! Records in few words.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use uuid::Uuid;

use crate::{
    Amount, CounterKey, PlanName, QuotaName, Requester, ReservationId, Scope, TenantId, UnixMillis,
    UserId, Window, WindowSpan,
    ledger::{
        Appended, Attempt, Batch, Charged, Entry, Ledger, Outcome, PlanAtTheTime, PlanSource,
        Posting, PostingKind,
    },
};

/// A day in milliseconds, and the start of one on the first of a month: 2027-01-01 UTC.
pub(in crate::contract) const DAY: u64 = 86_400_000;
pub(in crate::contract) const START: u64 = 1_798_761_600_000;

/// Texts that have broken programs.
#[must_use]
pub fn hostile_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "o'hara \"quoted\" `backtick`",
        "two\nlines\r\n\ttab",
        "<script>alert(1)</script>",
        "=cmd()|' /C calc'!A0",
        "'; DROP TABLE attempts; --",
        "\u{1f980} \u{202e}right to left",
        ":{}",
        "%_\\%",
        "?1 $1 :a @b",
        "\0ip:2001:db8::",
        "\u{2400}0",
        "null",
    ]
    .map(str::to_owned)
    .into();
    texts.push("é".repeat(128));
    texts
}

/// An id that is the same for the same number.
pub(in crate::contract) fn id(number: u64) -> ReservationId {
    let random = u128::from(number).to_be_bytes();
    let mut last = [0; 10];
    last.copy_from_slice(&random[6..]);
    uuid::Builder::from_unix_timestamp_millis(START + number / 1_000, &last)
        .into_uuid()
        .into()
}

pub(in crate::contract) fn quota(name: &str) -> QuotaName {
    QuotaName::new(name).expect("rules use names that exist")
}

pub(in crate::contract) fn user(name: &str) -> UserId {
    UserId::new(name).expect("rules use ids that are not empty")
}

pub(in crate::contract) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("rules use ids that are not empty")
}

pub(in crate::contract) fn units(count: u64) -> Amount {
    Amount::new(count).expect("rules use amounts that exist")
}

/// Ama of Acme.
pub(in crate::contract) fn ama() -> Requester {
    of(Some("acme"), "ama")
}

pub(in crate::contract) fn of(tenant_name: Option<&str>, user_name: &str) -> Requester {
    Requester {
        tenant: tenant_name.map(tenant),
        user: user(user_name),
    }
}

/// A committed attempt of one unit of `messages`.
pub(in crate::contract) fn attempt(requester: &Requester, number: u64, at: u64) -> Attempt {
    Attempt {
        id: id(number),
        outcome: Outcome::Committed,
        at: UnixMillis::new(at),
        tenant: requester.tenant.clone(),
        user: Some(requester.user.clone()),
        plan: Some(PlanAtTheTime {
            plan: PlanName::new("free").expect("a name"),
            source: PlanSource::Default,
        }),
        rule: Some("POST /api/v1/chat".to_owned()),
        charges: vec![charged("messages", 1, 1)],
        status: Some(200),
        cause: None,
        latency: None,
        tags: BTreeMap::new(),
        metadata: serde_json::Map::new(),
        request_id: None,
        client_ip: None,
        user_agent: None,
        revision: "0123456789ab".to_owned(),
        denial: None,
        count: NonZeroU32::MIN,
    }
}

pub(in crate::contract) fn charged(name: &str, reserved: u64, charged: i64) -> Charged {
    Charged {
        quota: quota(name),
        reserved: units(reserved),
        charged,
    }
}

pub(in crate::contract) fn tags<const N: usize>(
    tags: [(&str, &str); N],
) -> BTreeMap<String, String> {
    tags.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// A counter of `messages` in the day that starts so many days after [`START`].
pub(in crate::contract) fn daily(scope: Scope, days: u64) -> CounterKey {
    let start = START + days * DAY;
    let span = WindowSpan::new(UnixMillis::new(start), UnixMillis::new(start + DAY));
    CounterKey {
        scope,
        quota: quota("messages"),
        window: Window::Day,
        span: span.expect("a day is not empty"),
    }
}

/// The counter of `messages` that never starts again.
pub(in crate::contract) fn lifetime(scope: Scope) -> CounterKey {
    CounterKey {
        scope,
        quota: quota("messages"),
        window: Window::Lifetime,
        span: WindowSpan::LIFETIME,
    }
}

pub(in crate::contract) fn posting(
    requester: &Requester,
    number: u64,
    kind: PostingKind,
    entries: Vec<(CounterKey, i64)>,
) -> Posting {
    let entries = entries
        .into_iter()
        .map(|(counter, amount)| Entry { counter, amount });
    Posting {
        entries: entries.collect(),
        ..Posting::of(requester, id(number), kind, UnixMillis::new(START + 1_000))
    }
}

/// A commit of so many units of today.
pub(in crate::contract) fn commit(requester: &Requester, number: u64, amount: i64) -> Posting {
    let entries = vec![(daily(Scope::User, 0), amount)];
    posting(requester, number, PostingKind::Commit, entries)
}

pub(in crate::contract) fn batch(attempts: Vec<Attempt>, postings: Vec<Posting>) -> Arc<Batch> {
    Arc::new(Batch {
        attempts,
        postings,
        ..Batch::default()
    })
}

/// How many records were new: attempts and postings.
pub(in crate::contract) async fn append(
    ledger: &Arc<dyn Ledger>,
    batch: Arc<Batch>,
) -> (usize, usize) {
    let appended = ledger.append(batch).await.expect("it is appended");
    let Appended {
        attempts, postings, ..
    } = appended;
    (attempts, postings)
}

/// What today's counter of the user says.
pub(in crate::contract) async fn used(ledger: &Arc<dyn Ledger>, requester: &Requester) -> u64 {
    used_of(ledger, requester, &daily(Scope::User, 0)).await
}

/// What a counter says; it must be what its postings add up to.
pub(in crate::contract) async fn used_of(
    ledger: &Arc<dyn Ledger>,
    requester: &Requester,
    counter: &CounterKey,
) -> u64 {
    let counters = [counter.clone()];
    let used = ledger.used(requester, &counters).await.expect("it is read");
    let recounted = ledger.recount(requester, counter).await;
    assert_eq!(used, [recounted.expect("it is counted")]);
    used[0].get()
}

/// An id of an audit.
pub(in crate::contract) fn audit_id(number: u64) -> Uuid {
    id(number).as_uuid()
}

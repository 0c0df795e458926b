//! A month of one tenant.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use quota_store::{
    Amount, CounterKey, PlanName, QuotaName, Requester, ReservationId, Scope, TenantId, UnixMillis,
    UserId, Window, WindowSpan,
    ledger::{
        Attempt, Batch, Charged, Entry, Outcome, PlanAtTheTime, PlanSource, Posting, PostingKind,
    },
};

pub const USERS: u64 = 1_000;
/// 2026-11-01 UTC, and the 30 days from there on.
pub const START: u64 = 1_793_491_200_000;
pub const DAY: u64 = 86_400_000;
pub const MONTH: u64 = 30 * DAY;

const PLANS: [&str; 4] = ["free", "pro", "max", "enterprise"];
const RULES: [&str; 3] = [
    "POST /api/v1/chat",
    "POST /api/v1/chat/stream",
    "GET /ws/chat",
];

pub fn tenant() -> TenantId {
    TenantId::new("acme").expect("not empty")
}

pub fn user(number: u64) -> UserId {
    UserId::new(&format!("user-{number:08}")).expect("not empty")
}

pub fn quota(name: &str) -> QuotaName {
    QuotaName::new(name).expect("a name")
}

/// The records from `first` to before `end` of so many.
pub fn batch(first: u64, end: u64, records: u64) -> Batch {
    let mut batch = Batch::default();
    for number in first..end {
        let at = START + number * MONTH / records;
        // As good as random, and the same in every run.
        let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let attempt = attempt(number, at, random);
        if matches!(attempt.outcome, Outcome::Committed | Outcome::Late) {
            batch.postings.push(posting(&attempt));
        }
        batch.attempts.push(attempt);
    }
    batch
}

fn attempt(number: u64, at: u64, random: u64) -> Attempt {
    let person = random % USERS;
    let outcome = match random >> 20 & 127 {
        0..90 => Outcome::Committed,
        90..120 => Outcome::Released,
        120..126 => Outcome::Denied,
        _ => Outcome::Late,
    };
    let is_charged = matches!(outcome, Outcome::Committed | Outcome::Late);
    let charged = |name, units: u64| Charged {
        quota: quota(name),
        reserved: Amount::saturating(units),
        charged: if is_charged { units as i64 } else { 0 },
    };
    // One user in a hundred stores something too, so that a quota is rare.
    let mut charges = vec![
        charged("messages", 1 + (random >> 30) % 7),
        charged("output_tokens", 100 + (random >> 33) % 3_900),
    ];
    if random >> 40 & 255 == 0 {
        charges.push(charged("storage", random >> 44 & 0xfffff));
    }
    let tag = |name: &str, value: String| (name.to_owned(), value);
    let at = UnixMillis::new(at);
    Attempt {
        id: ReservationId::generate(at),
        outcome,
        at,
        tenant: Some(tenant()),
        user: Some(user(person)),
        plan: Some(PlanAtTheTime {
            plan: PlanName::new(PLANS[person as usize % PLANS.len()]).expect("a name"),
            source: PlanSource::Assignment,
        }),
        rule: Some(RULES[number as usize % RULES.len()].to_owned()),
        charges,
        status: Some(if is_charged { 200 } else { 500 }),
        cause: None,
        latency: Some(Duration::from_micros(random >> 44)),
        tags: BTreeMap::from([
            tag("goal", format!("goal-{}", random >> 50 & 15)),
            tag("model", format!("model-{}", random >> 55 & 3)),
        ]),
        metadata: serde_json::Map::from_iter([("cost".to_owned(), 12.into())]),
        request_id: Some(format!("{random:032x}")),
        client_ip: None,
        user_agent: None,
        revision: "0123456789ab".to_owned(),
        denial: None,
        count: NonZeroU32::MIN,
    }
}

fn posting(attempt: &Attempt) -> Posting {
    let requester = Requester {
        tenant: attempt.tenant.clone(),
        user: attempt.user.clone().expect("everybody is known"),
    };
    let day = attempt.at.get() / DAY * DAY;
    let counter = |scope, quota: &QuotaName, window, start, length| CounterKey {
        scope,
        quota: quota.clone(),
        window,
        span: WindowSpan::new(UnixMillis::new(start), UnixMillis::new(start + length))
            .expect("not empty"),
    };
    let [messages, tokens] = [&attempt.charges[0], &attempt.charges[1]];
    let entry = |counter, amount| Entry { counter, amount };
    let entries = vec![
        entry(
            counter(Scope::User, &messages.quota, Window::Day, day, DAY),
            messages.charged,
        ),
        entry(
            counter(Scope::User, &messages.quota, Window::Month, START, MONTH),
            messages.charged,
        ),
        entry(
            counter(Scope::User, &tokens.quota, Window::Month, START, MONTH),
            tokens.charged,
        ),
        entry(
            counter(Scope::Tenant, &tokens.quota, Window::Month, START, MONTH),
            tokens.charged,
        ),
    ];
    let kind = PostingKind::Commit;
    Posting {
        entries,
        ..Posting::of(&requester, attempt.id, kind, attempt.at)
    }
}

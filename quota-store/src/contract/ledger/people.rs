//! Who is in the ledger, and who uses how much.

use std::sync::Arc;

use super::{
    LedgerUnderTest, hostile_texts,
    records::{
        DAY, START, ama, append, attempt, batch, commit, daily, id, lifetime, of, posting, quota,
        tenant, user,
    },
};
use crate::{
    CounterKey, PlanName, Requester, Scope, Subject, TenantId, UnixMillis, UserId, Window,
    ledger::{
        Balance, Entry, HoldersOrder, HoldersQuery, LastSeen, Ledger, PlanAtTheTime, PlanSource,
        Posting, PostingKind,
    },
};

fn holders(order: HoldersOrder) -> HoldersQuery {
    HoldersQuery {
        tenant: ama().tenant,
        quota: None,
        window: None,
        now: UnixMillis::new(START + 1_000),
        order,
        after: None,
        limit: 3,
    }
}

/// All pages of a list.
async fn all(ledger: &Arc<dyn Ledger>, mut query: HoldersQuery) -> Vec<Balance> {
    let mut rows = Vec::new();
    for round in 0.. {
        assert!(round < 1_000, "pages do not end");
        let page = ledger.holders(&query).await.expect("a page");
        assert!(page.rows.len() <= 3);
        rows.extend(page.rows);
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    rows
}

fn name(balance: &Balance) -> &str {
    match &balance.subject {
        Subject::User { user, .. } => user.as_str(),
        // No user has this name.
        Subject::Tenant(_) => "",
    }
}

/// A lifetime of another quota.
fn storage() -> CounterKey {
    CounterKey {
        quota: quota("storage"),
        ..lifetime(Scope::User)
    }
}

/// Ten users with three counters each, and one whose correction came first.
async fn fill(ledger: &Arc<dyn Ledger>) {
    let mut postings: Vec<Posting> = (0..10)
        .map(|number| {
            let amount = i64::try_from(number).expect("small");
            let entries = vec![
                (daily(Scope::User, 0), amount / 3),
                (lifetime(Scope::User), amount * 10),
                (storage(), 7),
                (daily(Scope::Tenant, 0), 50),
            ];
            let someone = of(Some("acme"), &format!("user {number}"));
            posting(&someone, number, PostingKind::Commit, entries)
        })
        .collect();
    let early = vec![(daily(Scope::User, 0), -5)];
    let someone = of(Some("acme"), "user 4.5");
    postings.push(posting(&someone, 99, PostingKind::Correction, early));
    append(ledger, batch(vec![], postings)).await;
}

/// Every counter is on exactly one page, the one with most first, whatever it is about.
pub async fn those_who_use_most_are_paged(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    fill(&ledger).await;
    for (of_quota, window, count) in [
        (None, None, 31),
        (Some("messages"), None, 21),
        (Some("messages"), Some(Window::Day), 11),
        (Some("storage"), Some(Window::Lifetime), 10),
        (None, Some(Window::Lifetime), 20),
        (Some("storage"), Some(Window::Day), 0),
    ] {
        let query = HoldersQuery {
            quota: of_quota.map(quota),
            window,
            ..holders(HoldersOrder::MostUsed)
        };
        let rows = all(&ledger, query).await;
        assert_eq!(rows.len(), count);
        assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse(row.used)));
        for row in &rows {
            assert!(of_quota.is_none_or(|name| row.counter.quota == quota(name)));
            assert!(window.is_none_or(|window| row.counter.window == window));
        }
        let mut keys: Vec<_> = rows
            .iter()
            .map(|row| (name(row), &row.counter.quota, row.counter.window))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
    let most = holders(HoldersOrder::MostUsed);
    let rows = all(&ledger, most).await;
    assert_eq!((name(&rows[0]), rows[0].used.get()), ("user 9", 90));
}

/// By name every counter is on exactly one page too.
pub async fn those_who_use_anything_are_paged_by_name(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    fill(&ledger).await;
    let rows = all(&ledger, holders(HoldersOrder::Name)).await;
    assert_eq!(rows.len(), 31);
    assert!(rows.is_sorted_by_key(|row| {
        let window = row.counter.window.to_string();
        (name(row).to_owned(), row.counter.quota.clone(), window)
    }));
    let one = HoldersQuery {
        quota: Some(quota("messages")),
        window: Some(Window::Day),
        ..holders(HoldersOrder::Name)
    };
    let rows = all(&ledger, one).await;
    assert_eq!(rows.len(), 11);
    assert!(rows.is_sorted_by_key(name));
    // What is below zero for a moment is shown as zero.
    assert_eq!((name(&rows[5]), rows[5].used.get()), ("user 4.5", 0));
}

/// Windows that have ended or not begun, other tenants and tenants as a whole are not in it.
pub async fn only_open_windows_of_the_tenant_are_shown(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let mut postings = Vec::new();
    let others = [of(None, "ama"), of(Some("acme2"), "ama")];
    for (number, someone) in (0..).zip(others.iter().chain([&ama()])) {
        let mut entries: Vec<_> = (0..3).map(|day| (daily(Scope::User, day), 1)).collect();
        if someone.tenant.is_some() {
            entries.push((daily(Scope::Tenant, 1), 9));
        }
        postings.push(posting(someone, number, PostingKind::Commit, entries));
    }
    append(&ledger, batch(vec![], postings)).await;
    for order in [HoldersOrder::MostUsed, HoldersOrder::Name] {
        for (now, day) in [(START + DAY, 1), (START + DAY * 2 - 1, 1), (START, 0)] {
            for someone in others.iter().chain([&ama()]) {
                let query = HoldersQuery {
                    tenant: someone.tenant.clone(),
                    now: UnixMillis::new(now),
                    ..holders(order)
                };
                let expected = Balance {
                    subject: someone.subject(Scope::User).expect("a user"),
                    counter: daily(Scope::User, day),
                    used: crate::Amount::ONE,
                };
                assert_eq!(all(&ledger, query).await, [expected]);
            }
        }
    }
}

/// The last attempt counts, however it ended, of a user and of its tenant.
pub async fn the_last_attempt_of_a_subject_is_known(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let bob = of(Some("acme"), "bob");
    let mut denied = attempt(&ama(), 2, START + 5);
    denied.outcome = crate::ledger::Outcome::Denied;
    denied.plan = Some(plan_of("pro", PlanSource::Assignment));
    let mut last = attempt(&bob, 3, START + 9);
    last.plan = None;
    let attempts = vec![
        attempt(&ama(), 1, START + 1),
        denied,
        last,
        attempt(&of(None, "ama"), 4, START + 20),
    ];
    append(&ledger, batch(attempts, vec![])).await;
    let seen = async |subject: Subject| {
        let seen = ledger.last_seen(&subject).await;
        seen.expect("it is answered")
    };
    let of_user = |one: &Requester| one.subject(Scope::User).expect("a user");
    let expected = |at: u64, plan: Option<PlanAtTheTime>| {
        let at = UnixMillis::new(START + at);
        Some(LastSeen { at, plan })
    };
    let pro = Some(plan_of("pro", PlanSource::Assignment));
    assert_eq!(seen(of_user(&ama())).await, expected(5, pro));
    assert_eq!(seen(of_user(&bob)).await, expected(9, None));
    let of_acme = seen(Subject::Tenant(tenant("acme"))).await;
    assert_eq!(of_acme, expected(9, None));
    let free = Some(plan_of("free", PlanSource::Default));
    assert_eq!(seen(of_user(&of(None, "ama"))).await, expected(20, free));
    for nobody in [
        of(None, "bob"),
        of(Some("acme"), "carl"),
        of(Some("b"), "ama"),
    ] {
        assert_eq!(seen(of_user(&nobody)).await, None);
    }
    assert_eq!(seen(Subject::Tenant(tenant("ama"))).await, None);
}

fn plan_of(name: &str, source: PlanSource) -> PlanAtTheTime {
    PlanAtTheTime {
        plan: PlanName::new(name).expect("a name"),
        source,
    }
}

/// Who has a counter or an attempt is on exactly one page.
pub async fn everybody_seen_is_paged_by_name(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let (mut attempts, mut postings) = (Vec::new(), Vec::new());
    let mut number = 0;
    for of_tenant in [None, Some("acme"), Some("o'hara\0")] {
        for (place, text) in hostile_texts().iter().enumerate() {
            let someone = of(of_tenant, text);
            for _ in 0..3 {
                number += 1;
                let at = START + number;
                // Some have attempts, some counters, some both.
                if place % 3 != 0 {
                    attempts.push(attempt(&someone, number, at));
                }
                if place % 3 != 1 {
                    postings.push(commit(&someone, number, 1));
                }
            }
        }
    }
    let mut unknown = attempt(&ama(), 9_999, START);
    unknown.user = None;
    attempts.push(unknown);
    append(&ledger, batch(attempts, postings)).await;
    let mut expected: Vec<UserId> = hostile_texts().iter().map(|text| user(text)).collect();
    expected.sort();
    for of_tenant in [None, Some(tenant("acme")), Some(tenant("o'hara\0"))] {
        let mut found = seen(&ledger, of_tenant.as_ref(), 4).await;
        // Names with a NUL are kept in other letters, and come where these stand.
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(
            seen(&ledger, of_tenant.as_ref(), 100).await.len(),
            found.len()
        );
    }
    assert_eq!(seen(&ledger, Some(&tenant("b")), 4).await, []);
}

async fn seen(ledger: &Arc<dyn Ledger>, of: Option<&TenantId>, limit: u32) -> Vec<UserId> {
    let mut found = Vec::new();
    let mut after: Option<UserId> = None;
    for round in 0.. {
        assert!(round < 100, "pages do not end");
        let page = ledger.seen(of, after.as_ref(), limit).await;
        let page = page.expect("a page");
        found.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found
}

/// The postings of an attempt tell which windows it was charged to, of the user and the tenant.
pub async fn a_refund_finds_the_windows_of_an_attempt(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let entries = vec![
        (daily(Scope::User, 0), 3),
        (lifetime(Scope::User), 3),
        (daily(Scope::Tenant, 0), 3),
    ];
    let charge = posting(&ama(), 1, PostingKind::Commit, entries.clone());
    let record = attempt(&ama(), 1, START + 1_000);
    append(&ledger, batch(vec![record], vec![charge])).await;
    let requester = ama();
    let found = ledger.attempt(requester.tenant.as_ref(), id(1)).await;
    let history = found.expect("it is read").expect("it is there");
    let windows = history.postings.iter().flat_map(|one| &one.entries);
    let expected: Vec<Entry> = entries
        .into_iter()
        .map(|(counter, amount)| Entry { counter, amount })
        .collect();
    assert!(windows.eq(&expected));
    assert_eq!(history.records[0].charges[0].quota, quota("messages"));
}

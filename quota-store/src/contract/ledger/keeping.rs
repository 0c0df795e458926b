//! What balances survive.

use std::sync::Arc;

use super::{
    LedgerUnderTest,
    records::{
        DAY, START, ama, append, attempt, batch, commit, daily, lifetime, of, posting, used,
        used_of, user,
    },
};
use crate::{
    Requester, Scope, Subject, UnixMillis, UserId,
    ledger::{Bucket, Ledger, LogQuery, PostingKind, Span, UsageQuery},
};

/// Every counter of a partition that has not ended is on exactly one page.
pub async fn balances_are_paged_by_partition(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let mut postings = Vec::new();
    for number in 0..40 {
        let someone = of(Some("acme"), &format!("user {number}"));
        let entries = vec![
            (daily(Scope::User, 0), 1),
            (lifetime(Scope::User), 2),
            (daily(Scope::User, 1), 3),
            (daily(Scope::Tenant, 1), 1),
        ];
        postings.push(posting(&someone, number, PostingKind::Commit, entries));
    }
    append(&ledger, batch(vec![], postings)).await;
    let now = UnixMillis::new(START + DAY);
    let (mut users, mut tenants) = (Vec::new(), Vec::new());
    for partition in 0..=u8::MAX {
        let mut after = None;
        loop {
            let page = ledger.balances(partition, now, after.as_ref(), 7).await;
            let page = page.expect("a page");
            // The one byte that the tenant's name gives.
            assert!(page.is_empty() || partition == 0x82);
            let is_last = page.len() < 7;
            after = page.last().cloned();
            for balance in page {
                assert_ne!(balance.counter, daily(Scope::User, 0));
                match &balance.subject {
                    Subject::User { user, .. } => {
                        let key = (user.clone(), balance.counter.window);
                        users.push((key, balance.used.get()));
                    }
                    Subject::Tenant(_) => tenants.push(balance.used.get()),
                }
            }
            if is_last {
                break;
            }
        }
    }
    assert_eq!(tenants, [40]);
    users.sort();
    let total: u64 = users.iter().map(|(_, used)| used).sum();
    users.dedup_by_key(|(key, _)| key.clone());
    assert_eq!((users.len(), total), (80, 40 * 5));
}

/// Prunes in small steps.
pub(super) async fn prune_all(ledger: &Arc<dyn Ledger>, before: u64) {
    for step in 0.. {
        assert!(step < 1_000, "pruning does not end");
        let pruned = ledger.prune(UnixMillis::new(before), 3).await;
        let rows = pruned.expect("it prunes").rows;
        // What was rolled up goes as a whole.
        assert!(rows <= 8, "{rows} rows at once");
        if rows < 3 {
            return;
        }
    }
}

/// What is pruned is folded into the opening balance.
pub async fn pruning_changes_no_balance(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    for number in 0..10 {
        let entries = vec![(lifetime(Scope::User), 2), (lifetime(Scope::Tenant), 3)];
        let mut old = posting(&ama(), number, PostingKind::Commit, entries);
        old.at = UnixMillis::new(START + number);
        let record = attempt(&ama(), number, START + number);
        append(&ledger, batch(vec![record], vec![old])).await;
    }
    for before in [START + 4, START + 9, START + DAY * 40] {
        prune_all(&ledger, before).await;
        assert_eq!(used_of(&ledger, &ama(), &lifetime(Scope::User)).await, 20);
        assert_eq!(used_of(&ledger, &ama(), &lifetime(Scope::Tenant)).await, 30);
    }
    let log = ledger.log(&LogQuery::of(ama().tenant, 10)).await;
    assert_eq!(log.expect("the log").rows, []);
    // The counter goes on from there.
    let entries = vec![(lifetime(Scope::User), 5)];
    let next = posting(&ama(), 99, PostingKind::Commit, entries);
    append(&ledger, batch(vec![], vec![next])).await;
    assert_eq!(used_of(&ledger, &ama(), &lifetime(Scope::User)).await, 25);
}

/// What the sums by day say that a user was charged.
fn subject_of(requester: &Requester) -> Subject {
    let Requester { tenant, user } = requester.clone();
    Subject::User { tenant, user }
}

async fn charged_ever(ledger: &Arc<dyn Ledger>, requester: Requester) -> i64 {
    let query = UsageQuery {
        requester,
        quota: None,
        span: Span::ALL,
        bucket: Bucket::Month,
        by_tag: None,
    };
    let usage = ledger.usage(&query).await.expect("usage");
    usage.iter().map(|one| one.charged).sum()
}

/// What is not old enough stays, and is found as before.
pub async fn pruning_leaves_what_is_recent(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let attempts: Vec<_> = (0..10)
        .map(|day| attempt(&ama(), day, START + day * DAY))
        .collect();
    append(&ledger, batch(attempts.clone(), vec![])).await;
    prune_all(&ledger, START + 5 * DAY).await;
    for by_quota in [None, Some(super::records::quota("messages"))] {
        let mut query = LogQuery::of(ama().tenant, 100);
        query.quota = by_quota;
        let mut rows = ledger.log(&query).await.expect("the log").rows;
        rows.reverse();
        assert_eq!(rows, attempts[5..]);
    }
    assert_eq!(charged_ever(&ledger, ama()).await, 5);
}

/// Counters of windows that ended long ago do not pile up.
pub async fn a_pruned_window_that_ended_is_gone(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    append(&ledger, batch(vec![], vec![commit(&ama(), 1, 3)])).await;
    prune_all(&ledger, START + DAY).await;
    assert_eq!(used(&ledger, &ama()).await, 3);
    prune_all(&ledger, START + 2 * DAY).await;
    assert_eq!(used(&ledger, &ama()).await, 0);
}

/// Forgets a user in small steps.
pub(super) async fn forget_all(
    ledger: &Arc<dyn Ledger>,
    requester: &Requester,
    pseudonym: &UserId,
) {
    for round in 0.. {
        let rows = ledger.forget(requester, pseudonym, 2).await;
        if rows.expect("it forgets") == 0 {
            break;
        }
        assert!(round < 20, "forgetting does not end");
    }
}

/// A forgotten user's rows and sums stand under the pseudonym, and nobody else's changed.
pub async fn forgetting_keeps_sums(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let others = [of(Some("acme"), "bob"), of(None, "ama")];
    let mut number = 0;
    for someone in others.iter().chain([&ama()]) {
        for _ in 0..5 {
            number += 1;
            let mut record = attempt(someone, number, START + number * DAY);
            record.client_ip = Some([192, 0, 2, 1].into());
            record.user_agent = Some("curl".to_owned());
            record.request_id = Some("req".to_owned());
            record.metadata.insert("name".to_owned(), "Ama".into());
            append(
                &ledger,
                batch(vec![record], vec![commit(someone, number, 1)]),
            )
            .await;
        }
    }
    let pseudonym = user("forgotten-0123456789abcdef0123456789abcdef");
    forget_all(&ledger, &ama(), &pseudonym).await;
    let forgotten = Requester {
        user: pseudonym.clone(),
        ..ama()
    };
    assert_eq!(used(&ledger, &ama()).await, 0);
    assert_eq!(used(&ledger, &forgotten).await, 5);
    // No store counts it any more.
    let balances = ledger.balances(0x82, UnixMillis::new(START), None, 100);
    for balance in balances.await.expect("a page") {
        assert_ne!(balance.subject, subject_of(&forgotten));
    }
    let mut query = LogQuery::of(ama().tenant, 100);
    query.user = Some(ama().user);
    assert_eq!(ledger.log(&query).await.expect("the log").rows, []);
    query.user = Some(pseudonym);
    let rows = ledger.log(&query).await.expect("the log").rows;
    assert_eq!(rows.len(), 5);
    for row in rows {
        let told = (row.client_ip, row.user_agent, row.request_id);
        assert_eq!((told, row.metadata.len()), ((None, None, None), 0));
    }
    for other in others {
        assert_eq!(used(&ledger, &other).await, 5);
    }
    assert_eq!(charged_ever(&ledger, forgotten).await, 5);
}

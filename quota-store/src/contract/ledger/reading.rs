//! What went in is found, by those who may see it.

use std::collections::BTreeMap;

use super::{
    LedgerUnderTest,
    records::{
        START, ama, append, attempt, batch, charged, commit, id, of, posting, quota, tags, used,
    },
};
use crate::{
    UnixMillis,
    ledger::{
        AuditQuery, Bucket, LogQuery, Outcome, PostingKind, Span, StatisticsQuery, UsageQuery,
    },
};

/// Every record is on exactly one page, also where many were made at the same instant.
pub async fn pages_show_every_record_once(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let attempts: Vec<_> = (0..25)
        .map(|number| attempt(&ama(), number, START + number / 10))
        .collect();
    append(&ledger, batch(attempts.clone(), vec![])).await;
    for conditions in 0..5 {
        let mut query = LogQuery::of(ama().tenant, 4);
        match conditions {
            1 => query.user = Some(ama().user),
            2 => query.quota = Some(quota("messages")),
            3 => query.outcome = Some(Outcome::Committed),
            4 => query.rule.clone_from(&attempts[0].rule),
            _ => {}
        }
        let mut seen = Vec::new();
        loop {
            let page = ledger.log(&query).await.expect("a page");
            assert!(page.rows.len() == 4 || page.next.is_none());
            seen.extend(page.rows);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        let mut expected = attempts.clone();
        expected.sort_by_key(|one| std::cmp::Reverse((one.at, one.id)));
        assert_eq!(seen, expected, "{query:?}");
    }
}

/// Each condition selects by itself, and all together.
pub async fn conditions_select(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let bob = of(Some("acme"), "bob");
    let mut odd = attempt(&bob, 2, START + 10);
    odd.outcome = Outcome::Released;
    odd.rule = Some("PUT /files/{name}".to_owned());
    odd.charges = vec![charged("storage", 5, 0), charged("messages", 1, 0)];
    odd.tags = tags([("goal", "grow"), ("model", "large")]);
    let mut other = attempt(&ama(), 3, START + 20);
    other.tags = tags([("goal", "grow")]);
    let all = vec![attempt(&ama(), 1, START), odd, other];
    append(&ledger, batch(all, vec![])).await;

    let check = async |change: &dyn Fn(&mut LogQuery), expected: &[u64]| {
        let mut query = LogQuery::of(ama().tenant, 10);
        change(&mut query);
        let rows = ledger.log(&query).await.expect("a page").rows;
        let ids: Vec<_> = rows.into_iter().map(|row| row.id).collect();
        let expected: Vec<_> = expected.iter().map(|number| id(*number)).collect();
        assert_eq!(ids, expected, "{query:?}");
    };
    check(&|_| {}, &[3, 2, 1]).await;
    check(&|query| query.user = Some(bob.user.clone()), &[2]).await;
    check(&|query| query.quota = Some(quota("storage")), &[2]).await;
    check(&|query| query.quota = Some(quota("messages")), &[3, 2, 1]).await;
    check(&|query| query.quota = Some(quota("tokens")), &[]).await;
    check(&|query| query.outcome = Some(Outcome::Released), &[2]).await;
    check(
        &|query| query.rule = Some("POST /api/v1/chat".to_owned()),
        &[3, 1],
    )
    .await;
    check(&|query| query.tags = tags([("goal", "grow")]), &[3, 2]).await;
    let both = [("goal", "grow"), ("model", "large")];
    check(&|query| query.tags = tags(both), &[2]).await;
    check(&|query| query.tags = tags([("model", "grow")]), &[]).await;
    let span = |from, to| Span {
        from: UnixMillis::new(START + from),
        to: UnixMillis::new(START + to),
    };
    check(&|query| query.span = span(10, 20), &[2]).await;
    check(&|query| query.span = span(0, 11), &[2, 1]).await;
    let everything = |query: &mut LogQuery| {
        query.user = Some(bob.user.clone());
        query.quota = Some(quota("storage"));
        query.outcome = Some(Outcome::Released);
        query.rule = Some("PUT /files/{name}".to_owned());
        query.tags = tags(both);
        query.span = span(10, 11);
    };
    check(&everything, &[2]).await;
    let almost = |query: &mut LogQuery| {
        everything(query);
        query.outcome = Some(Outcome::Committed);
    };
    check(&almost, &[]).await;
}

/// One attempt comes with each of its outcomes and everything it changed.
pub async fn an_attempt_is_found_with_its_history(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let first = attempt(&ama(), 1, START);
    let mut correction = first.clone();
    correction.outcome = Outcome::Correction;
    correction.charges = vec![charged("messages", 0, 2)];
    let second = posting(&ama(), 1, PostingKind::Correction, vec![]);
    let postings = vec![commit(&ama(), 1, 1), second];
    append(
        &ledger,
        batch(vec![correction.clone(), first.clone()], postings.clone()),
    )
    .await;
    let tenant = ama().tenant;
    let found = ledger.attempt(tenant.as_ref(), id(1)).await;
    let found = found.expect("it is read").expect("it is there");
    assert_eq!(found.records, [first, correction]);
    assert_eq!(found.postings, postings);
    let missing = ledger.attempt(tenant.as_ref(), id(2)).await;
    assert_eq!(missing.expect("it is read"), None);
}

/// Nothing of one tenant shows in what another one reads.
pub async fn tenants_see_nothing_of_each_other(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    append(
        &ledger,
        batch(vec![attempt(&ama(), 1, START)], vec![commit(&ama(), 1, 3)]),
    )
    .await;
    for other in [of(Some("globex"), "ama"), of(None, "ama"), of(None, "acme")] {
        let tenant = other.tenant.clone();
        let log = ledger.log(&LogQuery::of(tenant.clone(), 10)).await;
        assert_eq!(log.expect("a page").rows, []);
        let one = ledger.attempt(tenant.as_ref(), id(1)).await;
        assert_eq!(one.expect("it is read"), None);
        assert_eq!(used(&ledger, &other).await, 0);
        let query = StatisticsQuery {
            tenant: tenant.clone(),
            quota: quota("messages"),
            span: Span::ALL,
            bucket: Bucket::Month,
            by: None,
        };
        let figures = ledger.statistics(&query);
        let figures = figures.await.expect("figures");
        assert_eq!(
            (figures.total.attempts, figures.users),
            (BTreeMap::new(), 0)
        );
        let query = UsageQuery {
            requester: other,
            quota: None,
            span: Span::ALL,
            bucket: Bucket::Day,
            by_tag: None,
        };
        let usage = ledger.usage(&query);
        assert_eq!(usage.await.expect("usage"), []);
        let query = AuditQuery {
            tenant,
            target: None,
            actor: None,
            action: None,
            span: Span::ALL,
            after: None,
            limit: 10,
        };
        let audits = ledger.audits(&query);
        assert_eq!(audits.await.expect("a page").rows, []);
    }
}

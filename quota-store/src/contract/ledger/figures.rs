//! Figures agree with the log.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use super::{
    LedgerUnderTest,
    records::{DAY, START, ama, append, attempt, batch, charged, of, quota, tags, tenant, units},
};
use crate::{
    PlanName, Scope, UnixMillis,
    ledger::{
        Bucket, By, Ledger, Outcome, Part, Span, Statistics, StatisticsQuery, Usage, UsageQuery,
    },
};

const HOUR: u64 = 3_600_000;

/// Three attempts of two users and denials, over two days.
async fn some(under: &impl LedgerUnderTest) -> Arc<dyn Ledger> {
    let ledger = under.open().await;
    let bob = of(Some("acme"), "bob");
    let mut first = attempt(&ama(), 1, START + 10);
    first.charges = vec![charged("messages", 5, 7)];
    first.tags = tags([("goal", "grow")]);
    let mut second = attempt(&ama(), 2, START + HOUR);
    second.charges = vec![charged("messages", 2, 2), charged("tokens", 9, 9)];
    second.tags = tags([("goal", "rest")]);
    let mut third = attempt(&bob, 3, START + DAY);
    third.rule = Some("GET /x".to_owned());
    if let Some(plan) = &mut third.plan {
        plan.plan = PlanName::new("pro").expect("a name");
    }
    let mut denied = attempt(&bob, 4, START + DAY + HOUR);
    denied.outcome = Outcome::Denied;
    denied.charges = vec![charged("messages", 1, 0)];
    denied.count = NonZeroU32::new(40).expect("not zero");
    let mut correction = attempt(&ama(), 1, START + 10);
    correction.outcome = Outcome::Correction;
    correction.charges = vec![charged("messages", 0, -3)];
    correction.tags.clone_from(&first.tags);
    let all = vec![first, second, third, denied, correction];
    let copies = batch(all.clone(), vec![]);
    append(&ledger, batch(all, vec![])).await;
    // What comes again is not added again.
    append(&ledger, copies).await;
    ledger
}

async fn statistics(ledger: &Arc<dyn Ledger>, bucket: Bucket, by: Option<By>) -> Statistics {
    let query = StatisticsQuery {
        tenant: ama().tenant,
        quota: quota("messages"),
        span: Span {
            from: UnixMillis::new(START),
            to: UnixMillis::new(START + 2 * DAY),
        },
        bucket,
        by,
    };
    ledger.statistics(&query).await.expect("figures")
}

/// Totals, users, denials and sizes are those of the attempts.
pub async fn figures_add_up(under: impl LedgerUnderTest) {
    let ledger = some(&under).await;
    let figures = statistics(&ledger, Bucket::Month, None).await;
    let attempts = BTreeMap::from([(Outcome::Committed, 3), (Outcome::Denied, 40)]);
    assert_eq!(figures.total.attempts, attempts);
    assert_eq!(figures.total.charged, 7 + 2 + 1 - 3);
    assert_eq!(figures.users, 2);
    assert_eq!(figures.sizes.p50, units(2));
    assert_eq!(
        (figures.sizes.p90, figures.sizes.largest),
        (units(7), units(7))
    );
    assert_eq!(figures.parts.len(), 1);
    let part = &figures.parts[0];
    assert_eq!((part.from.get(), &part.figures), (START, &figures.total));
}

fn shown(parts: &[Part]) -> Vec<(u64, &str, i64)> {
    parts
        .iter()
        .map(|part| {
            let from = part.from.get() - START;
            (from, part.group.as_str(), part.figures.charged)
        })
        .collect()
}

/// The groups of a split are those that occur.
pub async fn figures_split_by_plan_rule_and_tag(under: impl LedgerUnderTest) {
    let ledger = some(&under).await;
    let by_plan = statistics(&ledger, Bucket::Month, Some(By::Plan)).await;
    assert_eq!(shown(&by_plan.parts), [(0, "free", 6), (0, "pro", 1)]);
    let by_rule = statistics(&ledger, Bucket::Day, Some(By::Rule)).await;
    let expected = [
        (0, "POST /api/v1/chat", 6),
        (DAY, "GET /x", 1),
        (DAY, "POST /api/v1/chat", 0),
    ];
    assert_eq!(shown(&by_rule.parts), expected);
    let by_tag = statistics(&ledger, Bucket::Month, Some(By::Tag("goal".to_owned()))).await;
    assert_eq!(shown(&by_tag.parts), [(0, "grow", 4), (0, "rest", 2)]);
}

/// Hours and days in which nothing happened are left out.
pub async fn figures_have_parts(under: impl LedgerUnderTest) {
    let ledger = some(&under).await;
    let hours = statistics(&ledger, Bucket::Hour, None).await;
    let expected = [(0, "", 4), (HOUR, "", 2), (DAY, "", 1), (DAY + HOUR, "", 0)];
    assert_eq!(shown(&hours.parts), expected);
    let days = statistics(&ledger, Bucket::Day, None).await;
    assert_eq!(shown(&days.parts), [(0, "", 6), (DAY, "", 1)]);
}

/// A user's own series, by any part and by tag.
pub async fn usage_of_a_user_adds_up(under: impl LedgerUnderTest) {
    let ledger = some(&under).await;
    let usage = async |requester, quota_name: Option<&str>, bucket, by_tag: Option<&str>| {
        let query = UsageQuery {
            requester,
            quota: quota_name.map(quota),
            span: Span {
                from: UnixMillis::new(START),
                to: UnixMillis::new(START + 2 * DAY),
            },
            bucket,
            by_tag: by_tag.map(str::to_owned),
        };
        let rows = ledger.usage(&query).await.expect("usage");
        let shown = rows.into_iter().map(|row| {
            let Usage {
                quota,
                from,
                group,
                attempts,
                denied,
                charged,
            } = row;
            let from = from.get() - START;
            (quota.to_string(), from, group, (attempts, denied, charged))
        });
        shown.collect::<Vec<_>>()
    };
    let row = |quota: &str, from: u64, group: &str, figures| {
        (quota.to_owned(), from, group.to_owned(), figures)
    };
    for bucket in [Bucket::Day, Bucket::Month] {
        let expected = [
            row("messages", 0, "", (2, 0, 6)),
            row("tokens", 0, "", (1, 0, 9)),
        ];
        assert_eq!(usage(ama(), None, bucket, None).await, expected);
    }
    let expected = [
        row("messages", 0, "", (1, 0, 4)),
        row("messages", HOUR, "", (1, 0, 2)),
    ];
    assert_eq!(
        usage(ama(), Some("messages"), Bucket::Hour, None).await,
        expected
    );
    let expected = [
        row("messages", 0, "grow", (1, 0, 4)),
        row("messages", 0, "rest", (1, 0, 2)),
    ];
    let by_goal = usage(ama(), Some("messages"), Bucket::Day, Some("goal")).await;
    assert_eq!(by_goal, expected);
    let bob = of(Some("acme"), "bob");
    let expected = [row("messages", DAY, "", (41, 40, 1))];
    assert_eq!(usage(bob, None, Bucket::Day, None).await, expected);
}

/// What a new window begins with: exact to the millisecond, for users and tenants.
pub async fn what_was_charged_in_any_time_adds_up(under: impl LedgerUnderTest) {
    let ledger = some(&under).await;
    let check = async |scope, from, to, expected| {
        let subject = match scope {
            Scope::User => ama().subject(Scope::User).expect("a user"),
            Scope::Tenant => crate::Subject::Tenant(tenant("acme")),
        };
        let span = Span {
            from: UnixMillis::new(START + from - DAY),
            to: UnixMillis::new(START + to - DAY),
        };
        let charged = ledger.charged(&subject, &quota("messages"), span).await;
        assert_eq!(
            charged.expect("a sum"),
            units(expected),
            "{scope:?} {from} {to}"
        );
    };
    for scope in [Scope::User, Scope::Tenant] {
        check(scope, 0, DAY, 0).await;
        check(scope, 0, DAY + 10, 0).await;
        check(scope, 0, DAY + 11, 4).await;
        check(scope, DAY + 11, DAY + HOUR, 0).await;
        check(scope, DAY + 11, DAY + HOUR + 1, 2).await;
        check(scope, 5, 2 * DAY, 6).await;
    }
    check(Scope::User, 0, 4 * DAY, 6).await;
    check(Scope::Tenant, 0, 4 * DAY, 7).await;
    check(Scope::Tenant, DAY + 11, 2 * DAY + 1, 3).await;
}

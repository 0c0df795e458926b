//! Another plan, and what becomes of what was used.

use std::time::Duration;

use quota_layer::administration::{
    AdjustTo, AdminError, ChangeAt, ChangeRule, Expires, PlanChange,
};
use quota_store::{Subject, UnixMillis, Window, ledger::PlanSource};
use quota_tests::{layers::Store, requests::header, tokens::Claims};

use super::{Office, change_to, none, noon, plan, tenant, told, user};

async fn a_plan_holds_with_the_next_request(store: Store) {
    let office = Office::new(store).await;
    assert_eq!(office.told("alice").await, told("free", "5", "1"));
    office.assign("alice", "pro", ChangeRule::Carry).await;
    // Of a month, 2 of 100 are used; of the day, 2 of 20, which is closer.
    assert_eq!(office.told("alice").await, told("pro", "20", "2"));
    office.assign("alice", "open", ChangeRule::Carry).await;
    assert_eq!(office.told("alice").await, told("open", "unlimited", "3"));
    assert_eq!(office.told("bob").await, told("free", "5", "1"));
    let standing = office.admin.user(&none("alice"), None).await.unwrap();
    assert_eq!(standing.plan.plan.name.as_str(), "open");
    assert_eq!(standing.plan.source, PlanSource::Assignment);
    assert!(standing.plan.since.is_some());
    let audits = office.audits("alice").await;
    assert_eq!(audits.len(), 2);
    assert_eq!(audits[0].before["assignments"][0]["plan"], "pro");
    assert_eq!(audits[0].after["assignments"][0]["plan"], "open");
}

async fn a_window_that_only_the_new_plan_has_begins_with_the_ledger(store: Store) {
    let office = Office::new(store).await;
    for _ in 0..4 {
        assert_eq!(office.status("/chat", "alice").await, 200);
    }
    quota_tests::eventually(
        || async {
            let seen = office
                .admin
                .ledger()
                .unwrap()
                .last_seen(&user("alice"))
                .await;
            let span = quota_store::ledger::Span::ALL;
            let charged = office.admin.ledger().unwrap();
            let charged = charged
                .charged(&user("alice"), &super::quota("messages"), span)
                .await;
            seen.unwrap().is_some() && charged.unwrap().get() == 4
        },
        "the ledger has four attempts",
    )
    .await;
    office.assign("alice", "pro", ChangeRule::Carry).await;
    let standing = office.admin.user(&none("alice"), None).await.unwrap();
    let used: Vec<(String, u64)> = standing.quotas[0]
        .counters
        .iter()
        .map(|counter| (counter.window.clone(), counter.used))
        .collect();
    assert_eq!(used, [("day".to_owned(), 4), ("month".to_owned(), 4)]);
}

async fn a_reset_begins_at_zero_and_carry_does_not(store: Store) {
    let office = Office::new(store).await;
    for _ in 0..5 {
        assert_eq!(office.status("/chat", "alice").await, 200);
    }
    assert_eq!(office.status("/chat", "alice").await, 429);
    office.assign("alice", "pro", ChangeRule::Reset).await;
    assert_eq!(office.told("alice").await, told("pro", "20", "1"));
    office.assign("alice", "free", ChangeRule::Carry).await;
    assert_eq!(office.told("alice").await, told("free", "5", "2"));
}

#[tokio::test]
async fn prorating_gives_each_plan_its_share_of_the_day() {
    let (clock, now) = noon();
    let office = Office::at(Store::Memory, super::PLANS, clock.clone()).await;
    assert_eq!(office.told("alice").await, told("free", "5", "1"));
    // Half of the day at 5, half of it at 20: 12 and a half, rounded down.
    office.assign("alice", "pro", ChangeRule::Prorate).await;
    assert_eq!(office.told("alice").await, told("pro", "12", "2"));
    // Of the month 10 and a half of 30 days had no limit: it is the new plan's.
    let standing = office.admin.user(&none("alice"), None).await.unwrap();
    assert_eq!(standing.quotas[0].counters[1].limit, Some(100));
    // With the next day the plan's own limit holds.
    clock.set(now.saturating_add(Duration::from_hours(12)));
    assert_eq!(office.told("alice").await, told("pro", "20", "1"));
    // Back again at a quarter of the day: (20 x 6 + 5 x 18) / 24 = 8.75.
    clock.set(now.saturating_add(Duration::from_hours(18)));
    office.assign("alice", "free", ChangeRule::Prorate).await;
    assert_eq!(office.told("alice").await, told("free", "8", "2"));
}

#[tokio::test]
async fn additive_adds_what_was_left() {
    let (clock, now) = noon();
    let office = Office::at(Store::Memory, super::PLANS, clock.clone()).await;
    for _ in 0..3 {
        assert_eq!(office.status("/chat", "alice").await, 200);
    }
    // max(5, 3) + 20.
    office.assign("alice", "pro", ChangeRule::Additive).await;
    assert_eq!(office.told("alice").await, told("pro", "25", "4"));
    // What a change of plan gave goes with the next one.
    office.assign("alice", "free", ChangeRule::Carry).await;
    assert_eq!(office.told("alice").await, told("free", "5", "5"));
    office.assign("alice", "open", ChangeRule::Additive).await;
    assert_eq!(office.told("alice").await, told("open", "unlimited", "6"));
    clock.set(now.saturating_add(Duration::from_hours(12)));
    office.assign("alice", "free", ChangeRule::Carry).await;
    assert_eq!(office.told("alice").await, told("free", "5", "1"));
}

#[tokio::test]
async fn plans_begin_and_end_when_they_were_told_to() {
    let (clock, now) = noon();
    let office = Office::at(Store::Memory, super::PLANS, clock.clone()).await;
    let later = |hours: u64| now.saturating_add(Duration::from_hours(hours));
    let change = PlanChange {
        starts_at: Some(later(1)),
        ends_at: Some(later(2)),
        then: Some(plan("open")),
        ..change_to("pro")
    };
    office
        .admin
        .assign(&user("alice"), &change, &office.doing())
        .await
        .unwrap();
    assert_eq!(office.told("alice").await.0, "free");
    clock.set(later(1));
    assert_eq!(office.told("alice").await.0, "pro");
    clock.set(UnixMillis::new(later(2).get() - 1));
    assert_eq!(office.told("alice").await.0, "pro");
    clock.set(later(2));
    assert_eq!(office.told("alice").await.0, "open");
}

#[tokio::test]
async fn at_the_end_of_the_period_is_the_end_of_the_month() {
    let (clock, _) = noon();
    let office = Office::at(Store::Memory, super::PLANS, clock.clone()).await;
    let change = PlanChange {
        at: ChangeAt::PeriodEnd,
        ..change_to("pro")
    };
    office
        .admin
        .assign(&user("alice"), &change, &office.doing())
        .await
        .unwrap();
    // 2026-05-01T00:00:00Z.
    let end = UnixMillis::from_seconds(1_777_593_600);
    clock.set(UnixMillis::new(end.get() - 1));
    assert_eq!(office.told("alice").await.0, "free");
    clock.set(end);
    assert_eq!(office.told("alice").await.0, "pro");
}

const SUBSCRIPTION: &str = r#"
[quotas.messages]
[plans.free]
default = true
limits.messages = "5/day"
[plans.paid]
anchor = "subscription"
limits.messages = "3/month"
[[routes]]
match = "GET /chat"
charge = { messages = 1 }
"#;

#[tokio::test]
async fn billing_months_begin_with_the_billing_day_in_the_zone_of_the_assignment() {
    let (clock, _) = noon();
    let office = Office::at(Store::Memory, SUBSCRIPTION, clock.clone()).await;
    let change = PlanChange {
        // 2026-01-20T23:30:00Z is the 21st in Paris.
        anchor: Some(UnixMillis::from_seconds(1_768_951_800)),
        timezone: Some("Europe/Paris".to_owned()),
        ..change_to("paid")
    };
    office
        .admin
        .assign(&user("alice"), &change, &office.doing())
        .await
        .unwrap();
    for _ in 0..3 {
        assert_eq!(office.status("/chat", "alice").await, 200);
    }
    let denied = office.get("/chat", &Claims::user("alice")).await;
    assert_eq!(denied.status(), 429);
    // 2026-04-20T22:00:00Z is midnight of the 21st in Paris.
    assert_eq!(header(&denied, "x-quota-reset"), "1776722400");
    clock.set(UnixMillis::from_seconds(1_776_722_400));
    assert_eq!(office.told("alice").await, told("paid", "3", "1"));
    // Without another anchor the billing day stays through a change.
    office.assign("alice", "paid", ChangeRule::Carry).await;
    assert_eq!(office.told("alice").await, told("paid", "3", "2"));
}

const TENANTS: &str = r#"
[store]
timeout = "5s"
[quotas.messages]
[plans.free]
default = true
limits.messages = "5/day"
[plans.team]
limits.messages = "10/day"
tenant_limits.messages = "12/month"
[plans.vip]
limits.messages = "50/day"
[[routes]]
match = "GET /chat"
charge = { messages = 1 }
"#;

async fn a_tenants_plan_is_its_members_and_no_other_tenants(store: Store) {
    let office = Office::with(store, TENANTS).await;
    let acme = Subject::Tenant(tenant("acme"));
    let plan_of = async |claims: &Claims| {
        let response = office.get("/chat", claims).await;
        header(&response, "x-quota-plan").to_owned()
    };
    let (alice, bob, eve) = (
        Claims::user("alice").with_org("acme"),
        Claims::user("bob").with_org("acme"),
        Claims::user("alice").with_org("umbrella"),
    );
    assert_eq!(plan_of(&alice).await, "free");
    let team = change_to("team");
    office
        .admin
        .assign(&acme, &team, &office.doing())
        .await
        .unwrap();
    assert_eq!(plan_of(&alice).await, "team");
    assert_eq!(plan_of(&eve).await, "free");
    let member = Subject::User {
        tenant: Some(tenant("acme")),
        user: none("bob").user,
    };
    let vip = change_to("vip");
    office
        .admin
        .assign(&member, &vip, &office.doing())
        .await
        .unwrap();
    assert_eq!(plan_of(&alice).await, "team");
    // His own day has room; the tenant's month is the closest of all.
    let response = office.get("/chat", &bob).await;
    assert_eq!(header(&response, "x-quota-scope"), "tenant");
    assert_eq!(plan_of(&Claims::user("alice")).await, "free");
    let standing = office.admin.tenant(&tenant("acme")).await.unwrap();
    assert_eq!(standing.plan.plan.name.as_str(), "team");
    let counters = &standing.quotas[0].counters;
    assert_eq!((counters.len(), counters[0].scope), (1, "tenant"));
}

#[tokio::test]
async fn another_process_follows_before_its_next_admission() {
    let here = Office::new(Store::Redis).await;
    let there = here.another().await;
    assert_eq!(there.told("alice").await, told("free", "5", "1"));
    here.assign("alice", "pro", ChangeRule::Carry).await;
    assert_eq!(there.told("alice").await, told("pro", "20", "2"));
    here.adjust("alice", AdjustTo::Limit(super::at_most(2)), Expires::Never)
        .await;
    assert_eq!(there.status("/chat", "alice").await, 429);
}

#[tokio::test]
async fn the_same_again_changes_nothing_more() {
    let office = Office::new(Store::Memory).await;
    for _ in 0..5 {
        assert_eq!(office.status("/chat", "alice").await, 200);
    }
    let doing = office.doing();
    let change = PlanChange {
        rule: ChangeRule::Reset,
        ..change_to("pro")
    };
    office
        .admin
        .assign(&user("alice"), &change, &doing)
        .await
        .unwrap();
    assert_eq!(office.told("alice").await, told("pro", "20", "1"));
    office
        .admin
        .assign(&user("alice"), &change, &doing)
        .await
        .unwrap();
    assert_eq!(office.told("alice").await, told("pro", "20", "2"));
    assert_eq!(office.audits("alice").await.len(), 1);
}

#[tokio::test]
async fn what_contradicts_itself_is_refused_with_the_field_at_fault() {
    let (clock, now) = noon();
    let office = Office::at(Store::Memory, super::PLANS, clock).await;
    let check = async |change: PlanChange, expected: &str| {
        let error = office
            .admin
            .assign(&user("alice"), &change, &office.doing())
            .await;
        match error {
            Err(AdminError::Invalid { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    };
    check(change_to("gold"), "plan").await;
    check(change_to("old"), "plan").await;
    let zone = Some("Europe/Pariss".to_owned());
    check(
        PlanChange {
            timezone: zone,
            ..change_to("pro")
        },
        "timezone",
    )
    .await;
    check(
        PlanChange {
            ends_at: Some(now),
            ..change_to("pro")
        },
        "ends_at",
    )
    .await;
    check(
        PlanChange {
            then: Some(plan("free")),
            ..change_to("pro")
        },
        "then",
    )
    .await;
    let both = PlanChange {
        at: ChangeAt::PeriodEnd,
        starts_at: Some(now),
        ..change_to("pro")
    };
    check(both, "starts_at").await;
    let later = PlanChange {
        at: ChangeAt::PeriodEnd,
        rule: ChangeRule::Reset,
        ..change_to("pro")
    };
    check(later, "rule").await;
    assert!(office.audits("alice").await.is_empty());
}

#[tokio::test]
async fn what_a_user_has_of_a_token_is_shown_to_that_user() {
    let office = Office::new(Store::Memory).await;
    let identity = quota_layer::QuotaIdentity::new("alice").with_plan("pro");
    let own = office
        .admin
        .user(&none("alice"), Some(&identity))
        .await
        .unwrap();
    assert_eq!(own.plan.plan.name.as_str(), "pro");
    assert_eq!(own.plan.source, PlanSource::Claim);
    let images = own
        .quotas
        .iter()
        .find(|quota| quota.quota.as_str() == "images");
    assert_eq!(images.unwrap().remaining, Some(10));
    let seen = office.admin.user(&none("alice"), None).await.unwrap();
    assert_eq!(seen.plan.source, PlanSource::Default);
    let images = seen
        .quotas
        .iter()
        .find(|quota| quota.quota.as_str() == "images");
    assert!(!images.unwrap().allowed);
    assert_eq!(seen.last_seen_at, None);
    assert_eq!(seen.quotas[0].counters[0].window, Window::Day.to_string());
}

on_both_stores! {
    a_plan_holds_with_the_next_request,
    a_window_that_only_the_new_plan_has_begins_with_the_ledger,
    a_reset_begins_at_zero_and_carry_does_not,
    a_tenants_plan_is_its_members_and_no_other_tenants,
}

//! Limits of single subjects.

use std::time::Duration;

use quota_layer::administration::{AdjustTo, Adjustment, AdminError, ChangeRule, Expires};
use quota_store::{Bound, Subject, Window};
use quota_tests::{layers::Store, requests::header, tokens::Claims};

use super::{Office, at_most, messages_a_day, none, noon, quota, tenant, told, user};

async fn a_limit_holds_with_the_next_request(store: Store) {
    let office = Office::new(store).await;
    assert_eq!(office.told("alice").await, told("free", "5", "1"));
    office
        .adjust("alice", AdjustTo::Limit(at_most(9)), Expires::Never)
        .await;
    assert_eq!(office.told("alice").await, told("free", "9", "2"));
    office
        .adjust("alice", AdjustTo::Add(-6), Expires::Never)
        .await;
    assert_eq!(office.told("alice").await, told("free", "3", "3"));
    assert_eq!(office.status("/chat", "alice").await, 429);
    office
        .adjust("alice", AdjustTo::Limit(Bound::Unlimited), Expires::Never)
        .await;
    assert_eq!(office.told("alice").await, told("free", "unlimited", "4"));
    office.adjust("alice", AdjustTo::Plan, Expires::Never).await;
    assert_eq!(office.told("alice").await, told("free", "5", "5"));
    assert_eq!(office.told("bob").await, told("free", "5", "1"));
    assert_eq!(office.audits("alice").await.len(), 4);
}

async fn below_what_was_used_nothing_is_admitted_and_nothing_is_negative(store: Store) {
    let office = Office::new(store).await;
    for _ in 0..4 {
        assert_eq!(office.status("/chat", "alice").await, 200);
    }
    office
        .adjust("alice", AdjustTo::Limit(at_most(2)), Expires::Never)
        .await;
    let denied = office.get("/chat", &Claims::user("alice")).await;
    assert_eq!(denied.status(), 429);
    assert_eq!(header(&denied, "x-quota-remaining"), "0");
    let standing = office.admin.user(&none("alice"), None).await.unwrap();
    assert_eq!(standing.overrides.len(), 1);
    assert_eq!(standing.quotas[0].remaining, Some(0));
    assert!(!standing.quotas[0].allowed);
}

#[tokio::test]
async fn a_limit_ends_by_itself() {
    let (clock, now) = noon();
    let office = Office::at(Store::Memory, super::PLANS, clock.clone()).await;
    let hour = now.saturating_add(Duration::from_hours(1));
    office
        .adjust("alice", AdjustTo::Add(10), Expires::At(hour))
        .await;
    assert_eq!(office.told("alice").await, told("free", "15", "1"));
    clock.set(hour);
    assert_eq!(office.told("alice").await, told("free", "5", "2"));
    office
        .adjust("alice", AdjustTo::Limit(at_most(8)), Expires::WindowEnd)
        .await;
    assert_eq!(office.told("alice").await, told("free", "8", "3"));
    clock.set(now.saturating_add(Duration::from_hours(12)));
    assert_eq!(office.told("alice").await, told("free", "5", "1"));
}

#[tokio::test]
async fn a_limit_where_the_plan_has_none_begins_with_the_ledger() {
    let office = Office::new(Store::Memory).await;
    for _ in 0..3 {
        assert_eq!(office.status("/chat", "alice").await, 200);
    }
    let month = Adjustment {
        window: Window::Month,
        ..messages_a_day(AdjustTo::Limit(at_most(4)))
    };
    let status = office
        .admin
        .adjust(&user("alice"), &month, &office.doing())
        .await;
    let status = status.unwrap();
    assert_eq!((status.limit, status.used), (Some(4), 3));
    assert_eq!(office.status("/chat", "alice").await, 200);
    assert_eq!(office.status("/chat", "alice").await, 429);
}

#[tokio::test]
async fn what_the_plan_does_not_include_can_be_given_to_one() {
    let office = Office::new(Store::Memory).await;
    assert_eq!(office.status("/draw", "alice").await, 429);
    let images = Adjustment {
        quota: quota("images"),
        ..messages_a_day(AdjustTo::Limit(at_most(1)))
    };
    office
        .admin
        .adjust(&user("alice"), &images, &office.doing())
        .await
        .unwrap();
    assert_eq!(office.status("/draw", "alice").await, 200);
    assert_eq!(office.status("/draw", "alice").await, 429);
    assert_eq!(office.status("/draw", "bob").await, 429);
}

#[tokio::test]
async fn a_tenants_limit_is_not_its_members() {
    let office = Office::new(Store::Memory).await;
    let acme = Subject::Tenant(tenant("acme"));
    let limit = messages_a_day(AdjustTo::Limit(at_most(1)));
    let status = office
        .admin
        .adjust(&acme, &limit, &office.doing())
        .await
        .unwrap();
    assert_eq!((status.scope, status.limit), ("tenant", Some(1)));
    let alice = Claims::user("alice").with_org("acme");
    let bob = Claims::user("bob").with_org("acme");
    assert_eq!(office.get("/chat", &alice).await.status(), 200);
    let denied = office.get("/chat", &bob).await;
    assert_eq!(header(&denied, "x-quota-scope"), "tenant");
    assert_eq!(office.status("/chat", "alice").await, 200);
    let other = Claims::user("bob").with_org("umbrella");
    assert_eq!(office.get("/chat", &other).await.status(), 200);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_field_at_fault() {
    let (clock, now) = noon();
    let office = Office::at(Store::Memory, super::PLANS, clock).await;
    office.assign("alice", "open", ChangeRule::Carry).await;
    let check = async |adjustment: Adjustment, expected: &str| {
        let error = office
            .admin
            .adjust(&user("alice"), &adjustment, &office.doing())
            .await;
        match error {
            Err(AdminError::Invalid { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    };
    let limit = || messages_a_day(AdjustTo::Limit(at_most(1)));
    check(
        Adjustment {
            quota: quota("mesages"),
            ..limit()
        },
        "quota",
    )
    .await;
    check(messages_a_day(AdjustTo::Add(1)), "add").await;
    let week = Adjustment {
        window: Window::Week,
        ..messages_a_day(AdjustTo::Add(1))
    };
    check(week, "add").await;
    check(
        Adjustment {
            expires: Expires::At(now),
            ..limit()
        },
        "expires_at",
    )
    .await;
    let lifetime = Adjustment {
        window: Window::Lifetime,
        expires: Expires::WindowEnd,
        ..limit()
    };
    check(lifetime, "expires_at").await;
}

on_both_stores! {
    a_limit_holds_with_the_next_request,
    below_what_was_used_nothing_is_admitted_and_nothing_is_negative,
}

//! Which plan a request falls under, and what a plan that lacks a quota does.

use quota_store::Scope;
use quota_tests::{
    layers::Store,
    requests::{header, json},
    tokens::Claims,
};

use super::{Quotas, quota_header};

const CONFIG: &str = r#"
[identity]
unknown_plan = "default"
[quotas.messages]
[quotas.images]
[quotas.tokens]
[plans.free]
default = true
limits.messages = "1/day"
limits.images = 0
[plans.pro]
limits.messages = "2/day"
limits.images = ["5/day", "50/month"]
[plans.pro.reserve]
tokens = 7
[plans.open]
unlisted = "unlimited"
limits.messages = "unlimited"
[plans.member]
limits.messages = "9/day"
[plans.org]
tenant_limits.tokens = "100/month"
[[routes]]
match = "GET /chat"
charge = { messages = 1 }
[[routes]]
match = "GET /draw"
charge = { images = 1 }
[[routes]]
match = "GET /tokens"
charge = { tokens = { reserve = 3, max = 5, actual = "handler" } }
"#;

fn on(plan: &str) -> Claims {
    Claims::user("alice").with_plan(plan)
}

async fn the_claim_decides_and_else_the_default(store: Store) {
    let quotas = Quotas::new(store, CONFIG).await;
    let limits = async |claims: Claims| {
        let response = quotas.get("/chat", &claims).await;
        let plan = quota_header(&response, "plan").to_owned();
        (plan, quota_header(&response, "limit").to_owned())
    };
    let expected = |plan: &str, limit: &str| (plan.to_owned(), limit.to_owned());
    assert_eq!(limits(Claims::user("a")).await, expected("free", "1"));
    assert_eq!(
        limits(Claims::user("b").with_plan("pro")).await,
        expected("pro", "2")
    );
    assert_eq!(
        limits(Claims::user("c").with_plan("gold")).await,
        expected("free", "1")
    );
    assert_eq!(
        limits(Claims::user("d").with_plan("open")).await,
        expected("open", "unlimited")
    );
}

async fn an_unknown_plan_may_be_denied(store: Store) {
    let quotas = Quotas::new(
        store,
        &CONFIG.replace("unknown_plan = \"default\"", "unknown_plan = \"deny\""),
    )
    .await;
    let refused = quotas.get("/chat", &on("gold")).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(json(&refused)["reason"], "unknown_plan");
    assert_eq!(quotas.status("/chat", &Claims::user("alice")).await, 200);
}

/// A change of plan refills nobody.
async fn a_user_who_changes_the_plan_keeps_what_was_used(store: Store) {
    let quotas = Quotas::new(store, CONFIG).await;
    assert_eq!(quotas.status("/chat", &on("free")).await, 200);
    assert_eq!(quotas.status("/chat", &on("free")).await, 429);
    let upgraded = quotas.get("/chat", &on("pro")).await;
    assert_eq!(
        (upgraded.status().as_u16(), quota_header(&upgraded, "used")),
        (200, "2")
    );
    assert_eq!(quotas.status("/chat", &on("free")).await, 429);
    let unlimited = quotas.get("/chat", &on("open")).await;
    assert_eq!(
        (
            unlimited.status().as_u16(),
            quota_header(&unlimited, "used")
        ),
        (200, "3")
    );
    assert_eq!(quotas.status("/chat", &on("pro")).await, 429);
}

async fn what_a_plan_does_not_include_is_refused_without_a_wait(store: Store) {
    let quotas = Quotas::new(store, CONFIG).await;
    for (path, plan) in [
        ("/draw", "free"),
        ("/tokens", "free"),
        ("/tokens", "member"),
    ] {
        let refused = quotas.get(path, &on(plan)).await;
        assert_eq!(refused.status(), 429, "{path} {plan}");
        assert_eq!(json(&refused)["reason"], "not_included");
        assert_eq!(quota_header(&refused, "state"), "not_included");
        assert_eq!(quota_header(&refused, "limit"), "0");
        assert_eq!(header(&refused, "retry-after"), "");
    }
}

async fn what_an_open_plan_does_not_list_is_unlimited_and_counted(store: Store) {
    let quotas = Quotas::new(store, CONFIG).await;
    let response = quotas.get("/draw", &on("open")).await;
    assert_eq!(response.status(), 200);
    let shown =
        ["state", "limit", "used", "remaining", "window"].map(|name| quota_header(&response, name));
    assert_eq!(shown, ["unlimited", "unlimited", "1", "", "month"]);
    assert_eq!(header(&response, "ratelimit"), "");
    // Counted in every window that any plan gives the quota.
    for window in ["day", "month"] {
        assert_eq!(
            quotas
                .used(Scope::User, ("alice", None), ("images", window))
                .await,
            1
        );
    }
    let response = quotas.get("/draw", &on("pro")).await;
    assert_eq!(quota_header(&response, "used"), "2");
}

/// The tenant's share does not give a member what the member's own plan lacks.
async fn a_tenants_limit_does_not_include_a_quota_in_a_members_plan(store: Store) {
    let text = CONFIG.replace(
        "default = true",
        "default = true\ntenant_limits.tokens = \"100/month\"",
    );
    let quotas = Quotas::new(store, &text).await;
    let refused = quotas.get("/tokens", &on("member").with_org("acme")).await;
    assert_eq!(
        (refused.status().as_u16(), quota_header(&refused, "state")),
        (429, "not_included")
    );
    let allowed = quotas.get("/tokens", &on("free").with_org("acme")).await;
    assert_eq!(allowed.status(), 200);
    let who = ("alice", Some("acme"));
    assert_eq!(
        quotas.used(Scope::Tenant, who, ("tokens", "month")).await,
        3
    );
}

async fn a_plans_reserve_wins_up_to_the_max(store: Store) {
    let text = CONFIG.replace(
        "unlisted = \"unlimited\"",
        "unlisted = \"unlimited\"\nreserve.tokens = 4",
    );
    let text = text.replace(
        "[plans.pro.reserve]",
        "[plans.pro.tenant_limits]\nmessages = \"1/day\"\n[plans.pro.reserve]",
    );
    let text = text.replace(
        "limits.images = [\"5/day\", \"50/month\"]",
        "limits.images = [\"5/day\", \"50/month\"]\nlimits.tokens = \"100/month\"",
    );
    let quotas = Quotas::new(store, &text).await;
    let used = async |user: &'static str, plan: &'static str| {
        let claims = Claims::user(user).with_plan(plan);
        let response = quotas.get("/tokens", &claims).await;
        quota_header(&response, "used").to_owned()
    };
    assert_eq!(used("a", "open").await, "4");
    assert_eq!(used("b", "pro").await, "5");
}

async fn a_token_without_a_tenant_may_be_refused(store: Store) {
    let quotas = Quotas::new(
        store,
        &CONFIG.replace("[identity]", "[identity]\nrequire_tenant = true"),
    )
    .await;
    let refused = quotas.get("/chat", &Claims::user("alice")).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(json(&refused)["reason"], "tenant_required");
    assert_eq!(
        quotas
            .status("/chat", &Claims::user("alice").with_org("acme"))
            .await,
        200
    );
}

on_both_stores!(
    the_claim_decides_and_else_the_default,
    an_unknown_plan_may_be_denied,
    a_user_who_changes_the_plan_keeps_what_was_used,
    what_a_plan_does_not_include_is_refused_without_a_wait,
    what_an_open_plan_does_not_list_is_unlimited_and_counted,
    a_tenants_limit_does_not_include_a_quota_in_a_members_plan,
    a_plans_reserve_wins_up_to_the_max,
    a_token_without_a_tenant_may_be_refused,
);

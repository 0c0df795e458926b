//! Limits: who and what is counted, what denies, and what clients are told.

mod amounts;
mod denials;
mod fields;
mod grace;
mod plans;
mod refusals;

use axum::{Router, routing};
use bytes::Bytes;
use http::Response;
use quota_store::Scope;
use quota_tests::{
    layers::{Layered, Store, layered, requester},
    requests::{get_as, header, json, send},
    tokens::Claims,
};

/// A layer, and an application whose GET of any path of one segment succeeds.
struct Quotas {
    layered: Layered,
    app: Router,
}

impl Quotas {
    async fn new(store: Store, toml: &str) -> Self {
        let text = format!("{toml}\n[store]\ntimeout = \"5s\"\n");
        let layered = layered(store, &text).await;
        let app = Router::new()
            .route("/{anything}", routing::get(async || "hello"))
            .layer(layered.quota.clone());
        Self { layered, app }
    }

    async fn get(&self, path: &str, claims: &Claims) -> Response<Bytes> {
        send(&self.app, get_as(path, claims)).await
    }

    async fn status(&self, path: &str, claims: &Claims) -> u16 {
        self.get(path, claims).await.status().as_u16()
    }

    /// `used` of a user's counter; nothing is reserved on it.
    async fn used(&self, scope: Scope, who: (&str, Option<&str>), counter: (&str, &str)) -> u64 {
        let requester = requester(who.0, who.1);
        let value = self
            .layered
            .counter(&requester, scope, counter.0, counter.1);
        let value = value.await;
        assert_eq!(value.reserved.get(), 0, "{who:?} {counter:?}");
        value.used.get()
    }
}

/// The named header of `x-quota-*`.
fn quota_header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    header(response, &format!("x-quota-{name}"))
}

const WINDOWS: &str = r#"
[quotas.messages]
[plans.free]
default = true
limits.messages = ["3/day", "5/month"]
tenant_limits.messages = "4/month"
[[routes]]
match = "GET /chat"
charge = { messages = 1 }
"#;

async fn when_one_of_many_counters_denies_none_changes(store: Store) {
    let quotas = Quotas::new(store, WINDOWS).await;
    let counters = async |user: &'static str| {
        let who = (user, Some("acme"));
        [
            quotas.used(Scope::User, who, ("messages", "day")).await,
            quotas.used(Scope::User, who, ("messages", "month")).await,
            quotas.used(Scope::Tenant, who, ("messages", "month")).await,
        ]
    };
    let (alice, bob) = (
        Claims::user("alice").with_org("acme"),
        Claims::user("bob").with_org("acme"),
    );
    for _ in 0..3 {
        assert_eq!(quotas.status("/chat", &alice).await, 200);
    }
    // The user's day is full, the month and the tenant have room.
    let denied = quotas.get("/chat", &alice).await;
    assert_eq!(denied.status(), 429);
    assert_eq!(
        json(&denied)["violated-policies"],
        serde_json::json!(["messages-day"])
    );
    assert_eq!(
        (
            quota_header(&denied, "scope"),
            quota_header(&denied, "window")
        ),
        ("user", "day")
    );
    assert_eq!(counters("alice").await, [3, 3, 3]);
    // Of the tenant's month one unit is left.
    assert_eq!(quotas.status("/chat", &bob).await, 200);
    let denied = quotas.get("/chat", &bob).await;
    assert_eq!(denied.status(), 429);
    assert_eq!(
        json(&denied)["violated-policies"],
        serde_json::json!(["messages-month-tenant"])
    );
    assert_eq!(
        (
            quota_header(&denied, "scope"),
            quota_header(&denied, "window")
        ),
        ("tenant", "month")
    );
    assert_eq!(counters("bob").await, [1, 1, 4]);
    // Both deny: the longest wait comes first.
    let denied = quotas.get("/chat", &alice).await;
    let violated = &json(&denied)["violated-policies"];
    assert_eq!(
        *violated,
        serde_json::json!(["messages-month-tenant", "messages-day"])
    );
    assert_eq!(counters("alice").await, [3, 3, 4]);
}

async fn tenants_are_isolated(store: Store) {
    let quotas = Quotas::new(store, WINDOWS).await;
    for tenant in ["acme", "globex"] {
        let claims = Claims::user("alice").with_org(tenant);
        for _ in 0..3 {
            assert_eq!(quotas.status("/chat", &claims).await, 200, "{tenant}");
        }
        assert_eq!(quotas.status("/chat", &claims).await, 429, "{tenant}");
    }
    // No tenant, no tenant's counter.
    let loner = Claims::user("alice");
    let response = quotas.get("/chat", &loner).await;
    assert_eq!(response.status(), 200);
    assert!(!header(&response, "ratelimit").contains("tenant"));
    assert_eq!(
        quotas
            .used(Scope::User, ("alice", None), ("messages", "day"))
            .await,
        1
    );
    assert_eq!(
        quotas
            .used(
                Scope::Tenant,
                ("alice", Some("acme")),
                ("messages", "month")
            )
            .await,
        3
    );
}

/// Ids that would run together if they were simply joined.
async fn ids_never_run_together(store: Store) {
    let quotas = Quotas::new(store, WINDOWS).await;
    let pairs = [
        ("b", Some("a")),
        ("a:b", None),
        ("b", Some("a:")),
        (":b", Some("a")),
        ("{a}b", None),
        ("b}", Some("{a")),
        ("a%3Ab", None),
        ("A", Some("a")),
        ("a", Some("A")),
        ("-", None),
        ("x", Some("-")),
    ];
    for (user, tenant) in pairs {
        let claims = Claims::user(user);
        let claims = tenant.map_or(claims.clone(), |tenant| claims.with_org(tenant));
        let response = quotas.get("/chat", &claims).await;
        let fields = header(&response, "ratelimit");
        assert!(
            fields.starts_with("\"messages-day\";r=2;"),
            "{user:?} {tenant:?}: {fields}"
        );
    }
}

on_both_stores!(
    when_one_of_many_counters_denies_none_changes,
    tenants_are_isolated,
    ids_never_run_together,
);

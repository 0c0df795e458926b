//! Administrators and users of one tenant, and the things of another.

use std::collections::BTreeSet;

use axum::body::Body;
use http::Request;
use quota_layer::QuotaIdentity;
use serde_json::{Value, json};

use crate::kit::{ACME, Kit, Seen, admin, as_user, attempt, with_body, with_token};

/// Every route of a tenant: method, path of the description, what is asked for of `beta`, and how.
fn routes(id: &str) -> Vec<(&'static str, &'static str, String, Option<Value>)> {
    let one = |method, path: &'static str, query: &str, body| {
        let asked = path
            .replace("{user}", "bob")
            .replace("{tenant}", "beta")
            .replace("{quota}", "messages")
            .replace("{id}", id);
        (method, path, format!("/admin/quotas{asked}{query}"), body)
    };
    let counter = |field: &str| {
        Some(json!({ "quota": "messages", "window": "day", field: 1, "reason": "a try" }))
    };
    let why = || Some(json!({ "reason": "a try" }));
    let plan = || Some(json!({ "plan": "pro", "reason": "a try" }));
    let refund = json!({ "quota": "messages", "amount": 1, "reason": "a try" });
    let many = json!({ "users": ["bob"], "plan": "pro", "reason": "a try" });
    let beta = "?tenant=beta";
    vec![
        one("GET", "/users", beta, None),
        one("GET", "/users/{user}", beta, None),
        one("DELETE", "/users/{user}", "?tenant=beta&reason=a+try", None),
        one("POST", "/users/{user}/reset", beta, why()),
        one("PUT", "/users/{user}/adjust", beta, counter("limit")),
        one("PUT", "/users/{user}/used", beta, counter("used")),
        one("POST", "/users/{user}/refund", beta, Some(refund.clone())),
        one("PUT", "/users/{user}/plan", beta, plan()),
        one("POST", "/plan-assignments", beta, Some(many)),
        one("GET", "/tenants/{tenant}", "", None),
        one("POST", "/tenants/{tenant}/reset", "", why()),
        one("PUT", "/tenants/{tenant}/adjust", "", counter("limit")),
        one("PUT", "/tenants/{tenant}/used", "", counter("used")),
        one("POST", "/tenants/{tenant}/refund", "", Some(refund)),
        one("PUT", "/tenants/{tenant}/plan", "", plan()),
        one("GET", "/usage-logs", beta, None),
        one("GET", "/usage-logs", "?tenant=beta&format=csv", None),
        one("GET", "/usage-logs/{id}", beta, None),
        one("GET", "/usage-logs/{id}", "?tenant=acme", None),
        one("GET", "/statistics/{quota}", beta, None),
        one("GET", "/audit-log", beta, None),
    ]
}

/// What belongs to the whole installation. Administrators of one tenant see its plans and no more.
const OF_ALL: [&str; 8] = [
    "GET /admin/quotas/health",
    "GET /admin/quotas/plans",
    "GET /admin/quotas/plans/{plan}",
    "POST /admin/quotas/plans",
    "PUT /admin/quotas/plans/{plan}",
    "DELETE /admin/quotas/plans/{plan}",
    "PUT /admin/quotas/default-plan",
    "GET /admin/quotas/openapi.json",
];

fn by_token(method: &str, path: &str, body: Option<&Value>) -> Request<Body> {
    match body {
        Some(body) => with_body(method, path, ACME, body),
        None => with_token(method, path, ACME),
    }
}

fn by_role(method: &str, path: &str, body: Option<&Value>) -> Request<Body> {
    let mut request = by_token(method, path, body);
    request.headers_mut().remove("x-admin-token");
    let root = admin("root").with_tenant("acme");
    request.extensions_mut().insert::<QuotaIdentity>(root);
    request
}

fn shape(seen: &Seen) -> (u16, String, Vec<String>) {
    let names = seen.headers.keys().map(ToString::to_string).collect();
    (seen.status.as_u16(), seen.text(), names)
}

#[tokio::test]
async fn no_route_tells_or_changes_anything_of_another_tenant() {
    let kit = Kit::new().await;
    let of_beta = attempt(Some("beta"), "bob", 60);
    let id = of_beta.id.to_string();
    kit.record(vec![of_beta]).await;
    let before = kit.get("/admin/quotas/users/bob?tenant=beta").await.json();
    let known = kit.send(by_token(
        "GET",
        "/admin/quotas/usage-logs?tenant=nobody",
        None,
    ));
    let nothing = shape(&known.await);
    assert_eq!(nothing.0, 404);
    for (method, _, path, body) in routes(&id) {
        for request in [by_token, by_role] {
            let seen = kit.send(request(method, &path, body.as_ref())).await;
            assert_eq!(shape(&seen), nothing, "{method} {path}");
        }
    }
    let after = kit.get("/admin/quotas/users/bob?tenant=beta").await.json();
    assert_eq!(after, before);
    let audits = kit.get("/admin/quotas/audit-log?tenant=beta").await.json();
    assert_eq!(audits["items"], json!([]));
}

#[tokio::test]
async fn no_route_is_forgotten_above() {
    let kit = Kit::new().await;
    let document = kit.get("/openapi.json").await.json();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    // Users name nobody: all they see is their own.
    described.retain(|route| route.contains("/admin/"));
    let tested = routes("").into_iter();
    let tested = tested.map(|(method, path, ..)| format!("{method} /admin/quotas{path}"));
    let mut tested: BTreeSet<String> = tested.collect();
    tested.extend(OF_ALL.map(str::to_owned));
    let missing: Vec<_> = described.difference(&tested).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn users_of_the_same_name_see_their_own_only() {
    let kit = Kit::new().await;
    let attempts = (0..3).map(|number| attempt(Some("beta"), "bob", 60 + number));
    kit.record(attempts.collect()).await;
    let path = "/admin/quotas/users/bob/used?tenant=beta";
    let used = json!({ "quota": "messages", "window": "day", "used": 4, "reason": "why" });
    kit.write("PUT", path, &used).await.assert_ok();
    let of_acme = || QuotaIdentity::new("bob").with_tenant("acme");
    let nobody = || QuotaIdentity::new("nobody").with_tenant("acme");
    for path in ["/quota/status", "/quota/usage"] {
        let bob = kit.send(as_user("GET", path, of_acme())).await;
        let nobody = kit.send(as_user("GET", path, nobody())).await;
        let as_nobody = bob.assert_ok().text().replace("\"bob\"", "\"nobody\"");
        assert_eq!(as_nobody, nobody.assert_ok().text(), "{path}");
        let named = format!("{path}?tenant=beta");
        let seen = kit.send(as_user("GET", &named, of_acme())).await;
        seen.assert_problem(400, "invalid_parameter");
    }
}

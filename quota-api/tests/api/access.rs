//! Who may ask for what.

use std::net::IpAddr;

use axum::body::Body;
use http::StatusCode;
use quota_layer::{ClientAddress, QuotaIdentity};
use serde_json::json;

use crate::kit::{
    ACME, Kit, OLD_TOKEN, READ_ONLY, TOKEN, admin, as_user, attempt, bare, with_body, with_token,
};

const LOGS: &str = "/admin/quotas/usage-logs?tenant=-";

#[tokio::test]
async fn without_configuration_there_is_no_admin_api() {
    let kit = Kit::without_admin().await;
    for path in [
        LOGS,
        "/admin/quotas",
        "/admin/quotas/nothing",
        "/admin/quotas/openapi.json",
    ] {
        for token in [TOKEN, ""] {
            let seen = kit.send(with_token("GET", path, token)).await;
            seen.assert_problem(404, "not_found");
        }
    }
    let document = kit.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.keys().all(|path| path.starts_with("/quota/")));
}

#[tokio::test]
async fn nobody_passes_without_a_token() {
    let kit = Kit::new().await;
    for path in [LOGS, "/admin/quotas/nothing", "/admin/quotas/health"] {
        let seen = kit
            .send(bare("GET", path).body(Body::empty()).unwrap())
            .await;
        seen.assert_problem(401, "unauthenticated");
        assert_eq!(seen.header("www-authenticate"), "Bearer realm=\"quota\"");
    }
    let request = with_token("GET", LOGS, "a wrong token");
    kit.send(request).await.assert_problem(403, "wrong_token");
}

#[tokio::test]
async fn every_token_of_a_rotation_is_right() {
    let kit = Kit::new().await;
    for token in [TOKEN, OLD_TOKEN, READ_ONLY] {
        kit.send(with_token("GET", LOGS, token)).await.assert_ok();
    }
    let two = bare("GET", LOGS)
        .header("x-admin-token", TOKEN)
        .header("x-admin-token", OLD_TOKEN)
        .body(Body::empty())
        .unwrap();
    kit.send(two).await.assert_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn a_token_that_only_looks_changes_nothing() {
    let kit = Kit::new().await;
    let body = json!({ "reason": "a try" });
    let path = "/admin/quotas/users/alice/reset?tenant=-";
    let seen = kit.send(with_body("POST", path, READ_ONLY, &body)).await;
    seen.assert_problem(403, "read_only");
}

#[tokio::test]
async fn a_role_administers_its_own_tenant() {
    let kit = Kit::new().await;
    let acme = admin("root").with_tenant("acme");
    let ask = |path: &str, who: &QuotaIdentity| as_user("GET", path, who.clone());
    kit.send(ask("/admin/quotas/usage-logs?tenant=acme", &acme))
        .await
        .assert_ok();
    kit.send(ask(LOGS, &acme))
        .await
        .assert_problem(404, "not_found");
    kit.send(ask("/admin/quotas/health", &acme))
        .await
        .assert_problem(403, "one_tenant");
    let nobody = QuotaIdentity::new("alice").with_roles(["user"]);
    kit.send(ask(LOGS, &nobody))
        .await
        .assert_problem(403, "role_missing");
}

#[tokio::test]
async fn another_tenant_and_nothing_look_alike() {
    let kit = Kit::new().await;
    let of_beta = attempt(Some("beta"), "bob", 60);
    let id = of_beta.id;
    kit.record(vec![of_beta]).await;
    let ask = async |path: &str| {
        let seen = kit.send(with_token("GET", path, ACME)).await;
        seen.assert_problem(404, "not_found");
        (seen.status, seen.headers, seen.body)
    };
    let nothing = ask("/admin/quotas/usage-logs?tenant=no-such-tenant").await;
    for path in [
        "/admin/quotas/usage-logs?tenant=beta".to_owned(),
        "/admin/quotas/usage-logs?tenant=-".to_owned(),
        format!("/admin/quotas/usage-logs/{id}?tenant=beta"),
        format!("/admin/quotas/usage-logs/{id}?tenant=acme"),
        "/admin/quotas/usage-logs/00000000-0000-7000-8000-000000000000?tenant=acme".to_owned(),
        "/admin/quotas/audit-log?tenant=beta".to_owned(),
        "/admin/quotas/statistics/messages?tenant=beta".to_owned(),
        "/admin/quotas/users?tenant=beta".to_owned(),
        "/admin/quotas/users/bob?tenant=beta".to_owned(),
        "/admin/quotas/tenants/beta".to_owned(),
        "/admin/quotas/tenants/no-such-tenant".to_owned(),
    ] {
        assert_eq!(ask(&path).await, nothing, "{path}");
    }
    let own = format!("/admin/quotas/usage-logs/{id}?tenant=beta");
    kit.get(&own).await.assert_ok();
}

#[tokio::test]
async fn another_tenant_can_not_be_changed() {
    let kit = Kit::new().await;
    let why = json!({ "reason": "a try" });
    let used = json!({ "quota": "messages", "window": "day", "used": 1, "reason": "a try" });
    let adjust = json!({ "quota": "messages", "window": "day", "limit": 1, "reason": "a try" });
    let refund = json!({ "quota": "messages", "amount": 1, "reason": "a try" });
    let plan = json!({ "plan": "pro", "reason": "a try" });
    let many = json!({ "users": ["bob"], "plan": "pro", "reason": "a try" });
    for (method, path, body) in [
        ("POST", "/users/bob/reset?tenant=beta", &why),
        ("PUT", "/users/bob/used?tenant=beta", &used),
        ("PUT", "/users/bob/adjust?tenant=beta", &adjust),
        ("POST", "/users/bob/refund?tenant=beta", &refund),
        ("PUT", "/users/bob/plan?tenant=beta", &plan),
        ("DELETE", "/users/bob?tenant=beta&reason=a+try", &why),
        ("POST", "/plan-assignments?tenant=beta", &many),
        ("POST", "/tenants/beta/reset", &why),
        ("PUT", "/tenants/beta/used", &used),
        ("PUT", "/tenants/beta/adjust", &adjust),
        ("PUT", "/tenants/beta/plan", &plan),
    ] {
        let path = format!("/admin/quotas{path}");
        let seen = kit.send(with_body(method, &path, ACME, body)).await;
        seen.assert_problem(404, "not_found");
    }
    for (method, path, body) in [
        ("PUT", "/default-plan", &plan),
        (
            "POST",
            "/plans",
            &json!({ "name": "new", "reason": "a try" }),
        ),
        ("PUT", "/plans/free", &why),
        ("DELETE", "/plans/free?reason=a+try", &why),
    ] {
        let path = format!("/admin/quotas{path}");
        let seen = kit.send(with_body(method, &path, ACME, body)).await;
        seen.assert_problem(403, "one_tenant");
    }
}

#[tokio::test]
async fn wrong_tokens_are_throttled_and_right_ones_are_not() {
    let kit = Kit::new().await;
    let ask = async |address: &str, token: &str| {
        let mut request = with_token("GET", LOGS, token);
        let address: IpAddr = address.parse().unwrap();
        request.extensions_mut().insert(ClientAddress(address));
        kit.send(request).await
    };
    let mut last = StatusCode::FORBIDDEN;
    for _ in 0..20 {
        last = ask("192.0.2.1", "a guess").await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    let seen = ask("192.0.2.1", "a guess").await;
    seen.assert_problem(429, "throttled");
    assert_eq!(seen.header("retry-after"), "60");
    ask("192.0.2.1", TOKEN).await.assert_ok();
    ask("192.0.2.2", "a guess")
        .await
        .assert_problem(403, "wrong_token");
    kit.clock.advance(std::time::Duration::from_mins(1));
    ask("192.0.2.1", "a guess")
        .await
        .assert_problem(403, "wrong_token");
}

#[tokio::test]
async fn no_secret_is_shown() {
    let kit = Kit::new().await;
    let mut shown = format!("{:?} {:?}", quota_api::Api::new(&kit.layer), kit.layer);
    for path in ["/openapi.json", "/admin/quotas/health", LOGS] {
        shown.push_str(&kit.get(path).await.text());
    }
    let wrong = kit.send(with_token("GET", LOGS, "a wrong token")).await;
    shown.push_str(&wrong.text());
    for secret in [TOKEN, OLD_TOKEN, READ_ONLY, ACME, "a wrong token"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn users_need_a_token_and_plans_none() {
    let kit = Kit::new().await;
    for path in ["/quota/status", "/quota/usage"] {
        let request = bare("GET", path).body(Body::empty()).unwrap();
        let seen = kit.send(request).await;
        seen.assert_problem(401, "unauthenticated");
        assert_eq!(seen.header("www-authenticate"), "Bearer realm=\"quota\"");
    }
    let request = bare("GET", "/quota/plans").body(Body::empty()).unwrap();
    kit.send(request).await.assert_ok();
}

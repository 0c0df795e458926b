//! What is wrong with a request is said where it is wrong.

use axum::body::Body;
use http::header;
use serde_json::{Value, json};

use crate::kit::{Kit, TOKEN, bare, with_token};

/// The problem names the parameter.
async fn check_parameter(kit: &Kit, path: &str, parameter: &str) {
    let seen = kit.get(&format!("/admin/quotas{path}")).await;
    seen.assert_problem(400, "invalid_parameter");
    assert_eq!(
        seen.json()["parameter"],
        parameter,
        "{path}: {}",
        seen.text()
    );
}

/// The problem points into the body.
async fn check_field(kit: &Kit, path: &str, body: &Value, field: &str) {
    let method = match path.rsplit('/').next() {
        Some(last) if last.starts_with("reset") || last.starts_with("refund") => "POST",
        Some(last) if last.starts_with("plan-") || last == "plans" => "POST",
        _ => "PUT",
    };
    let path = format!("/admin/quotas{path}");
    let seen = kit.write(method, &path, body).await;
    seen.assert_problem(422, "invalid_body");
    assert_eq!(seen.json()["field"], field, "{body}: {}", seen.text());
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let kit = Kit::new().await;
    for (query, parameter) in [
        ("", "tenant"),
        ("?tenant=", "tenant"),
        ("?tenant=-&tenant=-", "tenant"),
        ("?tenant=-&surprise=1", "surprise"),
        ("?tenant=-&limit=0", "limit"),
        ("?tenant=-&limit=1001", "limit"),
        ("?tenant=-&limit=-1", "limit"),
        ("?tenant=-&limit=1.5", "limit"),
        ("?tenant=-&limit=99999999999999999999", "limit"),
        ("?tenant=-&cursor=nonsense", "cursor"),
        ("?tenant=-&cursor=", "cursor"),
        ("?tenant=-&outcome=great", "outcome"),
        ("?tenant=-&quota=Messages", "quota"),
        ("?tenant=-&from=yesterday", "from"),
        ("?tenant=-&format=xml", "format"),
        ("?tenant=-&user=", "user"),
        ("?tenant=-&user=%FF", "user"),
        ("?tenant=-&user=a%00b", "user"),
        ("?tenant=-&tag.colour=red", "tag.colour"),
        ("?tenant=-&tag.model=a&tag.model=b", "tag.model"),
    ] {
        check_parameter(&kit, &format!("/usage-logs{query}"), parameter).await;
    }
    let long = "x".repeat(257);
    for (path, parameter) in [
        ("/usage-logs/none?tenant=-", "id"),
        ("/statistics/Nope?tenant=-", "quota"),
        ("/statistics/messages?tenant=-&bucket=week", "bucket"),
        ("/statistics/messages?tenant=-&bucket=hour&from=0", "bucket"),
        ("/statistics/messages?tenant=-&from=5&to=5", "from"),
        ("/statistics/messages?tenant=-&by=user", "by"),
        ("/statistics/messages?tenant=-&by=tag.colour", "by"),
        ("/users?tenant=-&near_limit=x", "near_limit"),
        ("/users?tenant=-&sort=size", "sort"),
        ("/users?tenant=-&window=decade", "window"),
        ("/users/%FF?tenant=-", "user"),
        (&format!("/users/{long}?tenant=-"), "user"),
        ("/tenants/a?tenant=a", "tenant"),
        ("/audit-log?tenant=-&user=a&plan=b", "target"),
        ("/plans?limit=1", "limit"),
        ("/plans/Nope", "plan"),
    ] {
        check_parameter(&kit, path, parameter).await;
    }
}

#[tokio::test]
async fn bad_bodies_are_pointed_into() {
    let kit = Kit::new().await;
    let reset = "/users/alice/reset?tenant=-";
    for (body, field) in [
        (json!({}), "/reason"),
        (json!({ "reason": "" }), "/reason"),
        (json!({ "reason": "  \n" }), "/reason"),
        (json!({ "reason": "x".repeat(1001) }), "/reason"),
        (json!({ "reason": "a\u{0}b" }), "/reason"),
        (json!({ "reason": 5 }), "/reason"),
        (json!({ "reason": "why", "surprise": 1 }), "/surprise"),
        (json!({ "reason": "why", "quota": "No" }), "/quota"),
        (json!({ "reason": "why", "window": 7 }), "/window"),
        (json!([]), ""),
        (json!("text"), ""),
    ] {
        check_field(&kit, reset, &body, field).await;
    }
    let adjust = |more: Value| {
        let mut body = json!({ "quota": "messages", "window": "day", "reason": "why" });
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        body
    };
    for (more, field) in [
        (json!({}), "/limit"),
        (json!({ "limit": 1, "add": 1 }), "/add"),
        (json!({ "limit": -1 }), "/limit"),
        (json!({ "limit": "endless" }), "/limit"),
        (json!({ "limit": 9_007_199_254_740_992_u64 }), "/limit"),
        (json!({ "add": 1.5 }), "/add"),
        (json!({ "limit": 1, "expires_at": "never" }), "/expires_at"),
    ] {
        check_field(&kit, "/users/alice/adjust?tenant=-", &adjust(more), field).await;
    }
    for (body, field) in [
        (json!({ "plan": "pro", "reason": "why" }), "/users"),
        (
            json!({ "plan": "pro", "reason": "why", "users": ["a", ""] }),
            "/users/1",
        ),
        (
            json!({ "plan": "pro", "reason": "why", "where": {} }),
            "/where",
        ),
        (
            json!({ "plan": "pro", "reason": "why", "where": { "all": 1 } }),
            "/where/all",
        ),
    ] {
        check_field(&kit, "/plan-assignments?tenant=-", &body, field).await;
    }
    let refund = json!({ "quota": "messages", "amount": 0, "reason": "why" });
    check_field(&kit, "/users/alice/refund?tenant=-", &refund, "/amount").await;
    let nul = json!({ "name": "new", "title": { "en": "a\u{0}" }, "reason": "why" });
    check_field(&kit, "/plans", &nul, "/title/en").await;
    check_field(&kit, "/plans", &json!({ "reason": "why" }), "/name").await;
}

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let kit = Kit::new().await;
    let path = "/admin/quotas/users/alice/reset?tenant=-";
    let send = async |content_type: &str, body: Body| {
        let mut request = bare("POST", path).header("x-admin-token", TOKEN);
        if !content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        kit.send(request.body(body).unwrap()).await
    };
    for content_type in ["", "text/plain", "application/x-www-form-urlencoded"] {
        let seen = send(content_type, Body::from("{}")).await;
        seen.assert_problem(415, "unsupported_media_type");
    }
    let json = "application/json; charset=utf-8";
    for bad in ["", "{", "{} {}", "{\"reason\": \"\\ud800\"}"] {
        send(json, Body::from(bad))
            .await
            .assert_problem(422, "invalid_body");
    }
    let deep = "[".repeat(100_000);
    send(json, Body::from(deep))
        .await
        .assert_problem(422, "invalid_body");
    let large = format!("{{\"reason\": \"{}\"}}", "x".repeat(1 << 20));
    send(json, Body::from(large))
        .await
        .assert_problem(413, "body_too_large");
}

#[tokio::test]
async fn keys_are_checked() {
    let kit = Kit::new().await;
    for bad in ["", &"x".repeat(256), "café", "a b"] {
        let request = bare("POST", "/admin/quotas/users/alice/reset?tenant=-")
            .header("x-admin-token", TOKEN)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", bad)
            .body(Body::from("{\"reason\": \"why\"}"))
            .unwrap();
        let seen = kit.send(request).await;
        seen.assert_problem(400, "invalid_parameter");
        assert_eq!(seen.json()["parameter"], "Idempotency-Key");
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_problems() {
    let kit = Kit::new().await;
    for (method, path, allow) in [
        ("POST", "/admin/quotas/users", "GET,HEAD"),
        ("GET", "/admin/quotas/users/a/reset", "POST"),
        ("PATCH", "/admin/quotas/plans/free", "GET,HEAD,DELETE,PUT"),
        ("DELETE", "/openapi.json", "GET,HEAD"),
        ("PUT", "/quota/status", "GET,HEAD"),
        ("GET", "/quota/upgrade", "POST"),
    ] {
        let seen = kit.send(with_token(method, path, TOKEN)).await;
        seen.assert_problem(405, "method_not_allowed");
        let sorted = |text: &str| {
            let mut methods: Vec<String> = text.split(',').map(str::to_owned).collect();
            methods.sort();
            methods
        };
        assert_eq!(sorted(seen.header(header::ALLOW)), sorted(allow), "{path}");
    }
    for path in [
        "/admin/quotas",
        "/admin/quotas/",
        "/admin/quotas/nothing",
        "/admin/quotas/users/",
        "/admin/quotas/users/a/b/c",
    ] {
        kit.get(path).await.assert_problem(404, "no_route");
    }
}

#[tokio::test]
async fn the_rest_is_the_applications_own() {
    use axum::{Router, routing::get};

    let mut kit = Kit::new().await;
    let app = Router::new()
        .route("/quota/mine", get(|| async { "mine" }))
        .layer(kit.layer.clone());
    kit.router = app.merge(kit.router);
    let nothing = kit.get("/quota/nothing").await;
    assert_eq!(
        (nothing.status.as_u16(), nothing.text().as_str()),
        (404, "")
    );
    kit.router = kit.router.fallback(|| async { "fallback" });
    assert_eq!(kit.get("/quota/mine").await.text(), "mine");
    assert_eq!(kit.get("/quota/nothing").await.text(), "fallback");
    kit.get("/quota/plans").await.assert_ok();
    kit.get("/admin/quotas/nothing")
        .await
        .assert_problem(404, "no_route");
}

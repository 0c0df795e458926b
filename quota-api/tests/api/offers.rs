//! Plans, and how people come by them.

use axum::body::Body;
use http::{Request, StatusCode, header};
use quota_layer::QuotaIdentity;
use serde_json::{Value, json};

use crate::kit::{Kit, TOKEN, bare, messages, with_token};

/// A plan for the database.
fn gold() -> Value {
    json!({ "name": "gold", "extends": "free", "title": "Gold", "order": 3,
        "limits": { "messages": ["20/day", "500/month"] }, "reason": "a new offer" })
}

#[tokio::test]
async fn plans_are_made_changed_and_removed() {
    let kit = Kit::new().await;
    let gold = gold();
    let seen = kit.write("POST", "/admin/quotas/plans", &gold).await;
    assert_eq!(seen.status, StatusCode::CREATED, "{}", seen.text());
    let plan = seen.json();
    assert_eq!(plan["source"], "database");
    assert_eq!(plan["limits"]["messages"][0]["limit"], 20);
    assert_eq!(plan["limits"]["storage"][0]["limit"], 1_000_000);
    kit.write("POST", "/admin/quotas/plans", &gold)
        .await
        .assert_problem(409, "conflict");

    let offered = kit.get("/quota/plans").await.json();
    let names: Vec<_> = offered["plans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plan| plan["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        ["free", "pro", "gold"],
        "neither hidden nor disabled ones"
    );
    kit.get("/quota/plans/gold").await.assert_ok();
    kit.get("/quota/plans/secret")
        .await
        .assert_problem(404, "not_found");
}

#[tokio::test]
async fn plans_that_can_not_be_are_refused() {
    let kit = Kit::new().await;
    kit.write("POST", "/admin/quotas/plans", &gold()).await;
    let wrong = json!({ "limits": { "messages": "20/fortnight" }, "reason": "a typo" });
    let seen = kit.write("PUT", "/admin/quotas/plans/gold", &wrong).await;
    seen.assert_problem(422, "invalid_body");
    assert!(
        seen.json()["field"]
            .as_str()
            .unwrap()
            .starts_with("/limits"),
        "{}",
        seen.text()
    );
    kit.write(
        "PUT",
        "/admin/quotas/plans/free",
        &json!({ "reason": "a try" }),
    )
    .await
    .assert_problem(409, "conflict");
    kit.write(
        "PUT",
        "/admin/quotas/plans/none",
        &json!({ "reason": "a try" }),
    )
    .await
    .assert_problem(404, "not_found");
}

#[tokio::test]
async fn the_default_plan_is_another_one() {
    let kit = Kit::new().await;
    kit.write("POST", "/admin/quotas/plans", &gold()).await;
    let default = json!({ "plan": "gold", "reason": "a new start" });
    let seen = kit
        .write("PUT", "/admin/quotas/default-plan", &default)
        .await;
    assert_eq!(seen.assert_ok().json()["is_default"], true);
    assert_eq!(messages(&kit).await["limit"], 20);
    let remove = "/admin/quotas/plans/gold?reason=it+failed";
    let seen = kit.send(with_token("DELETE", remove, TOKEN)).await;
    seen.assert_problem(409, "conflict");
    let default = json!({ "plan": "free", "reason": "as before" });
    let path = "/admin/quotas/default-plan";
    kit.write("PUT", path, &default).await.assert_ok();
    let seen = kit.send(with_token("DELETE", remove, TOKEN)).await;
    assert_eq!(seen.assert_ok().json(), json!({ "removed": "gold" }));
    let seen = kit.get("/quota/plans/gold").await;
    seen.assert_problem(404, "not_found");
}

#[tokio::test]
async fn those_who_have_a_plan_get_another_before_it_goes() {
    let kit = Kit::new().await;
    kit.write("POST", "/admin/quotas/plans", &gold()).await;
    let body = json!({ "plan": "gold", "reason": "bought" });
    let path = "/admin/quotas/users/alice/plan?tenant=-";
    kit.write("PUT", path, &body).await.assert_ok();
    let remove = async |more: &str| {
        let path = format!("/admin/quotas/plans/gold?reason=it+failed{more}");
        kit.send(with_token("DELETE", &path, TOKEN)).await
    };
    remove("").await.assert_problem(409, "conflict");
    let wrong = remove("&reassign_to=none").await;
    wrong.assert_problem(400, "invalid_parameter");
    assert_eq!(wrong.json()["parameter"], "reassign_to");
    remove("&reassign_to=pro").await.assert_ok();
    let user = kit.get("/admin/quotas/users/alice?tenant=-").await;
    assert_eq!(user.assert_ok().json()["plan"]["id"], "pro");
}

#[tokio::test]
async fn plans_are_kept_by_caches_until_they_change() {
    let kit = Kit::new().await;
    let first = kit.get("/quota/plans").await;
    assert_eq!(first.header(header::CACHE_CONTROL), "public, max-age=60");
    let ask = async |tag: &str| {
        let request = bare("GET", "/quota/plans").header(header::IF_NONE_MATCH, tag);
        kit.send(request.body(Body::empty()).unwrap()).await
    };
    let tag = first.header(header::ETAG);
    let second = ask(tag).await;
    assert_eq!(second.status, StatusCode::NOT_MODIFIED);
    assert_eq!(second.header(header::ETAG), tag);
    assert!(second.body.is_empty());
    assert_eq!(ask("\"another\"").await.body, first.body);
}

#[tokio::test]
async fn an_upgrade_leads_to_the_shop_or_to_the_application() {
    use axum::response::IntoResponse as _;

    let mut kit = Kit::new().await;
    let ask = async |kit: &Kit, plan: &str| {
        let request = Request::post("/quota/upgrade")
            .header(header::CONTENT_TYPE, "application/json")
            .extension(QuotaIdentity::new("alice"))
            .body(Body::from(json!({ "plan": plan }).to_string()))
            .unwrap();
        kit.send(request).await
    };
    let seen = ask(&kit, "pro").await;
    assert_eq!(seen.status, StatusCode::ACCEPTED);
    let url = "https://example.com/pricing?plan=pro";
    assert_eq!(seen.json(), json!({ "checkout_url": url }));
    for hidden in ["secret", "gone", "none", "No"] {
        let seen = ask(&kit, hidden).await;
        seen.assert_problem(422, "invalid_body");
        assert_eq!(seen.json()["field"], "/plan");
    }
    let hook = async |who: QuotaIdentity, plan: quota_store::PlanName| {
        format!("{} wants {plan}", who.user()).into_response()
    };
    kit.router = quota_api::Api::new(&kit.layer)
        .on_upgrade(hook)
        .user_router();
    assert_eq!(ask(&kit, "pro").await.text(), "alice wants pro");
    ask(&kit, "secret")
        .await
        .assert_problem(422, "invalid_body");
}

//! Plans that tokens claim, plans for later, and plans that are removed.

use http::StatusCode;
use quota_layer::QuotaIdentity;
use quota_store::ledger::{PlanAtTheTime, PlanSource};
use serde_json::{Value, json};

use crate::kit::{Kit, READ_ONLY, TOKEN, admin, as_user, attempt, messages, with_body, with_token};

const USER: &str = "/admin/quotas/users/alice";

/// Another configuration of who is who, and a plan with more windows.
const CLAIMS: &str = r#"
[plans.max]
order = 9
limits.messages = ["50/day", "500/week"]
"#;

async fn claiming(kit: &Kit) {
    let mut claimed = attempt(None, "alice", 60);
    claimed.plan = Some(PlanAtTheTime {
        plan: "max".parse().unwrap(),
        source: PlanSource::Claim,
    });
    kit.record(vec![claimed]).await;
}

async fn put(kit: &Kit, path: &str, body: Value) -> crate::kit::Seen {
    kit.write("PUT", &format!("{USER}/{path}?tenant=-"), &body)
        .await
}

#[tokio::test]
async fn a_claimed_plan_is_what_administrators_start_from() {
    let kit = Kit::with(CLAIMS).await;
    claiming(&kit).await;
    let user = kit.get(&format!("{USER}?tenant=-")).await;
    let plan = user.assert_ok().json()["plan"].clone();
    assert_eq!(
        (&plan["id"], &plan["source"]),
        (&json!("max"), &json!("claim"))
    );
    let more = json!({ "quota": "messages", "window": "day", "add": 7, "reason": "a treat" });
    assert_eq!(
        put(&kit, "adjust", more).await.assert_ok().json()["limit"],
        57
    );
    let moved = json!({ "quota": "messages", "window": "week", "used": 9, "reason": "moved" });
    put(&kit, "used", moved).await.assert_ok();
    let reset = json!({ "quota": "messages", "window": "week", "reason": "asked for" });
    let path = format!("{USER}/reset?tenant=-");
    let changes = kit.write("POST", &path, &reset).await.assert_ok().json();
    assert_eq!(changes["changes"][0]["used_before"], 9);
    // 50, or 57 by the override that stays, and nothing of it was used.
    let free = json!({ "plan": "free", "rule": "additive", "reason": "bought" });
    put(
        &kit,
        "adjust",
        json!({ "quota": "messages", "window": "day", "limit": null,
        "reason": "no treat" }),
    )
    .await
    .assert_ok();
    put(&kit, "plan", free).await.assert_ok();
    assert_eq!(messages(&kit).await["limit"], 55);
}

async fn create_gold(kit: &Kit) {
    let gold = json!({ "name": "gold", "limits": { "messages": "9/day" }, "reason": "new" });
    let seen = kit.write("POST", "/admin/quotas/plans", &gold).await;
    assert_eq!(seen.status, StatusCode::CREATED, "{}", seen.text());
}

async fn remove_gold(kit: &Kit, other: &str) -> crate::kit::Seen {
    let path = format!("/admin/quotas/plans/gold?reassign_to={other}&reason=gone");
    kit.send(with_token("DELETE", &path, TOKEN)).await
}

#[tokio::test]
async fn a_removed_plan_is_replaced_where_it_comes_later_too() {
    let kit = Kit::new().await;
    create_gold(&kit).await;
    let later = json!({ "plan": "gold", "starts_at": "2026-02-01T00:00:00Z",
        "ends_at": "2026-03-01T00:00:00Z", "then": "free", "status": "trialing",
        "anchor": "2026-01-10T00:00:00Z", "timezone": "Africa/Douala", "reason": "bought" });
    let plan = put(&kit, "plan", later).await.assert_ok().json()["plan"].clone();
    assert_eq!(plan["id"], "free");
    let next = |id: &str| {
        json!([
            { "id": id, "since": "2026-02-01T00:00:00Z", "until": "2026-03-01T00:00:00Z",
              "status": "trialing" },
            { "id": "free", "since": "2026-03-01T00:00:00Z", "until": null, "status": "active" }
        ])
    };
    assert_eq!(plan["next"], next("gold"));
    // Who has it later does not have it now.
    let back = json!({ "where": { "plan": "gold" }, "plan": "pro", "reason": "a gift" });
    let path = "/admin/quotas/plan-assignments?tenant=-";
    assert_eq!(kit.write("POST", path, &back).await.json()["assigned"], 0);
    remove_gold(&kit, "pro").await.assert_ok();
    let user = kit.get(&format!("{USER}?tenant=-")).await.json();
    assert_eq!(user["plan"]["id"], "free");
    assert_eq!(user["plan"]["next"], next("pro"));
    kit.clock
        .set(quota_store::UnixMillis::from_seconds(1_770_000_000));
    let user = kit.get(&format!("{USER}?tenant=-")).await.json();
    assert_eq!(user["plan"]["id"], "pro");
    assert_eq!(user["plan"]["anchor"], "2026-01-10T00:00:00Z");
    assert_eq!(user["plan"]["timezone"], "Africa/Douala");
    assert_eq!(user["plan"]["status"], "trialing");
}

#[tokio::test]
async fn a_plan_is_only_replaced_by_one_that_people_can_have() {
    let kit = Kit::new().await;
    create_gold(&kit).await;
    for other in ["gold", "gone", "none"] {
        let seen = remove_gold(&kit, other).await;
        seen.assert_problem(400, "invalid_parameter");
        assert_eq!(seen.json()["parameter"], "reassign_to", "{other}");
    }
    remove_gold(&kit, "pro").await.assert_ok();
}

#[tokio::test]
async fn an_administrator_of_a_tenant_never_has_all_rights() {
    let kit = Kit::with_identity("from = \"application\"").await;
    let acme = admin("root").with_tenant("acme");
    let ask =
        async |path: &str, who: &QuotaIdentity| kit.send(as_user("GET", path, who.clone())).await;
    ask("/admin/quotas/tenants/acme", &acme).await.assert_ok();
    ask("/admin/quotas/tenants/beta", &acme)
        .await
        .assert_problem(404, "not_found");
    ask("/admin/quotas/health", &acme)
        .await
        .assert_problem(403, "one_tenant");
}

#[tokio::test]
async fn null_takes_a_limit_away_also_where_the_plan_has_none() {
    let kit = Kit::new().await;
    let hour = |limit: Value| json!({ "quota": "messages", "window": "hour", "limit": limit, "reason": "a try" });
    assert_eq!(
        put(&kit, "adjust", hour(json!(3))).await.assert_ok().json()["limit"],
        3
    );
    for _ in 0..2 {
        let status = put(&kit, "adjust", hour(Value::Null))
            .await
            .assert_ok()
            .json();
        assert_eq!(status["limit"], Value::Null);
        assert_eq!(status["state"], "unlimited");
    }
    let log = kit.get("/admin/quotas/audit-log?tenant=-&user=alice").await;
    assert_eq!(log.json()["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn windows_that_are_not_counted_are_refused() {
    let kit = Kit::new().await;
    for (path, window) in [("used", "hour"), ("used", "level"), ("adjust", "level")] {
        let mut body = json!({ "quota": "messages", "window": window, "reason": "a try" });
        body[if path == "used" { "used" } else { "limit" }] = json!(1);
        let seen = put(&kit, path, body).await;
        seen.assert_problem(422, "invalid_body");
        assert_eq!(seen.json()["field"], "/window", "{path} {window}");
    }
}

#[tokio::test]
async fn names_that_there_are_not_are_mistakes() {
    let kit = Kit::new().await;
    for (path, parameter) in [
        ("/users?tenant=-&quota=mesages", "quota"),
        ("/users?tenant=-&plan=gold", "plan"),
        ("/users?tenant=-&window=year", "window"),
        ("/usage-logs?tenant=-&quota=mesages", "quota"),
        ("/usage-logs?tenant=-&from=20&to=10", "from"),
        ("/audit-log?tenant=-&from=20&to=10", "from"),
        ("/statistics/mesages?tenant=-", "quota"),
        ("/usage-logs?tenant=-&outcome=lost", "outcome"),
    ] {
        let seen = kit.get(&format!("/admin/quotas{path}")).await;
        seen.assert_problem(400, "invalid_parameter");
        assert_eq!(seen.json()["parameter"], parameter, "{path}");
    }
    let outcome = kit
        .get("/admin/quotas/usage-logs?tenant=-&outcome=lost")
        .await;
    assert!(outcome.text().contains("committed"), "{}", outcome.text());
    let time = kit
        .get("/admin/quotas/usage-logs?tenant=-&from=2026-01-01T00:00:00+01:00")
        .await;
    assert!(time.text().contains("%2B"), "{}", time.text());
    let gold = json!({ "where": { "plan": "gold" }, "plan": "pro", "reason": "a gift" });
    let path = "/admin/quotas/plan-assignments?tenant=-";
    let seen = kit.write("POST", path, &gold).await;
    seen.assert_problem(422, "invalid_body");
    assert_eq!(seen.json()["field"], "/where/plan");
}

#[tokio::test]
async fn figures_tell_the_time_that_they_are_of() {
    let kit = Kit::new().await;
    let asked = "from=2026-01-15T10:20:00Z&to=2026-01-15T11:40:00Z";
    for (bucket, from, to) in [
        ("hour", "2026-01-15T10:00:00Z", "2026-01-15T12:00:00Z"),
        ("day", "2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z"),
    ] {
        let path = format!("/admin/quotas/statistics/messages?tenant=-&bucket={bucket}&{asked}");
        let figures = kit.get(&path).await.assert_ok().json();
        assert_eq!(
            (&figures["from"], &figures["to"]),
            (&json!(from), &json!(to))
        );
    }
    let path = format!("/quota/usage?{asked}");
    let alice = QuotaIdentity::new("alice").with_tenant("acme");
    let usage = kit.send(as_user("GET", &path, alice)).await.json();
    assert_eq!(usage["from"], "2026-01-15T00:00:00Z");
}

#[tokio::test]
async fn the_default_plan_is_given_back_to_the_file() {
    let kit = Kit::new().await;
    let name = async |plan: Value| {
        let body = json!({ "plan": plan, "reason": "a try" });
        let seen = kit.write("PUT", "/admin/quotas/default-plan", &body).await;
        seen.assert_ok().json()["id"].clone()
    };
    assert_eq!(name(json!("pro")).await, "pro");
    assert_eq!(name(Value::Null).await, "free");
    assert_eq!(messages(&kit).await["limit"], 5);
    let missing = json!({ "reason": "a try" });
    let seen = kit
        .write("PUT", "/admin/quotas/default-plan", &missing)
        .await;
    seen.assert_problem(422, "invalid_body");
}

#[tokio::test]
async fn units_of_a_tenant_as_a_whole_are_given_back() {
    let kit = Kit::new().await;
    let tenant = "/admin/quotas/tenants/acme";
    let used = json!({ "quota": "messages", "window": "day", "used": 900, "reason": "moved" });
    kit.write("PUT", &format!("{tenant}/used"), &used)
        .await
        .assert_ok();
    let back = json!({ "quota": "messages", "amount": 100, "reason": "an outage" });
    let path = format!("{tenant}/refund");
    let seen = kit.write("POST", &path, &back).await.assert_ok().json();
    assert_eq!(
        seen["changes"],
        json!([{ "quota": "messages", "scope": "tenant", "window": "day", "used_before": 900,
            "used_after": 800 }])
    );
    let seen = kit.send(with_body("POST", &path, READ_ONLY, &back)).await;
    seen.assert_problem(403, "read_only");
}

#[tokio::test]
async fn who_was_forgotten_is_not_listed() {
    let kit = Kit::new().await;
    for user in ["alice", "bob"] {
        let body = json!({ "quota": "messages", "window": "day", "used": 2, "reason": "moved" });
        let path = format!("/admin/quotas/users/{user}/used?tenant=-");
        kit.write("PUT", &path, &body).await.assert_ok();
    }
    let path = format!("{USER}?tenant=-&reason=asked+for");
    kit.send(with_token("DELETE", &path, TOKEN))
        .await
        .assert_ok();
    let list = kit
        .get("/admin/quotas/users?tenant=-")
        .await
        .assert_ok()
        .json();
    let users = list["items"].as_array().unwrap().iter();
    let users: Vec<_> = users.map(|item| item["user"].clone()).collect();
    assert!(users.iter().all(|user| user == "bob"), "{users:?}");
    assert!(!users.is_empty());
}

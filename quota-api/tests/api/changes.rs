//! What administrators change, and what users see of it.

use http::header;
use quota_layer::QuotaIdentity;
use serde_json::{Value, json};

use crate::kit::{Kit, TOKEN, as_user, attempt, messages, with_token};

const USER: &str = "/admin/quotas/users/alice";

async fn set_used(kit: &Kit, used: u64) {
    let body = json!({ "quota": "messages", "window": "day", "used": used, "reason": "moved" });
    let seen = kit
        .write("PUT", &format!("{USER}/used?tenant=-"), &body)
        .await;
    assert_eq!(seen.assert_ok().json()["used_after"], used);
}

#[tokio::test]
async fn a_user_sees_its_plan_and_every_counter() {
    let kit = Kit::new().await;
    let alice = QuotaIdentity::new("alice").with_tenant("acme");
    let seen = kit.send(as_user("GET", "/quota/status", alice)).await;
    assert_eq!(seen.header(header::CACHE_CONTROL), "no-store");
    let status = seen.assert_ok().json();
    assert_eq!(status["tenant"], "acme");
    assert_eq!(status["user"], "alice");
    assert_eq!(status["upgrade_url"], "https://example.com/pricing");
    assert_eq!(
        status["plan"],
        json!({ "id": "free", "title": "Free", "features": [], "price": null, "status": "active",
            "since": null, "until": null, "anchor": null, "next": [], "source": "default", "timezone": "UTC" })
    );
    let quota = &status["quotas"][0];
    assert_eq!(quota["quota"], "messages");
    assert_eq!(quota["kind"], "flow");
    assert_eq!(quota["allowed"], true);
    let counters = quota["counters"].as_array().unwrap();
    let windows: Vec<_> = counters
        .iter()
        .map(|counter| {
            (
                counter["scope"].as_str().unwrap(),
                counter["window"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        windows,
        [("user", "day"), ("user", "month"), ("tenant", "day")]
    );
    assert_eq!(counters[0]["limit"], 5);
    assert_eq!(counters[0]["resets_at"], "2026-01-16T00:00:00Z");
}

#[tokio::test]
async fn what_was_used_is_set_reset_and_given_back() {
    let kit = Kit::new().await;
    set_used(&kit, 5).await;
    assert_eq!(messages(&kit).await["state"], "exceeded");
    let refund = json!({ "quota": "messages", "amount": 2, "reason": "it failed" });
    let seen = kit
        .write("POST", &format!("{USER}/refund?tenant=-"), &refund)
        .await;
    let changes = seen.assert_ok().json();
    assert_eq!(changes["changes"][0]["used_before"], 5);
    assert_eq!(messages(&kit).await["used"], 3);
    let reset = json!({ "quota": "messages", "window": "day", "reason": "asked on the phone" });
    let seen = kit
        .write("POST", &format!("{USER}/reset?tenant=-"), &reset)
        .await;
    assert_eq!(
        seen.assert_ok().json()["changes"],
        json!([{ "quota": "messages", "scope": "user", "window": "day", "used_before": 3,
            "used_after": 0 }])
    );
    assert_eq!(messages(&kit).await["used"], 0);
}

#[tokio::test]
async fn a_limit_is_adjusted_and_given_back() {
    let kit = Kit::new().await;
    let adjust = async |more: Value| {
        let mut body = json!({ "quota": "messages", "window": "day", "reason": "a treat" });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let seen = kit
            .write("PUT", &format!("{USER}/adjust?tenant=-"), &body)
            .await;
        seen.assert_ok().json()
    };
    assert_eq!(adjust(json!({ "limit": 50 })).await["limit"], 50);
    assert_eq!(
        adjust(json!({ "add": 7, "expires_at": "window-end" })).await["limit"],
        57
    );
    let user = kit
        .get(&format!("{USER}?tenant=-"))
        .await
        .assert_ok()
        .json();
    assert_eq!(
        user["overrides"],
        json!([{ "quota": "messages", "window": "day", "limit": 57,
            "expires_at": "2026-01-16T00:00:00Z" }])
    );
    let unlimited = adjust(json!({ "limit": "unlimited" })).await;
    assert_eq!(unlimited["limit"], Value::Null);
    assert_eq!(unlimited["state"], "unlimited");
    assert_eq!(adjust(json!({ "limit": null })).await["limit"], 5);
}

#[tokio::test]
async fn plans_are_assigned_to_one_and_to_many() {
    let kit = Kit::new().await;
    let pro = json!({ "plan": "pro", "status": "trialing", "ends_at": "2026-02-01T00:00:00Z",
        "then": "free", "reason": "bought" });
    let seen = kit
        .write("PUT", &format!("{USER}/plan?tenant=-"), &pro)
        .await;
    let plan = seen.assert_ok().json()["plan"].clone();
    assert_eq!(plan["id"], "pro");
    assert_eq!(plan["source"], "assignment");
    assert_eq!(plan["status"], "trialing");
    assert_eq!(plan["until"], "2026-02-01T00:00:00Z");
    assert_eq!(plan["features"], json!(["document_sourcing"]));
    assert_eq!(messages(&kit).await["limit"], Value::Null);

    let path = "/admin/quotas/plan-assignments?tenant=-";
    let mut many = json!({ "users": ["alice", "bob", "carol"], "plan": "pro", "dry_run": true,
        "reason": "a gift" });
    let assigned = json!({ "assigned": 2, "dry_run": true });
    assert_eq!(kit.write("POST", path, &many).await.json(), assigned);
    many["dry_run"] = json!(false);
    assert_eq!(kit.write("POST", path, &many).await.json()["assigned"], 2);
    let back = json!({ "where": { "plan": "pro" }, "plan": "free", "reason": "it ended" });
    assert_eq!(kit.write("POST", path, &back).await.json()["assigned"], 3);

    let missing = json!({ "plan": "gold", "reason": "a typo" });
    let seen = kit
        .write("PUT", &format!("{USER}/plan?tenant=-"), &missing)
        .await;
    seen.assert_problem(422, "invalid_body");
    assert_eq!(seen.json()["field"], "/plan");
}

#[tokio::test]
async fn tenants_are_changed_as_a_whole() {
    let kit = Kit::new().await;
    let tenant = "/admin/quotas/tenants/acme";
    let used = json!({ "quota": "messages", "window": "day", "used": 900, "reason": "moved" });
    kit.write("PUT", &format!("{tenant}/used"), &used)
        .await
        .assert_ok();
    let more = json!({ "quota": "messages", "window": "day", "limit": 2000, "reason": "bought" });
    let seen = kit.write("PUT", &format!("{tenant}/adjust"), &more).await;
    assert_eq!(seen.assert_ok().json()["remaining"], 1100);
    let seen = kit.get(tenant).await.assert_ok().json();
    assert_eq!(seen["tenant"], "acme");
    assert_eq!(seen["user"], Value::Null);
    assert_eq!(seen["overrides"][0]["limit"], 2000);
    let why = json!({ "reason": "a new year" });
    let seen = kit.write("POST", &format!("{tenant}/reset"), &why).await;
    assert_eq!(seen.assert_ok().json()["changes"][0]["scope"], "tenant");
    let plan = json!({ "plan": "pro", "reason": "bought" });
    let seen = kit.write("PUT", &format!("{tenant}/plan"), &plan).await;
    assert_eq!(seen.assert_ok().json()["plan"]["id"], "pro");
}

#[tokio::test]
async fn every_change_is_audited() {
    let kit = Kit::new().await;
    set_used(&kit, 3).await;
    let reset = json!({ "reason": "=cmd()" });
    kit.write("POST", &format!("{USER}/reset?tenant=-"), &reset)
        .await
        .assert_ok();
    let log = kit.get("/admin/quotas/audit-log?tenant=-&user=alice").await;
    let log = log.assert_ok().json();
    let items = log["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(
        items
            .iter()
            .filter(|item| item["reason"] == "moved")
            .count(),
        1
    );
    for item in items {
        assert_eq!(item["actor"], "token:1");
        assert_eq!(item["target"], json!({ "kind": "user", "name": "alice" }));
    }
    for (filter, count) in [
        ("action=reset", 1),
        ("actor=token:2", 0),
        ("target=installation", 0),
        ("to=2026-01-15T00:00:00Z", 0),
        ("limit=1", 1),
    ] {
        let seen = kit
            .get(&format!("/admin/quotas/audit-log?tenant=-&{filter}"))
            .await;
        let items = seen.assert_ok().json()["items"].clone();
        assert_eq!(items.as_array().unwrap().len(), count, "{filter}");
    }
}

#[tokio::test]
async fn users_are_listed_by_what_they_used() {
    let kit = Kit::new().await;
    for (user, used) in [("a", 1), ("b", 4), ("c", 3)] {
        let body = json!({ "quota": "messages", "window": "day", "used": used, "reason": "moved" });
        let path = format!("/admin/quotas/users/{user}/used?tenant=-");
        kit.write("PUT", &path, &body).await.assert_ok();
    }
    let list = async |query: &str| {
        let path = format!("/admin/quotas/users?tenant=-&quota=messages&window=day{query}");
        let page = kit.get(&path).await.assert_ok().json();
        let items = page["items"].as_array().unwrap();
        let users = items
            .iter()
            .map(|item| item["user"].as_str().unwrap().to_owned());
        (users.collect::<Vec<_>>(), page["next_cursor"].clone())
    };
    assert_eq!(list("").await.0, ["b", "c", "a"]);
    assert_eq!(list("&sort=user").await.0, ["a", "b", "c"]);
    assert_eq!(list("&near_limit=80").await.0, ["b"]);
    assert_eq!(list("&plan=pro").await.0, [""; 0]);
    let (first, next) = list("&limit=2").await;
    assert_eq!(first, ["b", "c"]);
    let (second, end) = list(&format!("&limit=2&cursor={}", next.as_str().unwrap())).await;
    assert_eq!(second, ["a"]);
    assert_eq!(end, Value::Null);
}

#[tokio::test]
async fn a_person_is_forgotten_and_sums_stay() {
    let kit = Kit::new().await;
    kit.record(vec![attempt(None, "alice", 60), attempt(None, "bob", 60)])
        .await;
    let path = format!("{USER}?tenant=-&reason=asked+for");
    let seen = kit.send(with_token("DELETE", &path, TOKEN)).await;
    assert!(seen.assert_ok().json()["records"].as_u64().unwrap() >= 1);
    let log = kit.get("/admin/quotas/usage-logs?tenant=-").await;
    assert!(!log.text().contains("alice"));
    assert_eq!(log.json()["items"].as_array().unwrap().len(), 2);
    let missing = kit
        .send(with_token("DELETE", &format!("{USER}?tenant=-"), TOKEN))
        .await;
    missing.assert_problem(400, "invalid_parameter");
    assert_eq!(missing.json()["parameter"], "reason");
}

#[tokio::test]
async fn health_tells_of_store_ledger_and_configuration() {
    let kit = Kit::new().await;
    let health = kit.get("/admin/quotas/health").await.assert_ok().json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["store"]["breaker"], "closed");
    assert_eq!(health["store"]["last_loss"], Value::Null);
    assert_eq!(health["ledger"]["status"], "ok");
    assert_eq!(
        health["configuration"]["revision"],
        kit.layer.config_revision()
    );
}

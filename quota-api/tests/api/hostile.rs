//! Ids that are meant to break something.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quota_layer::QuotaIdentity;
use serde_json::{Value, json};

use crate::kit::{Kit, TOKEN, as_user, attempt, with_token};

fn hostile() -> Vec<String> {
    let mut ids: Vec<String> = [
        "' OR 1=1 --",
        "\"; DROP TABLE attempts; --",
        "a\nb\r\nSet-Cookie: x=1",
        "<script>alert(1)</script>",
        "=cmd()",
        "@SUM(A1)",
        "🦀👩‍👩‍👧‍👦",
        ":{}",
        "}{0}%s%n",
        "../../etc/passwd",
        "a/b?c#d",
        "%2e%2e",
        ".",
        "..",
        "-",
        " ",
        "\u{202e}evil",
        "null",
    ]
    .map(str::to_owned)
    .into();
    ids.push("x".repeat(256));
    ids.push("é".repeat(128));
    ids
}

/// As it stands in a path or a query.
fn escaped(id: &str) -> String {
    utf8_percent_encode(id, NON_ALPHANUMERIC).to_string()
}

/// The tenant that `?tenant=` names: `-` stands for none.
fn tenant(id: &str) -> Option<&str> {
    (id != "-").then_some(id)
}

#[tokio::test]
async fn hostile_ids_are_inert_in_every_change() {
    let kit = Kit::new().await;
    let why = "a \"reason\" with '=cmd()' and <b>";
    let day = |more: Value| {
        let mut body = json!({ "quota": "messages", "window": "day", "reason": why });
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        body
    };
    let requests = [
        ("PUT", "used", day(json!({ "used": 4 }))),
        ("PUT", "adjust", day(json!({ "limit": 9 }))),
        (
            "POST",
            "refund",
            json!({ "quota": "messages", "amount": 1, "reason": why }),
        ),
        ("PUT", "plan", json!({ "plan": "free", "reason": why })),
        ("POST", "reset", json!({ "reason": why })),
    ];
    for id in hostile() {
        let escaped = escaped(&id);
        let user = format!("/admin/quotas/users/{escaped}");
        for (method, act, body) in &requests {
            let path = format!("{user}/{act}?tenant={escaped}");
            kit.write(method, &path, body).await.assert_ok();
        }
        let seen = kit.get(&format!("{user}?tenant={escaped}")).await;
        let seen = seen.assert_ok().json();
        assert_eq!(seen["user"], id);
        assert_eq!(seen["tenant"].as_str(), tenant(&id));
        let many = json!({ "users": [id], "plan": "pro", "reason": why });
        let path = format!("/admin/quotas/plan-assignments?tenant={escaped}");
        let seen = kit.write("POST", &path, &many).await;
        assert_eq!(seen.assert_ok().json()["assigned"], 1);
        let path = format!("/admin/quotas/audit-log?tenant={escaped}&user={escaped}");
        let audits = kit.get(&path).await.assert_ok().json();
        assert_eq!(audits["items"].as_array().unwrap().len(), 6);
        let forget = format!("{user}?tenant={escaped}&reason=asked");
        let seen = kit.send(with_token("DELETE", &forget, TOKEN)).await;
        seen.assert_ok();
    }
}

#[tokio::test]
async fn hostile_ids_are_inert_in_every_list() {
    let kit = Kit::new().await;
    for id in hostile() {
        let escaped = escaped(&id);
        kit.record(vec![attempt(tenant(&id), &id, 60)]).await;
        for list in ["usage-logs", "users", "statistics/messages"] {
            let path = format!("/admin/quotas/{list}?tenant={escaped}");
            kit.get(&path).await.assert_ok();
        }
        let mut identity = QuotaIdentity::new(id.clone());
        if let Some(tenant) = tenant(&id) {
            identity = identity.with_tenant(tenant);
            let path = format!("/admin/quotas/tenants/{escaped}");
            kit.get(&path).await.assert_ok();
        }
        let status = as_user("GET", "/quota/status", identity.clone());
        assert_eq!(kit.send(status).await.assert_ok().json()["user"], id);
        let usage = kit.send(as_user("GET", "/quota/usage", identity)).await;
        assert_eq!(usage.assert_ok().json()["totals"][0]["charged"], 1);
    }
}

#[tokio::test]
async fn users_of_other_tenants_and_ids_are_not_mixed_up() {
    let kit = Kit::new().await;
    let ids = hostile();
    for (seconds, id) in (1..).zip(&ids) {
        kit.record(vec![attempt(Some("acme"), id, seconds)]).await;
    }
    for id in &ids {
        let path = escaped(id);
        let seen = kit
            .get(&format!("/admin/quotas/usage-logs?tenant=acme&user={path}"))
            .await;
        let items = seen.assert_ok().json()["items"].clone();
        let users: Vec<_> = items
            .as_array()
            .unwrap()
            .iter()
            .map(|item| &item["user"])
            .collect();
        assert_eq!(users, [id]);
    }
}

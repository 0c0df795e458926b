//! Ids that are meant to break something.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quota_layer::QuotaIdentity;
use serde_json::json;

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

#[tokio::test]
async fn hostile_ids_are_inert_in_every_route() {
    let kit = Kit::new().await;
    let why = "a \"reason\" with '=cmd()' and <b>";
    for id in hostile() {
        let path = utf8_percent_encode(&id, NON_ALPHANUMERIC).to_string();
        let user = format!("/admin/quotas/users/{path}");
        let tenant = format!("tenant={path}");
        // `-` is how users without a tenant are named, so it names no tenant.
        let own = (id != "-").then_some(id.as_str());
        let requests = [
            (
                "PUT",
                "used",
                json!({ "quota": "messages", "window": "day", "used": 4, "reason": why }),
            ),
            (
                "PUT",
                "adjust",
                json!({ "quota": "messages", "window": "day", "limit": 9, "reason": why }),
            ),
            (
                "POST",
                "refund",
                json!({ "quota": "messages", "amount": 1, "reason": why }),
            ),
            ("PUT", "plan", json!({ "plan": "free", "reason": why })),
            ("POST", "reset", json!({ "reason": why })),
        ];
        for (method, act, body) in &requests {
            let seen = kit
                .write(method, &format!("{user}/{act}?{tenant}"), body)
                .await;
            seen.assert_ok();
        }
        let seen = kit
            .get(&format!("{user}?{tenant}"))
            .await
            .assert_ok()
            .json();
        assert_eq!(seen["user"], id);
        assert_eq!(seen["tenant"].as_str(), own);
        kit.record(vec![attempt(own, &id, 60)]).await;
        for list in ["usage-logs", "audit-log"] {
            let seen = kit
                .get(&format!("/admin/quotas/{list}?{tenant}&user={path}"))
                .await;
            assert!(
                !seen.assert_ok().json()["items"]
                    .as_array()
                    .unwrap()
                    .is_empty()
            );
        }
        let many = json!({ "users": [id], "plan": "pro", "reason": why });
        let path_of_many = format!("/admin/quotas/plan-assignments?{tenant}");
        let seen = kit.write("POST", &path_of_many, &many).await;
        assert_eq!(seen.assert_ok().json()["assigned"], 1);
        let mut identity = QuotaIdentity::new(id.clone());
        if let Some(own) = own {
            identity = identity.with_tenant(own);
            kit.get(&format!("/admin/quotas/tenants/{path}"))
                .await
                .assert_ok();
        }
        let status = kit
            .send(as_user("GET", "/quota/status", identity.clone()))
            .await;
        assert_eq!(status.assert_ok().json()["user"], id);
        let usage = kit.send(as_user("GET", "/quota/usage", identity)).await;
        assert_eq!(usage.assert_ok().json()["totals"][0]["charged"], 1);
        let forget = format!("{user}?{tenant}&reason=asked");
        kit.send(with_token("DELETE", &forget, TOKEN))
            .await
            .assert_ok();
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
        let path = utf8_percent_encode(id, NON_ALPHANUMERIC);
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

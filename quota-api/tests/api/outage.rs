//! A store that can't be asked is no error of the server.

use http::header;
use quota_layer::QuotaIdentity;
use serde_json::json;

use crate::kit::{Kit, Seen, TOKEN, as_user, attempt, messages, with_body};

#[track_caller]
fn check(seen: &Seen, what: &str) {
    assert_eq!(seen.status.as_u16(), 503, "{what}: {}", seen.text());
    seen.assert_problem(503, "unavailable");
    assert_eq!(seen.header(header::RETRY_AFTER), "1");
    let text = seen.text();
    for hidden in ["sqlite", "malformed", "not a database"] {
        assert!(!text.contains(hidden), "{what}: {text}");
    }
}

#[tokio::test]
async fn users_see_how_they_stand_without_the_ledger() {
    let kit = Kit::new().await;
    kit.record(
        (0..100)
            .map(|number| attempt(None, "alice", number))
            .collect(),
    )
    .await;
    assert_eq!(messages(&kit).await["limit"], 5);
    kit.break_ledger();
    assert_eq!(messages(&kit).await["limit"], 5);
    kit.get("/quota/plans").await.assert_ok();
    let usage = as_user("GET", "/quota/usage", QuotaIdentity::new("alice"));
    check(&kit.send(usage).await, "usage");
}

#[tokio::test]
async fn what_needs_a_broken_ledger_is_unavailable() {
    let kit = Kit::new().await;
    kit.record(
        (0..100)
            .map(|number| attempt(None, "alice", number))
            .collect(),
    )
    .await;
    kit.break_ledger();
    for path in [
        "/usage-logs?tenant=-",
        "/usage-logs?tenant=-&format=csv",
        "/usage-logs/00000000-0000-7000-8000-000000000000?tenant=-",
        "/statistics/messages?tenant=-",
        "/audit-log?tenant=-",
        "/users?tenant=-",
    ] {
        check(&kit.get(&format!("/admin/quotas{path}")).await, path);
    }
    let why = json!({ "reason": "why", "quota": "messages", "window": "day", "used": 1 });
    let path = "/admin/quotas/users/alice/used?tenant=-";
    check(&kit.write("PUT", path, &why).await, path);
    let mut request = with_body("PUT", path, TOKEN, &why);
    let key = header::HeaderValue::from_static("k1");
    request.headers_mut().insert("idempotency-key", key);
    check(&kit.send(request).await, "with a key");
    let plan = json!({ "plan": "pro", "reason": "why" });
    let path = "/admin/quotas/users/alice/plan?tenant=-";
    check(&kit.write("PUT", path, &plan).await, path);
    let health = kit.get("/admin/quotas/health").await.assert_ok().json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["ledger"]["status"], "down");
}

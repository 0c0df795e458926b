//! `Idempotency-Key`.

use http::{Request, header};
use quota_store::directory::{Begun, Directory as _, KeyClaim};
use serde_json::json;

use crate::kit::{Kit, NOW, OLD_TOKEN, Seen, TOKEN, with_body};

const PATH: &str = "/admin/quotas/users/alice/refund?tenant=-";

async fn refund(kit: &Kit, token: &str, key: &str, amount: u64) -> Seen {
    let body = json!({ "quota": "messages", "amount": amount, "reason": "it failed" });
    let mut request: Request<_> = with_body("POST", PATH, token, &body);
    let key = header::HeaderValue::from_str(key).unwrap();
    request.headers_mut().insert("idempotency-key", key);
    kit.send(request).await
}

async fn with_five_used() -> Kit {
    let kit = Kit::new().await;
    let body = json!({ "quota": "messages", "window": "day", "used": 5, "reason": "moved" });
    let path = "/admin/quotas/users/alice/used?tenant=-";
    kit.write("PUT", path, &body).await.assert_ok();
    kit
}

#[tokio::test]
async fn what_comes_again_with_its_key_is_done_once() {
    let kit = with_five_used().await;
    let first = refund(&kit, TOKEN, "k1", 1).await;
    assert_eq!(first.assert_ok().json()["changes"][0]["used_after"], 4);
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = refund(&kit, TOKEN, "k1", 1).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header(header::CONTENT_TYPE), "application/json");
    assert_eq!((again.status, again.body), (first.status, first.body));
    refund(&kit, TOKEN, "k1", 2)
        .await
        .assert_problem(422, "key_reused");
    // Keys of others are other keys.
    let other = refund(&kit, OLD_TOKEN, "k1", 1).await;
    assert_eq!(other.assert_ok().json()["changes"][0]["used_after"], 3);
    let audits = kit
        .get("/admin/quotas/audit-log?tenant=-&action=refund")
        .await;
    let audits = audits.assert_ok().json();
    assert_eq!(audits["items"].as_array().unwrap().len(), 2);
    assert_eq!(audits["items"][0]["idempotency_key"], "k1");
}

#[tokio::test]
async fn what_led_to_nothing_lets_its_key_go() {
    let kit = Kit::new().await;
    let assign = async || {
        let body = json!({ "plan": "gold", "reason": "bought" });
        let path = "/admin/quotas/users/alice/plan?tenant=-";
        let mut request = with_body("PUT", path, TOKEN, &body);
        let key = header::HeaderValue::from_static("k1");
        request.headers_mut().insert("idempotency-key", key);
        kit.send(request).await
    };
    assign().await.assert_problem(422, "invalid_body");
    let gold = json!({ "name": "gold", "extends": "free", "reason": "a new offer" });
    kit.write("POST", "/admin/quotas/plans", &gold).await;
    assert_eq!(assign().await.assert_ok().json()["plan"]["id"], "gold");
}

#[tokio::test]
async fn what_is_still_running_is_not_begun_again() {
    let kit = with_five_used().await;
    // Another process has begun the same; only the fingerprint tells which request it is.
    let mut request = with_body("POST", PATH, TOKEN, &json!({}));
    let body = json!({ "quota": "messages", "amount": 1, "reason": "it failed" }).to_string();
    let line = format!("POST {PATH}\n{body}");
    *request.body_mut() = body.into();
    request
        .headers_mut()
        .insert("idempotency-key", "k1".parse().unwrap());
    let claim = KeyClaim {
        actor: "token:1".to_owned(),
        key: "k1".to_owned(),
        fingerprint: sha256(&line),
        at: NOW,
    };
    assert_eq!(kit.ledger.begin(&claim).await.unwrap(), Begun::New);
    let seen = kit.send(request).await;
    seen.assert_problem(409, "running");
    assert_eq!(seen.header(header::RETRY_AFTER), "1");
}

fn sha256(text: &str) -> [u8; 32] {
    use sha2::Digest as _;

    sha2::Sha256::digest(text).into()
}

#[tokio::test]
async fn at_once_one_of_many_is_done() {
    let kit = with_five_used().await;
    let sent = (0..8).map(|_| refund(&kit, TOKEN, "k1", 1));
    let seen = futures_util::future::join_all(sent).await;
    let done = seen.iter().filter(|seen| seen.status == 200).count();
    assert!(done >= 1);
    for seen in seen.iter().filter(|seen| seen.status != 200) {
        seen.assert_problem(409, "running");
    }
    let user = kit.get("/admin/quotas/users/alice?tenant=-").await.json();
    assert_eq!(user["quotas"][0]["counters"][0]["used"], 4);
}

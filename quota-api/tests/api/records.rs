//! The usage log, statistics and usage.

use std::collections::BTreeSet;

use http::header;
use quota_layer::QuotaIdentity;
use quota_store::{Amount, ledger::Charged};
use serde_json::{Value, json};

use crate::kit::{Kit, as_user, attempt, denied};

/// Every id that pages of `limit` rows have, in their order.
async fn ids(kit: &Kit, path: &str, limit: u32) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let mut page = format!("{path}&limit={limit}");
        if let Some(cursor) = cursor.as_str() {
            page = format!("{page}&cursor={cursor}");
        }
        let page = kit.get(&page).await.assert_ok().json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= usize::try_from(limit).unwrap());
        ids.extend(items.iter().map(|item| item["id"].to_string()));
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            return ids;
        }
        assert!(
            !items.is_empty(),
            "a page without rows that is not the last"
        );
    }
}

#[tokio::test]
async fn pages_have_every_row_once() {
    let kit = Kit::new().await;
    // Several in one second, so that times alone do not tell them apart.
    let attempts = (0..23).map(|number| attempt(None, "alice", number / 5));
    kit.record(attempts.collect()).await;
    let all = ids(&kit, "/admin/quotas/usage-logs?tenant=-", 1000).await;
    assert_eq!(all.len(), 23);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 23);
    for limit in [1, 5, 7, 22, 23] {
        let paged = ids(&kit, "/admin/quotas/usage-logs?tenant=-", limit).await;
        assert_eq!(paged, all, "{limit}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let kit = Kit::new().await;
    kit.record(
        (0..3)
            .map(|number| attempt(None, "alice", number))
            .collect(),
    )
    .await;
    let page = kit.get("/admin/quotas/usage-logs?tenant=-&limit=1").await;
    let cursor = page.json()["next_cursor"].as_str().unwrap().to_owned();
    for path in [
        format!("/admin/quotas/usage-logs?tenant=-&user=alice&cursor={cursor}"),
        format!("/admin/quotas/audit-log?tenant=-&cursor={cursor}"),
    ] {
        let seen = kit.get(&path).await;
        seen.assert_problem(400, "invalid_parameter");
        assert_eq!(seen.json()["parameter"], "cursor");
    }
}

#[tokio::test]
async fn the_log_is_filtered() {
    let kit = Kit::new().await;
    let mut tagged = attempt(None, "bob", 10);
    tagged.tags = [("goal".to_owned(), "a&b=c".to_owned())].into();
    kit.record(vec![
        attempt(None, "alice", 100),
        denied(None, "alice", 50),
        tagged,
        attempt(Some("acme"), "alice", 5),
    ])
    .await;
    for (filter, count) in [
        ("tenant=-", 3),
        ("tenant=acme", 1),
        ("tenant=-&user=alice", 2),
        ("tenant=-&outcome=denied", 1),
        ("tenant=-&quota=messages", 3),
        ("tenant=-&quota=storage", 0),
        ("tenant=-&route=POST+/chat", 3),
        ("tenant=-&route=POST+/other", 0),
        ("tenant=-&tag.goal=a%26b%3Dc", 1),
        ("tenant=-&tag.model=gpt&tag.goal=x", 0),
        ("tenant=-&from=2026-01-15T11:59:00Z", 2),
        ("tenant=-&to=1768478345", 1),
    ] {
        let seen = kit.get(&format!("/admin/quotas/usage-logs?{filter}")).await;
        let items = seen.assert_ok().json()["items"].clone();
        assert_eq!(items.as_array().unwrap().len(), count, "{filter}");
    }
}

#[tokio::test]
async fn one_attempt_tells_the_decision_as_it_was() {
    let kit = Kit::new().await;
    let refused = denied(Some("acme"), "alice", 50);
    let id = refused.id;
    kit.record(vec![refused]).await;
    let seen = kit
        .get(&format!(
            "/admin/quotas/usage-logs/urn:uuid:{id}?tenant=acme"
        ))
        .await;
    let history = seen.assert_ok().json();
    assert_eq!(history["id"], id.to_string());
    assert_eq!(history["postings"], json!([]));
    let record = &history["records"][0];
    assert_eq!(record["outcome"], "denied");
    assert_eq!(record["plan_source"], "default");
    assert_eq!(record["revision"], "0123456789ab");
    assert_eq!(
        record["denial"],
        json!({ "policy": "messages-day", "scope": "user", "limit": 5, "hard_limit": 5, "used": 5,
            "reserved": 0, "requested": 1 })
    );
}

#[tokio::test]
async fn a_csv_has_all_rows_and_no_formula() {
    let kit = Kit::new().await;
    let mut attempts: Vec<_> = (0..2500).map(|_| attempt(None, "alice", 60)).collect();
    let mut hostile = attempt(None, "=cmd()|' /C calc'!A0", 1);
    hostile.rule = Some("@SUM(1,\"2\")\nx".to_owned());
    hostile.charges.push(Charged {
        quota: "storage".parse().unwrap(),
        reserved: Amount::ZERO,
        charged: -7,
    });
    attempts.push(hostile);
    kit.record(attempts).await;
    let seen = kit
        .get("/admin/quotas/usage-logs?tenant=-&format=csv")
        .await;
    seen.assert_ok();
    assert_eq!(
        seen.header(header::CONTENT_TYPE),
        "text/csv; charset=utf-8; header=present"
    );
    assert_eq!(
        seen.header(header::CONTENT_DISPOSITION),
        "attachment; filename=\"usage-logs.csv\""
    );
    let text = seen.text();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2501);
    let cell = |column: &str| {
        let place = columns.iter().position(|name| name == column).unwrap();
        rows[0][place].to_owned()
    };
    assert_eq!(cell("user"), "'=cmd()|' /C calc'!A0");
    assert_eq!(cell("route"), "'@SUM(1,\"2\")\nx");
    assert_eq!(cell("charged"), "messages=1; storage=-7");
    assert_eq!(cell("latency_us"), "1234");
    let seen = kit
        .get("/admin/quotas/usage-logs?tenant=-&format=csv&quota=storage")
        .await;
    let text = seen.text();
    let row = csv::Reader::from_reader(text.as_bytes())
        .records()
        .next()
        .unwrap()
        .unwrap();
    let place = columns.iter().position(|name| name == "charged").unwrap();
    assert_eq!(&row[place], "-7", "numbers stay numbers");
}

#[tokio::test]
async fn statistics_add_up() {
    let kit = Kit::new().await;
    kit.record(vec![
        attempt(None, "alice", 60),
        attempt(None, "bob", 3 * 3600),
        denied(None, "bob", 50),
        attempt(Some("acme"), "carol", 50),
    ])
    .await;
    let path = "/admin/quotas/statistics/messages?tenant=-&bucket=hour&by=route";
    let figures = kit.get(path).await.assert_ok().json();
    assert_eq!(figures["users"], 2);
    assert_eq!(figures["total"]["charged"], 2);
    assert_eq!(figures["total"]["attempts"], 3);
    assert_eq!(figures["total"]["denied"], 1);
    assert_eq!(figures["percentiles"]["p99"], 1);
    let series = figures["series"].as_array().unwrap();
    assert_eq!(series.len(), 2);
    assert_eq!(series[0]["group"], "POST /chat");
    let charged: i64 = series
        .iter()
        .map(|part| part["charged"].as_i64().unwrap())
        .sum();
    assert_eq!(charged, 2);
}

#[tokio::test]
async fn users_see_their_own_usage() {
    let kit = Kit::new().await;
    kit.record(vec![
        attempt(Some("acme"), "alice", 60),
        denied(Some("acme"), "alice", 50),
        attempt(Some("acme"), "bob", 60),
        attempt(Some("beta"), "alice", 60),
        attempt(None, "alice", 60),
    ])
    .await;
    let alice = QuotaIdentity::new("alice").with_tenant("acme");
    let usage = kit
        .send(as_user(
            "GET",
            "/quota/usage?bucket=day&by=tag.model",
            alice,
        ))
        .await;
    let usage = usage.assert_ok().json();
    assert_eq!(
        usage["totals"],
        json!([{ "quota": "messages", "charged": 1, "attempts": 2, "denied": 1,
            "percent_denied": 50, "groups": [{ "group": "gpt", "charged": 1,
            "percent_charged": 100 }] }])
    );
    assert_eq!(usage["series"][0]["from"], "2026-01-15T00:00:00Z");
}

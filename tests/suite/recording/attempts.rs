//! One record for each attempt, which says what became of it.

use axum::{Router, body::Body, routing};
use http::{Method, Request, StatusCode};
use quota_layer::{ClientAddress, QuotaHandle};
use quota_store::{
    Amount, Bound, Scope,
    ledger::{DeniedBy, Outcome, PlanSource},
};
use quota_tests::{
    layers::{Store, requester},
    requests::{get, request, send, status},
    tokens::bearer,
};
use serde_json::json;
use tower::ServiceExt;

use super::{Kept, Recorded};

const CONFIG: &str = r#"
unmatched = "deny"
[store]
timeout = "5s"
[ledger]
url = "none"
[quotas.messages]
[quotas.tokens]
[plans.free]
default = true
limits.messages = { limit = "5/day", grace = "20%" }
limits.tokens = "1K/month"
[[routes]]
match = ["GET /ok", "GET /fail", "GET /panic", "GET /hang"]
charge = { messages = 1, tokens = { reserve = 100, actual = "handler" } }
"#;

async fn tagged(quota: QuotaHandle) -> &'static str {
    quota.report("tokens", 40);
    quota.tag("goal", 7);
    quota.tag("model", "small");
    quota.tag("mood", "no tag has this name");
    quota.tag("task", "x".repeat(65));
    quota.metadata("finish", "stop");
    quota.metadata("large", "x".repeat(5_000));
    let nest = |value, _| json!([value]);
    quota.metadata("deep", (0..200).fold(json!(1), nest));
    "done"
}

fn app(recorded: &Recorded) -> Router {
    Router::new()
        .route("/ok", routing::get(tagged))
        .route(
            "/fail",
            routing::get(|| async { StatusCode::UNPROCESSABLE_ENTITY }),
        )
        .route("/panic", routing::get(|| async { fails() }))
        .route("/hang", routing::get(std::future::pending::<()>))
        .route("/other", routing::get(|| async {}))
        .layer(recorded.layered.quota.clone())
}

fn fails() -> StatusCode {
    panic!("as a handler with a bug does")
}

async fn start(store: Store) -> (Recorded, Router) {
    let recorded = Recorded::start(store, Kept::Sqlite, CONFIG).await;
    let app = app(&recorded);
    (recorded, app)
}

async fn a_charge_says_what_it_was(store: Store) {
    let (recorded, app) = start(store).await;
    let request = Request::get("/ok")
        .header("authorization", bearer("alice"))
        .header("x-request-id", "request 1")
        .header("user-agent", "test")
        .extension(ClientAddress([203, 0, 113, 9].into()))
        .body(Body::empty())
        .unwrap();
    assert_eq!(status(&app, request).await, 200);
    let record = recorded.record().await;
    assert_eq!(record.outcome, Outcome::Committed);
    assert_eq!(record.user.unwrap().as_str(), "alice");
    let plan = record.plan.unwrap();
    assert_eq!(
        (plan.plan.as_str(), plan.source),
        ("free", PlanSource::Default)
    );
    assert_eq!(record.rule.as_deref(), Some("GET /ok"));
    let charges: Vec<_> = record
        .charges
        .iter()
        .map(|one| (one.quota.as_str(), one.reserved.get(), one.charged))
        .collect();
    assert_eq!(charges, [("messages", 1, 1), ("tokens", 100, 40)]);
    assert_eq!((record.status, record.cause), (Some(200), None));
    assert!(record.latency.is_some());
    let tags: Vec<_> = record
        .tags
        .iter()
        .map(|(name, tag)| (&**name, &**tag))
        .collect();
    assert_eq!(tags, [("goal", "7"), ("model", "small")]);
    assert_eq!(json!(record.metadata), json!({ "finish": "stop" }));
    assert_eq!(record.request_id.as_deref(), Some("request 1"));
    // Only when configured.
    assert_eq!((record.client_ip, record.user_agent), (None, None));
    assert_eq!(record.revision, recorded.layered.quota.config_revision());
    let history = recorded
        .ledger
        .attempt(None, record.id)
        .await
        .unwrap()
        .unwrap();
    let entries = &history.postings[0].entries;
    let amounts: Vec<i64> = entries.iter().map(|entry| entry.amount).collect();
    assert_eq!(amounts, [1, 40]);
    let used = recorded
        .ledger
        .used(&requester("alice", None), &[entries[1].counter.clone()])
        .await
        .unwrap();
    assert_eq!(used, [Amount::new(40).unwrap()]);
}

async fn a_failure_says_how_it_failed(store: Store) {
    let (recorded, app) = start(store).await;
    assert_eq!(status(&app, get("/fail", "alice")).await, 422);
    let record = recorded.record().await;
    assert_eq!(record.outcome, Outcome::Released);
    assert_eq!((record.status, record.cause), (Some(422), None));
    assert_eq!(
        (record.charges[1].reserved.get(), record.charges[1].charged),
        (100, 0)
    );
}

async fn a_panic_is_told(store: Store) {
    let (recorded, app) = start(store).await;
    let task = tokio::spawn(app.oneshot(get("/panic", "alice")));
    assert!(task.await.unwrap_err().is_panic());
    let record = recorded.record().await;
    assert_eq!(record.outcome, Outcome::Released);
    assert_eq!(
        (record.status, record.cause.as_deref()),
        (None, Some("panic"))
    );
}

async fn a_client_that_leaves_is_told(store: Store) {
    let (recorded, app) = start(store).await;
    let task = tokio::spawn(app.oneshot(get("/hang", "alice")));
    let layered = recorded.layered.clone();
    let held = || async {
        layered
            .user("alice", "messages", "day")
            .await
            .reserved
            .get()
    };
    quota_tests::eventually_eq(1, held, "the handler runs").await;
    task.abort();
    let record = recorded.record().await;
    assert_eq!(record.outcome, Outcome::Released);
    assert_eq!(
        (record.status, record.cause.as_deref()),
        (None, Some("disconnected"))
    );
}

async fn a_denial_says_what_denied_it(store: Store) {
    let (recorded, app) = start(store).await;
    for _ in 0..6 {
        assert_eq!(status(&app, get("/ok", "alice")).await, 200);
    }
    let refused = send(&app, get("/ok", "alice")).await;
    assert_eq!(refused.status(), 429);
    let instance = quota_tests::requests::json(&refused)["instance"].clone();
    let records = recorded.records(None, 7).await;
    let denied: Vec<_> = records
        .iter()
        .filter(|record| record.outcome == Outcome::Denied)
        .collect();
    let [record] = denied.as_slice() else {
        panic!("{records:?}");
    };
    assert_eq!(instance, format!("urn:uuid:{}", record.id));
    assert_eq!(
        (record.status, record.cause.as_deref()),
        (Some(429), Some("limit"))
    );
    assert_eq!(record.charges[0].charged, 0);
    let amount = |units| Amount::new(units).unwrap();
    let expected = DeniedBy {
        policy: "messages-day".to_owned(),
        scope: Scope::User,
        limit: Bound::AtMost(amount(5)),
        hard: Bound::AtMost(amount(6)),
        used: amount(6),
        reserved: amount(0),
        requested: amount(1),
    };
    assert_eq!(record.denial.as_ref(), Some(&expected));
}

async fn a_flood_of_denials_is_counted(store: Store) {
    let (recorded, app) = start(store).await;
    for _ in 0..6 {
        assert_eq!(status(&app, get("/ok", "alice")).await, 200);
    }
    for _ in 0..200 {
        assert_eq!(status(&app, get("/ok", "alice")).await, 429);
    }
    recorded.layered.quota.shutdown().await;
    let records = super::all(&*recorded.ledger, None).await;
    let denied = records
        .iter()
        .filter(|record| record.outcome == Outcome::Denied);
    let (rows, attempts) = denied.fold((0, 0), |(rows, attempts), record| {
        (rows + 1, attempts + record.count.get())
    });
    assert_eq!(attempts, 200);
    // Ten and a number, in each of at most two minutes.
    assert!((11..=22).contains(&rows), "{rows} rows");
}

async fn a_request_that_no_rule_names_says_which(store: Store) {
    let (recorded, app) = start(store).await;
    assert_eq!(
        status(&app, request(Method::GET, "/other?secret=1", "alice")).await,
        403
    );
    let record = recorded.record().await;
    assert_eq!(record.outcome, Outcome::Unmatched);
    assert_eq!((record.user, record.rule), (None, None));
    assert_eq!(
        (record.status, record.cause.as_deref()),
        (Some(403), Some("unmatched"))
    );
    assert_eq!(
        json!(record.metadata),
        json!({ "method": "GET", "path": "/other" })
    );
}

on_both_stores!(
    a_charge_says_what_it_was,
    a_failure_says_how_it_failed,
    a_panic_is_told,
    a_client_that_leaves_is_told,
    a_denial_says_what_denied_it,
    a_flood_of_denials_is_counted,
    a_request_that_no_rule_names_says_which,
);

#[tokio::test]
async fn address_and_program_are_kept_when_configured() {
    let toml = CONFIG.replace(
        "url = \"none\"",
        "url = \"none\"\nclient_ip = true\nuser_agent = true",
    );
    let recorded = Recorded::start(Store::Memory, Kept::Sqlite, &toml).await;
    let request = Request::get("/ok")
        .header("authorization", bearer("alice"))
        .header("user-agent", "a program ".repeat(100))
        .extension(ClientAddress([203, 0, 113, 9].into()))
        .body(Body::empty())
        .unwrap();
    assert_eq!(status(&app(&recorded), request).await, 200);
    let record = recorded.record().await;
    assert_eq!(record.client_ip, Some([203, 0, 113, 9].into()));
    assert_eq!(record.user_agent.unwrap().len(), 256);
}

#[tokio::test]
async fn denials_are_left_out_when_they_are_off() {
    let toml = CONFIG.replace("url = \"none\"", "url = \"none\"\ndenials = \"off\"");
    let recorded = Recorded::start(Store::Memory, Kept::Sqlite, &toml).await;
    let app = app(&recorded);
    for _ in 0..10 {
        status(&app, get("/ok", "alice")).await;
    }
    recorded.layered.quota.shutdown().await;
    assert_eq!(super::all(&*recorded.ledger, None).await.len(), 6);
}

/// What the store could not be asked for is in the ledger all the same.
#[tokio::test]
async fn what_a_store_that_is_down_let_through_is_told() {
    let server = quota_tests::RedisServer::start();
    let store = std::sync::Arc::new(quota_tests::layers::redis_store(&server.url()).await);
    for (on_failure, outcome, answer) in [
        ("deny", Outcome::Unavailable, 503),
        ("allow", Outcome::FailOpen, 200),
    ] {
        server.kill();
        let folder = tempfile::tempdir().unwrap();
        let toml = CONFIG.replace(
            "timeout = \"5s\"",
            &format!("timeout = \"100ms\"\non_failure = \"{on_failure}\""),
        );
        let options = quota_store::ledger::SqliteOptions::new(folder.path().join("quota.db"));
        let ledger = quota_store::ledger::SqliteLedger::open(options)
            .await
            .unwrap();
        let store: std::sync::Arc<dyn quota_store::DynCounterStore> = store.clone();
        let (quota, ledger) = super::over(&store, std::sync::Arc::new(ledger), &toml).await;
        let recorded = Recorded {
            layered: quota_tests::layers::Layered { quota, store },
            ledger,
            folder,
        };
        assert_eq!(status(&app(&recorded), get("/ok", "alice")).await, answer);
        let record = recorded.record().await;
        assert_eq!((record.outcome, record.status), (outcome, Some(answer)));
        assert!(record.charges.iter().all(|charge| charge.charged == 0));
    }
}

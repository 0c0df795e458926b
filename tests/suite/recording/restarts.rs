//! Counters in memory stand where they stood when the process starts again, however it ended.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, routing};
use quota_layer::QuotaLayer;
use quota_store::{
    Clock as _, ReservationId, SystemClock, UnixMillis,
    ledger::{Attempt, Batch, Ledger, Outcome, SqliteLedger, SqliteOptions},
};
use quota_tests::{
    eventually, eventually_eq,
    layers::{Store, config, identity, requester},
    requests::{get, status},
};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::{Kept, Recorded, all, memory, over};
use crate::processes::Node;

const CALLS: &str = "[quotas.calls]\n[plans.free]\ndefault = true\nlimits.calls = \"1M/lifetime\"\n\
    [[routes]]\nmatch = \"GET /\"\ncharge = { calls = 2 }\n";

fn write_config(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("quota.toml");
    // The ledger is where it is by default.
    let text = format!(
        "{}\n[store]\ntimeout = \"5s\"\nmax_in_flight = 100000\n[quotas.demo_calls]\n\
         [plans.free]\ndefault = true\nlimits.demo_calls = \"1M/lifetime\"\n\
         [[routes]]\nmatch = \"* /demo/status/{{code}}\"\ncharge = {{ demo_calls = 1 }}\n",
        identity(),
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Lets clients ask until `until` of them saw a success, kills the process, and waits for them.
async fn load_and_kill(node: Node, seen: &Arc<AtomicU64>, clients: u64, until: u64) {
    let node = Arc::new(node);
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (node, seen) = (Arc::clone(&node), Arc::clone(seen));
        tasks.spawn(async move {
            let status = if client % 4 == 0 { 500 } else { 200 };
            while let Some(answered) = node.status(status, client % 3).await {
                assert_eq!(answered, status);
                seen.fetch_add(u64::from(status == 200), Ordering::SeqCst);
            }
        });
    }
    let enough = || async { seen.load(Ordering::SeqCst) >= until };
    eventually_eq(true, enough, "clients see answers").await;
    node.process.kill();
    while let Some(client) = tasks.join_next().await {
        client.expect("only its death ends a client");
    }
}

/// What clients saw is in the counters of the next process, and no more than was in flight beyond
/// it.
#[tokio::test]
async fn kills_forget_nothing_that_a_client_saw() {
    const KILLS: u64 = 30;
    const CLIENTS: u64 = 12;
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let seen = Arc::new(AtomicU64::new(0));
    for kill in 0..=KILLS {
        let node = Node::start(&config).await;
        let used = node.used().await;
        let least = seen.load(Ordering::SeqCst);
        let most = least + kill * CLIENTS;
        assert!((least..=most).contains(&used), "{least} seen, {used} used");
        if kill < KILLS {
            load_and_kill(node, &seen, CLIENTS, least + 10 + kill).await;
        }
    }
}

#[tokio::test]
async fn an_orderly_end_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    for round in 0..3 {
        let node = Node::start(&config).await;
        assert_eq!(node.used().await, round * 5);
        for _ in 0..5 {
            assert_eq!(node.status(200, 0).await, Some(200));
        }
        node.process
            .signal(quota_tests::processes::Signal::Terminate);
        assert!(node.process.wait().await.success());
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_ledger_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(folder.path());
    let first = Node::start(&config).await;
    let second = Node::launch(&config);
    assert!(!second.wait().await.success());
    let told = second.output();
    let database = folder.path().join("quota.db");
    let expected = format!("another process uses the ledger {}", database.display());
    assert!(told.contains(&expected), "{told}");
    assert!(told.contains("give this one a file of its own"), "{told}");
    assert_eq!(first.status(200, 0).await, Some(200));
}

/// A request that hangs for longer than its units are held for.
#[tokio::test]
async fn what_expires_and_is_charged_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quota.db");
    let text = format!(
        "[store]\nreservation_ttl = \"1s\"\nmax_reservation = \"1s\"\norphans = \"charge\"\n\
         [ledger]\nurl = \"sqlite:{}\"\n{CALLS}",
        path.display()
    );
    let quota = QuotaLayer::from_config(config(&text))
        .build()
        .await
        .unwrap();
    let app = Router::new()
        .route("/", routing::get(std::future::pending::<()>))
        .layer(quota.clone());
    let hanging = tokio::spawn(app.oneshot(get("/", "alice")));
    let ledger = SqliteLedger::open(SqliteOptions::new(path)).await.unwrap();
    let expired = || async {
        let records = all(&ledger, None).await;
        records
            .iter()
            .any(|record| record.outcome == Outcome::Expired)
    };
    eventually(expired, "the reservation has expired").await;
    let record = all(&ledger, None).await.remove(0);
    assert_eq!(
        (record.charges[0].reserved.get(), record.charges[0].charged),
        (2, 2)
    );
    let history = ledger.attempt(None, record.id).await.unwrap().unwrap();
    let counter = history.postings[0].entries[0].counter.clone();
    let used = ledger
        .used(&requester("alice", None), &[counter])
        .await
        .unwrap();
    assert_eq!(used[0].get(), 2);
    hanging.abort();
}

#[tokio::test]
async fn what_is_older_than_the_retention_goes() {
    const DAY: u64 = 86_400_000;
    let recorded = Recorded::start(Store::Memory, Kept::Sqlite, CALLS).await;
    let app = Router::new()
        .route("/", routing::get(|| async {}))
        .layer(recorded.layered.quota.clone());
    assert_eq!(status(&app, get("/", "alice")).await, 200);
    let record = recorded.record().await;
    let aged = |days: u64| {
        let at = UnixMillis::new(SystemClock.now().get() - days * DAY);
        Attempt {
            id: ReservationId::generate(at),
            at,
            ..record.clone()
        }
    };
    let batch = Batch {
        attempts: vec![aged(399), aged(401), aged(500)],
        ..Batch::default()
    };
    recorded.ledger.append(Arc::new(batch)).await.unwrap();
    // Another process that starts prunes at once.
    let path = recorded.path();
    let ledger = SqliteLedger::open(SqliteOptions::new(path)).await.unwrap();
    let toml = format!("[ledger]\nurl = \"none\"\n{CALLS}");
    let _other = over(&memory(), Arc::new(ledger), &toml).await;
    recorded.records(None, 2).await;
}

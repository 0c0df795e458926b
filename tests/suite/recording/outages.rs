//! The ledger is down: requests go on up to the backlog, and what was charged is there afterwards.

use std::sync::Arc;

use axum::{Router, routing};
use quota_store::{
    DynCounterStore, Scope,
    ledger::{Outcome, SqliteLedger, SqliteOptions},
};
use quota_tests::{
    PostgresServer,
    doubles::{Commits, WatchedStore},
    layers::{Layered, requester},
    requests::{get, header, send, status},
};

use super::{Recorded, blocking, memory, over, postgres};

fn config(ledger: &str) -> String {
    format!(
        "[store]\ntimeout = \"20ms\"\n[ledger]\nurl = \"none\"\n{ledger}\n[quotas.calls]\n\
         [plans.free]\ndefault = true\nlimits.calls = \"1M/month\"\n\
         [[routes]]\nmatch = \"GET /\"\ncharge = {{ calls = 1 }}\n"
    )
}

struct Outage {
    recorded: Recorded,
    app: Router,
    server: &'static PostgresServer,
}

impl Outage {
    /// A server of its own, which has just been killed.
    async fn start(ledger: &str) -> Self {
        let server: &'static PostgresServer =
            blocking(|| Box::leak(Box::new(PostgresServer::start())) as &_).await;
        let store = memory();
        let (quota, kept) = over(&store, postgres(server).await, &config(ledger)).await;
        let recorded = Recorded {
            layered: Layered { quota, store },
            ledger: kept,
            folder: tempfile::tempdir().unwrap(),
        };
        let app = Router::new()
            .route("/", routing::get(|| async {}))
            .layer(recorded.layered.quota.clone());
        assert_eq!(status(&app, get("/", "alice")).await, 200);
        recorded.records(None, 1).await;
        blocking(|| server.kill()).await;
        Self {
            recorded,
            app,
            server,
        }
    }

    async fn end(&self) {
        let server = self.server;
        blocking(move || server.restart()).await;
    }

    async fn used(&self) -> (u64, u64) {
        let layered = &self.recorded.layered;
        let key = layered.key(Scope::User, "calls", "month");
        let alice = requester("alice", None);
        let counter = layered
            .store
            .read(&alice, std::slice::from_ref(&key))
            .await
            .unwrap()[0];
        let balance = self.recorded.ledger.used(&alice, &[key]).await.unwrap()[0];
        (counter.used.get(), balance.get())
    }
}

#[tokio::test]
async fn requests_go_on_and_everything_is_recorded_afterwards() {
    const REQUESTS: usize = 100;
    let outage = Outage::start("").await;
    for _ in 0..REQUESTS {
        assert_eq!(status(&outage.app, get("/", "alice")).await, 200);
    }
    outage.end().await;
    let records = outage.recorded.records(None, REQUESTS + 1).await;
    let committed = |record: &&_| {
        matches!(
            record,
            quota_store::ledger::Attempt {
                outcome: Outcome::Committed,
                ..
            }
        )
    };
    assert_eq!(records.iter().filter(committed).count(), REQUESTS + 1);
    assert_eq!(outage.used().await, (101, 101));
}

#[tokio::test]
async fn a_full_backlog_refuses_requests_until_the_ledger_is_back() {
    let outage = Outage::start("backlog = 10").await;
    for _ in 0..10 {
        assert_eq!(status(&outage.app, get("/", "alice")).await, 200);
    }
    let refused = send(&outage.app, get("/", "alice")).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(header(&refused, "retry-after"), "1");
    outage.end().await;
    let app = &outage.app;
    let passes = || async { status(app, get("/", "alice")).await == 200 };
    quota_tests::eventually(passes, "requests pass again").await;
    let outcomes = |records: &[quota_store::ledger::Attempt]| {
        records
            .iter()
            .filter(|record| record.outcome == Outcome::Committed)
            .count()
    };
    let committed = || async { outcomes(&super::all(&*outage.recorded.ledger, None).await) };
    quota_tests::eventually_eq(12, committed, "what was charged is recorded").await;
    assert_eq!(outage.used().await, (12, 12));
}

#[tokio::test]
async fn a_full_backlog_may_be_ignored() {
    let outage = Outage::start("backlog = 10\non_backlog_full = \"drop\"").await;
    for _ in 0..20 {
        assert_eq!(status(&outage.app, get("/", "alice")).await, 200);
    }
    outage.end().await;
    outage.recorded.records(None, 11).await;
    assert_eq!(outage.used().await, (21, 11));
}

#[tokio::test]
async fn a_commit_that_the_store_never_takes_is_in_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(folder.path().join("quota.db"));
    let ledger = Arc::new(SqliteLedger::open(options).await.unwrap());
    let watched = WatchedStore::new(memory());
    let watch = watched.watch();
    let store: Arc<dyn DynCounterStore> = Arc::new(watched);
    let (quota, kept) = over(&store, ledger, &config("")).await;
    let recorded = Recorded {
        layered: Layered { quota, store },
        ledger: kept,
        folder,
    };
    let app = Router::new()
        .route("/", routing::get(|| async {}))
        .layer(recorded.layered.quota.clone());
    watch.set_commits(Commits::Unreadable);
    status(&app, get("/", "alice")).await;
    let record = recorded.record().await;
    assert_eq!(record.outcome, Outcome::Late);
    assert_eq!(record.charges[0].charged, 1);
    assert!(watch.calls("commit") >= 3);
    let key = recorded.layered.key(Scope::User, "calls", "month");
    let (alice, keys) = (requester("alice", None), [key]);
    let used = recorded.ledger.used(&alice, &keys).await.unwrap();
    assert_eq!(used[0].get(), 1);
}

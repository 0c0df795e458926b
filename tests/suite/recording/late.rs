//! A request ran for longer than its store remembers it: the ledger has it all the same.

use std::sync::Arc;

use axum::{Router, routing};
use quota_store::{
    DynCounterStore, Scope,
    ledger::{Ledger, Outcome, SqliteLedger, SqliteOptions},
};
use quota_tests::{
    doubles::{Commits, WatchedStore},
    layers::{Layered, Store, redis_store_over, requester},
    requests::{get, status},
    shared_redis,
};

use super::{Recorded, memory, over};

const CONFIG: &str = "[quotas.calls]\n[plans.free]\ndefault = true\n\
    limits.calls = \"1M/lifetime\"\n[[routes]]\nmatch = \"GET /\"\ncharge = { calls = 2 }\n";

async fn what_the_store_forgot_is_recorded_as_late(store: Store) {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(folder.path().join("quota.db"));
    let ledger = Arc::new(SqliteLedger::open(options).await.unwrap());
    let inner: Arc<dyn DynCounterStore> = match store {
        Store::Memory => memory(),
        Store::Redis => {
            let ledger: Arc<dyn Ledger> = ledger.clone();
            Arc::new(redis_store_over(&shared_redis().url(), Some(ledger)).await)
        }
    };
    let watched = WatchedStore::new(inner);
    watched.watch().set_commits(Commits::TooOld);
    let store: Arc<dyn DynCounterStore> = Arc::new(watched);
    let (quota, ledger) = over(&store, ledger, CONFIG).await;
    let recorded = Recorded {
        layered: Layered { quota, store },
        ledger,
        folder,
    };
    let app = Router::new()
        .route("/", routing::get(|| async {}))
        .layer(recorded.layered.quota.clone());
    quota_tests::eventually(
        || async { status(&app, get("/", "alice")).await == 200 },
        "it is served",
    )
    .await;
    let records = || async {
        let all = super::all(&*recorded.ledger, None).await;
        let late = all.into_iter().filter(|one| one.outcome == Outcome::Late);
        late.map(|one| one.charges[0].charged).collect::<Vec<_>>()
    };
    quota_tests::eventually_eq(vec![2], records, "it is recorded as late").await;
    let key = recorded.layered.key(Scope::User, "calls", "lifetime");
    let used = recorded
        .ledger
        .used(&requester("alice", None), &[key])
        .await;
    assert_eq!(used.unwrap()[0].get(), 2);
}

on_both_stores!(what_the_store_forgot_is_recorded_as_late);

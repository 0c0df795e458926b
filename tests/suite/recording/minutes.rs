//! What is recorded by the minute becomes one record of it.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing};
use quota_store::{
    Clock as _, DynCounterStore, ManualClock, MemoryCounterStore, MemoryOptions, SystemClock,
    UnixMillis,
    directory::Directory,
    ledger::{Ledger, SqliteLedger, SqliteOptions},
};
use quota_tests::{
    eventually_eq,
    requests::{get, status},
};

use super::{all, blocking, over, postgres};

const CONFIG: &str = r#"
[store]
timeout = "5s"
[ledger]
url = "none"
record = "minute"
[quotas.calls]
[quotas.units]
record = "each"
[plans.free]
default = true
limits.calls = "1K/month"
limits.units = "1K/month"
[[routes]]
match = "GET /minute"
charge = { calls = 1 }
[[routes]]
match = "GET /both"
charge = { calls = 1, units = 1 }
"#;

/// The start of a minute some two hours ago.
fn two_hours_ago() -> UnixMillis {
    let now = SystemClock.now().get();
    UnixMillis::new(now - now % 60_000 - 120 * 60_000)
}

async fn old_attempts_by_the_minute_become_one_record<L: Ledger + Directory>(ledger: Arc<L>) {
    let minute = two_hours_ago();
    let clock = ManualClock::new(minute);
    let store = MemoryCounterStore::new(&MemoryOptions::default(), clock.clone());
    let store: Arc<dyn DynCounterStore> = Arc::new(store);
    let (quota, records) = over(&store, Arc::clone(&ledger), CONFIG).await;
    let app = Router::new()
        .route("/minute", routing::get(|| async {}))
        .route("/both", routing::get(|| async {}))
        .layer(quota.clone());
    for _ in 0..5 {
        for path in ["/minute", "/both"] {
            assert_eq!(status(&app, get(path, "alice")).await, 200);
        }
        clock.advance(Duration::from_secs(1));
    }
    let count = || async { all(&*records, None).await.len() };
    eventually_eq(10, count, "all is recorded").await;
    quota.shutdown().await;
    drop((app, quota));
    // The next process looks for them as soon as it starts.
    let (quota, records) = over(&store, ledger, CONFIG).await;
    let count = || async { all(&*records, None).await.len() };
    eventually_eq(6, count, "what is by the minute is rolled up").await;
    let all = all(&*records, None).await;
    let record = all.iter().find(|record| record.count.get() == 5);
    let record = record.expect("the minute");
    assert_eq!(
        (record.at, record.rule.as_deref()),
        (minute, Some("GET /minute"))
    );
    assert_eq!(
        (record.charges[0].reserved.get(), record.charges[0].charged),
        (5, 5)
    );
    quota.shutdown().await;
}

#[tokio::test]
async fn old_attempts_by_the_minute_become_one_record_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(folder.path().join("quota.db"));
    let ledger = Arc::new(SqliteLedger::open(options).await.unwrap());
    old_attempts_by_the_minute_become_one_record(ledger).await;
}

#[tokio::test]
async fn old_attempts_by_the_minute_become_one_record_in_postgres() {
    let ledger = postgres(blocking(quota_tests::shared_postgres).await).await;
    old_attempts_by_the_minute_become_one_record(ledger).await;
}

//! The ledger says of every attempt what became of it, and counters in memory come back from it.

use std::{path::PathBuf, sync::Arc};

use quota_layer::QuotaLayer;
use quota_store::{
    Clock, DynCounterStore, MemoryCounterStore, MemoryOptions, SystemClock, TenantId,
    directory::Directory,
    ledger::{
        Attempt, Ledger, LogQuery, PostgresLedger, PostgresOptions, SqliteLedger, SqliteOptions,
    },
};
use quota_tests::{
    PostgresServer, eventually_eq,
    layers::{Layered, Store, config, redis_store_over},
    shared_postgres, shared_redis,
};

mod attempts;
mod late;
mod minutes;
mod outages;
mod restarts;
mod sums;

/// The ledgers that promises are tested on.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Sqlite,
    Postgres,
}

/// A layer that records, the store behind it, and its ledger.
struct Recorded {
    layered: Layered,
    ledger: Arc<dyn Ledger>,
    folder: tempfile::TempDir,
}

impl Recorded {
    /// The file of a ledger in SQLite.
    fn path(&self) -> PathBuf {
        self.folder.path().join("quota.db")
    }

    async fn start(store: Store, kept: Kept, toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, quota, ledger) = match kept {
            Kept::Sqlite => {
                let options = SqliteOptions::new(folder.path().join("quota.db"));
                let ledger = SqliteLedger::open(options).await.unwrap();
                with(store, Arc::new(ledger), toml).await
            }
            Kept::Postgres => {
                let server = blocking(shared_postgres).await;
                with(store, postgres(server).await, toml).await
            }
        };
        Self {
            layered: Layered { quota, store },
            ledger,
            folder,
        }
    }

    /// All records about a tenant, or about none, once there are so many.
    async fn records(&self, tenant: Option<&str>, count: usize) -> Vec<Attempt> {
        let records = || async { all(&*self.ledger, tenant).await };
        eventually_eq(count, || async { records().await.len() }, "all is recorded").await;
        records().await
    }

    /// The only record there is.
    async fn record(&self) -> Attempt {
        self.records(None, 1).await.remove(0)
    }
}

fn memory() -> Arc<dyn DynCounterStore> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Arc::new(MemoryCounterStore::new(&MemoryOptions::default(), clock));
    store.start_sweeper();
    store
}

/// A ledger in a new database of a server.
async fn postgres(server: &'static PostgresServer) -> Arc<PostgresLedger> {
    let url = blocking(|| server.url(&server.create_database())).await;
    let options = PostgresOptions::new(&url).unwrap();
    Arc::new(PostgresLedger::connect(options).await.unwrap())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

async fn with<L: Ledger + Directory>(
    store: Store,
    ledger: Arc<L>,
    toml: &str,
) -> (Arc<dyn DynCounterStore>, QuotaLayer, Arc<dyn Ledger>) {
    let store: Arc<dyn DynCounterStore> = match store {
        Store::Memory => memory(),
        Store::Redis => {
            let ledger: Arc<dyn Ledger> = Arc::<L>::clone(&ledger);
            Arc::new(redis_store_over(&shared_redis().url(), Some(ledger)).await)
        }
    };
    let (quota, ledger) = over(&store, ledger, toml).await;
    (store, quota, ledger)
}

async fn over<L: Ledger + Directory>(
    store: &Arc<dyn DynCounterStore>,
    ledger: Arc<L>,
    toml: &str,
) -> (QuotaLayer, Arc<dyn Ledger>) {
    let directory: Arc<dyn Directory> = Arc::<L>::clone(&ledger);
    let ledger: Arc<dyn Ledger> = ledger;
    let quota = QuotaLayer::from_config(config(toml))
        .store(Arc::clone(store))
        .ledger(Arc::clone(&ledger), directory)
        .build()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    (quota, ledger)
}

/// All records about a tenant, or about none, the latest first.
async fn all(ledger: &dyn Ledger, tenant: Option<&str>) -> Vec<Attempt> {
    let tenant = tenant.map(|tenant| TenantId::new(tenant).unwrap());
    let mut query = LogQuery::of(tenant, 500);
    let mut records = Vec::new();
    loop {
        let page = ledger.log(&query).await.unwrap();
        records.extend(page.rows);
        query.after = page.next;
        if query.after.is_none() {
            return records;
        }
    }
}

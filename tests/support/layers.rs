//! Layers over real stores, and what their counters say.

use std::{
    io::Write as _,
    sync::{Arc, LazyLock},
    time::Duration,
};

use jiff::tz::TimeZone;
use quota_layer::{Config, QuotaLayer};
use quota_store::{
    Anchor, Clock, CounterKey, CounterValue, DynCounterStore, MemoryCounterStore, MemoryOptions,
    QuotaName, RedisCounterStore, RedisOptions, Requester, Scope, SystemClock, TenantId, UserId,
    Window, ledger::Ledger,
};
use tempfile::NamedTempFile;

use crate::{
    doubles::{Watch, WatchedStore},
    servers::shared_redis,
    tokens::TEST_SECRET,
    unique_prefix,
};

/// The stores that every promise is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// In this process.
    Memory,
    /// In a Redis server that the tests of this process share, under a prefix of its own.
    Redis,
}

/// A file that holds [`TEST_SECRET`], as long as the process lives.
static SECRET: LazyLock<NamedTempFile> = LazyLock::new(|| {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(TEST_SECRET.as_bytes())
        .expect("it takes the secret");
    file
});

/// The section that lets tokens of [`crate::tokens`] in.
#[must_use]
pub fn identity() -> String {
    format!(
        "[identity.jwt]\nsecret = \"file:{}\"\n",
        SECRET.path().display()
    )
}

/// A configuration, with [`identity`] in it unless it says itself how users are known, and without
/// a ledger unless it names one.
#[must_use]
pub fn config(toml: &str) -> Config {
    let says_itself = ["[identity.jwt]", "from = \"application\""];
    let mut text = toml.to_owned();
    if !says_itself.iter().any(|words| toml.contains(words)) {
        text = format!("{text}\n{}", identity());
    }
    if !toml.contains("[ledger]") {
        text.push_str("\n[ledger]\nurl = \"none\"\n");
    }
    Config::from_toml(&text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A layer, the store behind it, and what its counters say.
#[derive(Clone)]
pub struct Layered {
    /// The layer.
    pub quota: QuotaLayer,
    /// The store that it counts in.
    pub store: Arc<dyn DynCounterStore>,
}

impl std::fmt::Debug for Layered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layered").finish_non_exhaustive()
    }
}

/// A layer with this configuration over this kind of store.
///
/// Give exactness tests a `[store]` with `timeout = "5s"`.
pub async fn layered(store: Store, toml: &str) -> Layered {
    layered_at(store, toml, Arc::new(SystemClock)).await
}

/// The same with another clock, which a store in memory follows.
pub async fn layered_at(store: Store, toml: &str, clock: Arc<dyn Clock>) -> Layered {
    let store = store.open(&clock).await;
    layered_over(store, toml, clock).await
}

/// The same over a store that is watched.
pub async fn layered_watched(store: Store, toml: &str) -> (Layered, Watch) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = WatchedStore::new(store.open(&clock).await);
    let watch = store.watch();
    (layered_over(Arc::new(store), toml, clock).await, watch)
}

/// A layer with this configuration over this very store.
pub async fn layered_over(
    store: Arc<dyn DynCounterStore>,
    toml: &str,
    clock: Arc<dyn Clock>,
) -> Layered {
    let quota = QuotaLayer::from_config(config(toml))
        .store(Arc::clone(&store))
        .clock(clock)
        .build()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    Layered { quota, store }
}

impl Store {
    async fn open(self, clock: &Arc<dyn Clock>) -> Arc<dyn DynCounterStore> {
        match self {
            Self::Memory => {
                let options = MemoryOptions::default();
                let store = Arc::new(MemoryCounterStore::new(&options, Arc::clone(clock)));
                store.start_sweeper();
                store
            }
            Self::Redis => Arc::new(redis_store(&shared_redis().url()).await),
        }
    }
}

/// A store in the Redis at `url`, under a prefix of its own, with a patient time-out.
pub async fn redis_store(url: &str) -> RedisCounterStore {
    redis_store_over(url, None).await
}

/// The same, which brings what it charges to a ledger.
pub async fn redis_store_over(url: &str, ledger: Option<Arc<dyn Ledger>>) -> RedisCounterStore {
    let mut options = RedisOptions::new(url.parse().expect("an address"));
    options.prefix = unique_prefix();
    options.timeout = Duration::from_secs(5);
    options.ledger = ledger;
    RedisCounterStore::connect(options, Arc::new(SystemClock))
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A user, of a tenant or of none.
#[must_use]
pub fn requester(user: &str, tenant: Option<&str>) -> Requester {
    Requester {
        tenant: tenant.map(|tenant| TenantId::new(tenant).expect("a tenant's id")),
        user: UserId::new(user).expect("a user's id"),
    }
}

impl Layered {
    /// The user's counter of this quota in the present UTC window.
    pub async fn user(&self, user: &str, quota: &str, window: &str) -> CounterValue {
        let requester = requester(user, None);
        self.counter(&requester, Scope::User, quota, window).await
    }

    /// Names a counter in the present UTC window.
    #[must_use]
    pub fn key(&self, scope: Scope, quota: &str, window: &str) -> CounterKey {
        let window: Window = window.parse().expect("a window");
        CounterKey {
            scope,
            quota: QuotaName::new(quota).expect("a quota's name"),
            window,
            span: window.span_at(self.store.now(), &TimeZone::UTC, Anchor::Calendar),
        }
    }

    /// Any counter in the present UTC window.
    pub async fn counter(
        &self,
        requester: &Requester,
        scope: Scope,
        quota: &str,
        window: &str,
    ) -> CounterValue {
        let key = self.key(scope, quota, window);
        let values = self.store.read(requester, &[key]).await;
        values.unwrap_or_else(|error| panic!("{error}"))[0]
    }
}

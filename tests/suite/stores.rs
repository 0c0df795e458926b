//! Every store keeps the contract of stores.

use std::{
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

use quota_store::{
    ManualClock, MemoryCounterStore, MemoryOptions, RedisCounterStore, RedisOptions, SystemClock,
    UnixMillis, contract::StoreUnderTest,
};
use quota_tests::{shared_redis, unique_prefix};

struct Memory {
    store: Arc<MemoryCounterStore<ManualClock>>,
    clock: ManualClock,
}

impl Memory {
    fn start() -> Ready<Self> {
        let clock = ManualClock::new(UnixMillis::from_seconds(1_800_000_000));
        let store = MemoryCounterStore::new(&MemoryOptions::default(), clock.clone());
        ready(Self {
            store: Arc::new(store),
            clock,
        })
    }
}

impl StoreUnderTest for Memory {
    type Store = MemoryCounterStore<ManualClock>;

    fn store(&self) -> &Arc<Self::Store> {
        &self.store
    }

    async fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    async fn leftovers(&self) -> Vec<String> {
        // What it keeps can be seen from inside only, where its own tests look.
        Vec::new()
    }
}

struct Redis {
    store: Arc<RedisCounterStore>,
    prefix: String,
}

impl Redis {
    async fn start() -> Self {
        let prefix = unique_prefix();
        let mut options = RedisOptions::new(shared_redis().url().parse().expect("an address"));
        options.prefix.clone_from(&prefix);
        options.timeout = Duration::from_secs(5);
        let store = RedisCounterStore::connect(options, Arc::new(SystemClock)).await;
        Self {
            store: Arc::new(store.expect("a store")),
            prefix,
        }
    }
}

impl StoreUnderTest for Redis {
    type Store = RedisCounterStore;

    fn store(&self) -> &Arc<Self::Store> {
        &self.store
    }

    async fn pass(&self, duration: Duration) {
        // Redis goes by the machine's clock.
        tokio::time::sleep(duration).await;
    }

    async fn leftovers(&self) -> Vec<String> {
        let prefix = self.prefix.clone();
        tokio::task::spawn_blocking(move || shared_redis().litter(&prefix))
            .await
            .expect("the server answers")
    }
}

mod memory {
    quota_store::counter_store_contract!(super::Memory::start);
}

mod redis {
    quota_store::counter_store_contract!(super::Redis::start);
}

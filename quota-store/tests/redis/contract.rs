//! A store that brings what it charges to a ledger keeps the contract of stores too.

use std::{sync::Arc, time::Duration};

use quota_store::{RedisCounterStore, contract::StoreUnderTest};

use crate::{
    outbox::{drained, ledger, recording},
    server::Server,
};

struct Redis {
    server: Server,
    store: Arc<RedisCounterStore>,
}

impl Redis {
    async fn start() -> Self {
        let server = Server::start(&[]).await;
        let ledger = ledger(&server).await;
        let store = recording(&server, &ledger).await;
        Self { server, store }
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

    /// What waits for the ledger waits not for ever, and nothing was kept aside.
    async fn leftovers(&self) -> Vec<String> {
        drained(&self.server).await;
        self.server.run("KEYS quota:*:d").await
    }
}

quota_store::counter_store_contract!(Redis::start);

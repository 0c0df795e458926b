use std::future::{Ready, ready};

use crate::{ManualClock, contract::StoreUnderTest};

use super::*;

/// Some instant within a window of any length.
const START: UnixMillis = UnixMillis::from_seconds(1_800_000_123);

struct Memory {
    store: Arc<MemoryCounterStore<ManualClock>>,
    clock: ManualClock,
}

impl Memory {
    fn with(options: &MemoryOptions) -> Self {
        let clock = ManualClock::new(START);
        let store = Arc::new(MemoryCounterStore::new(options, clock.clone()));
        Self { store, clock }
    }

    fn start() -> Ready<Self> {
        ready(Self::with(&MemoryOptions::default()))
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
        let mut leftovers = Vec::new();
        for part in &self.store.shards {
            let shard = part.lock();
            let live = shard.live.len();
            if live > 0 {
                leftovers.push(format!("{live} reservations"));
            }
            if shard.record_room.used() != live + shard.markers.len() {
                leftovers.push("room that nothing takes".into());
            }
        }
        leftovers
    }
}

mod contract {
    crate::counter_store_contract!(super::Memory::start);
}

mod bounds;
mod places;
mod restoring;

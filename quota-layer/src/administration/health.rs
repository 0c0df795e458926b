//! How the whole does.

use std::time::Duration;

use quota_store::BreakerState;

use super::{Administration, Health, HealthStatus};
use crate::config::{StoreConfig, StoreUrl};

/// How long a loss is something that people should look at.
const RECENT: Duration = Duration::from_hours(1);

impl Administration {
    /// How the whole does.
    pub async fn health(&self) -> Health {
        let shared = &self.shared;
        let store = shared.store.check().await;
        let store = store.map_err(|error| error.to_string());
        let ledger = match shared.ledger() {
            Some(ledger) => Some(ledger.health().await.map_err(|error| error.to_string())),
            None => None,
        };
        let breaker = shared.store.breaker_state();
        let waiting = shared.backlog();
        let reload_error = shared.reload_error();
        let runtime = shared.runtime.load();
        let last_loss = shared.store.last_loss();
        let has_lost =
            last_loss.is_some_and(|loss| shared.store.now() < loss.at.saturating_add(RECENT));
        let is_refusing = shared
            .records
            .as_ref()
            .is_some_and(|records| records.refuse(&shared.store));
        let is_whole = matches!(ledger, None | Some(Ok(_)))
            && breaker == BreakerState::Closed
            && reload_error.is_none()
            && !has_lost;
        Health {
            status: match (&store, is_whole) {
                (Err(_), _) => HealthStatus::Down,
                (Ok(()), _) if is_refusing => HealthStatus::Down,
                (Ok(()), false) => HealthStatus::Degraded,
                (Ok(()), true) => HealthStatus::Ok,
            },
            store,
            breaker: breaker.as_str(),
            last_loss,
            ledger,
            backlog: waiting.records,
            lag: waiting.oldest,
            is_refusing,
            eviction: eviction(&runtime.config.store),
            revision: runtime.config.revision().to_owned(),
            reload_error,
            unmatched_rules: runtime.unmatched_rules(),
            unruled_routes: runtime.unruled_routes(),
        }
    }
}

/// What the configuration says of a store that could evict counters.
const fn eviction(config: &StoreConfig) -> Option<&'static str> {
    match (&config.url, config.accept_eviction) {
        (StoreUrl::Memory, _) => None,
        (StoreUrl::Redis { .. }, true) => Some("accepted"),
        (StoreUrl::Redis { .. }, false) => Some("refused"),
    }
}

//! How the whole does.

use quota_layer::administration::{Health, HealthStatus};
use quota_store::Loss;
use serde::Serialize;
use utoipa::ToSchema;

use crate::input::rfc3339;

/// How the whole does.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthView {
    /// `ok`, `degraded` or `down`.
    #[schema(example = "ok")]
    status: &'static str,
    /// The counter store.
    store: StoreView,
    /// The ledger; null where there is none.
    ledger: Option<LedgerView>,
    /// The configuration.
    configuration: ConfigurationView,
}

/// How the counter store does.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoreHealth)]
pub(crate) struct StoreView {
    /// `ok` or `down`.
    status: &'static str,
    /// Why it can't serve.
    error: Option<String>,
    /// `closed`, `half_open` or `open`.
    breaker: &'static str,
    /// The last time that this process found data of the store lost; null for never. For an hour the
    /// whole is `degraded`.
    last_loss: Option<LossView>,
    /// Of a store that could evict counters: `refused` where it would not have been taken into
    /// use then, `accepted` where the configuration accepts it; null where nothing is evicted.
    #[schema(example = "refused")]
    eviction: Option<&'static str>,
}

/// What was lost, and brought back from the ledger.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Loss)]
pub(crate) struct LossView {
    /// When it was noticed.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// How many of the 256 partitions were lost.
    partitions: usize,
    /// How many charges at most this process knows of that may be in no ledger, and were forgotten.
    records_at_most: u64,
}

impl From<Loss> for LossView {
    fn from(loss: Loss) -> Self {
        Self {
            at: rfc3339(loss.at),
            partitions: loss.partitions,
            records_at_most: loss.records_at_most,
        }
    }
}

/// How the ledger does.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerHealth)]
pub(crate) struct LedgerView {
    /// `ok` or `down`.
    status: &'static str,
    /// Why it can't serve.
    error: Option<String>,
    /// About how many attempts it has.
    attempts: Option<u64>,
    /// How much room it takes, in bytes.
    bytes: Option<u64>,
    /// The migration that its tables are at.
    migration: Option<i64>,
    /// Records that it does not have yet.
    backlog: u64,
    /// How long the oldest of them has been waiting, in milliseconds.
    lag_ms: Option<u64>,
    /// Whether requests are refused because too many records wait.
    refuses: bool,
}

/// Which configuration is in force.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConfigurationHealth)]
pub(crate) struct ConfigurationView {
    /// Its revision.
    revision: String,
    /// Why the last reload failed.
    reload_error: Option<String>,
    /// Rules that no request has matched.
    unmatched_rules: Vec<String>,
    /// Routes that no rule names.
    unruled_routes: Vec<String>,
}

impl From<Health> for HealthView {
    fn from(health: Health) -> Self {
        let backlog = u64::try_from(health.backlog).unwrap_or(u64::MAX);
        let lag = health.lag;
        let lag_ms = lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
        Self {
            status: word(health.status),
            store: StoreView {
                status: if health.store.is_ok() { "ok" } else { "down" },
                error: health.store.err(),
                breaker: health.breaker,
                last_loss: health.last_loss.map(LossView::from),
                eviction: health.eviction,
            },
            ledger: health.ledger.map(|ledger| {
                let found = ledger.as_ref().ok();
                LedgerView {
                    status: if ledger.is_ok() { "ok" } else { "down" },
                    attempts: found.map(|found| found.attempts),
                    bytes: found.map(|found| found.bytes),
                    migration: found.map(|found| found.migration),
                    error: ledger.err(),
                    backlog,
                    lag_ms,
                    refuses: health.is_refusing,
                }
            }),
            configuration: ConfigurationView {
                revision: health.revision,
                reload_error: health.reload_error,
                unmatched_rules: health.unmatched_rules,
                unruled_routes: health.unruled_routes,
            },
        }
    }
}

const fn word(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::Ok => "ok",
        HealthStatus::Degraded => "degraded",
        HealthStatus::Down => "down",
    }
}

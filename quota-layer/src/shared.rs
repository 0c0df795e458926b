//! What all clones of a layer share.

use std::sync::Arc;

use quota_store::{Commit, GuardedStore, StoreError};

use crate::{
    config::{Config, Settle},
    identify::Identifier,
    metrics::LayerMetrics,
    plans::PlanDirectory,
    record::{self, Committed, Records},
    runtime::{CurrentRuntime, Runtime},
    settler::Settler,
};

/// Made once by the builder; the layer, its services and its futures hold it by one pointer.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) runtime: CurrentRuntime,
    pub(crate) store: Arc<GuardedStore>,
    pub(crate) settler: Settler,
    pub(crate) directory: Option<Arc<dyn PlanDirectory>>,
    /// `None` without a ledger.
    pub(crate) records: Option<Arc<Records>>,
    pub(crate) metrics: Arc<LayerMetrics>,
}

impl Shared {
    /// Charges a reservation, and sees to it that the ledger says so.
    pub(crate) async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        record::commit(&self.store, self.records.as_deref(), commit).await
    }

    /// Whether nothing is waited for when a request is settled under a rule: neither the store nor
    /// the ledger.
    pub(crate) fn settles_at_once(&self, settle: Settle) -> bool {
        let waits_for_ledger = self.records.is_some() && settle == Settle::BeforeResponse;
        self.store.never_waits() && !waits_for_ledger
    }

    /// Puts another configuration in force; requests in flight keep the one they began with.
    pub(crate) fn replace_runtime(&self, config: Config, identifier: Arc<Identifier>) {
        let runtime = Arc::new(Runtime::new(config, identifier));
        let before = self.runtime.swap(Arc::clone(&runtime));
        if before.config.revision() != runtime.config.revision() {
            crate::metrics::config_gone(before.config.revision());
        }
    }
}

//! What all clones of a layer share.

use std::sync::Arc;

use quota_store::GuardedStore;

use crate::{
    config::Config,
    identify::Identifier,
    metrics::LayerMetrics,
    plans::PlanDirectory,
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
    pub(crate) metrics: Arc<LayerMetrics>,
}

impl Shared {
    /// Puts another configuration in force; requests in flight keep the one they began with.
    pub(crate) fn replace_runtime(&self, config: Config, identifier: Arc<Identifier>) {
        let runtime = Arc::new(Runtime::new(config, identifier));
        let before = self.runtime.swap(Arc::clone(&runtime));
        if before.config.revision() != runtime.config.revision() {
            crate::metrics::config_gone(before.config.revision());
        }
    }
}

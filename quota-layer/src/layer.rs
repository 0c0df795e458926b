//! The layer that an application wraps its router in.

use std::{path::Path, sync::Arc};

use tower_layer::Layer;

use crate::{
    administration::Administration,
    build::{Builder, StartError},
    config::Config,
    reload::{ReloadError, Reloader},
    service::QuotaService,
    shared::Shared,
};

/// Reserves quota before a request runs, and commits it when the answer is a success.
///
/// Clones are cheap and share everything: counters, settings, the settling of reservations. One
/// layer may wrap many routers; on one request it charges once, however often the request meets
/// it.
///
/// See the [crate documentation](crate) for examples and for its place among other layers.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is wrapped in it"]
pub struct QuotaLayer {
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
}

impl QuotaLayer {
    /// Reads the configuration, opens its ledger, connects to its store and starts to watch the
    /// file.
    ///
    /// A store that can't be reached is no error: the layer says so and follows `on_failure` until
    /// it can. Must be called on a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`] where the configuration is wrong, where the ledger can't be opened, or where
    /// the store can be reached and must not be used, such as a Redis that may evict counters.
    pub async fn from_file(path: impl AsRef<Path>) -> Result<Self, StartError> {
        let path = path.as_ref();
        let config = Config::from_file(path)?;
        Self::from_config(config).watching(path).build().await
    }

    /// Starts from a configuration, and lets the application choose more.
    pub fn from_config(config: Config) -> Builder {
        Builder::new(config)
    }

    pub(crate) fn from_parts(shared: Arc<Shared>, reloader: Reloader) -> Self {
        Self {
            shared,
            reloader: Arc::new(reloader),
        }
    }

    /// Reads the file again and puts it in force.
    ///
    /// Requests in flight keep what they began with, and nobody is refilled. `[store]` and
    /// `[ledger]` need a restart: a change of them is said in the log, and everything else takes effect.
    ///
    /// # Errors
    ///
    /// [`ReloadError`] where the file is wrong or there is none; what is in force then stays.
    ///
    /// # Cancel safety
    ///
    /// Dropped, either all of the new configuration is in force or nothing of it.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        self.reloader.reload(&self.shared)?;
        let runtime = self.shared.runtime.load_full();
        self.shared.register_windows(&runtime).await;
        Ok(())
    }

    /// Waits until everything that is being settled is settled, and then until the ledger has it
    /// all; ten seconds at most for each.
    ///
    /// Call it after the server has ended: what is still reserved then is given back.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the settling goes on as long as the runtime does.
    pub async fn shutdown(&self) {
        self.shared.settler.drain().await;
        if let Some(records) = &self.shared.records {
            records.drain().await;
        }
    }

    /// The revision of the configuration in force.
    #[must_use]
    pub fn config_revision(&self) -> String {
        self.shared.runtime.load().config.revision().to_owned()
    }

    /// What administrators, and users for themselves, can see and do.
    #[must_use]
    pub fn administration(&self) -> Administration {
        Administration::new(Arc::clone(&self.shared))
    }

    /// The time on the clock of the counter store, which windows and the ledger's records follow.
    #[must_use]
    pub fn now(&self) -> quota_store::UnixMillis {
        self.shared.store.now()
    }

    /// Asks whether the counter store can serve.
    ///
    /// # Errors
    ///
    /// [`quota_store::StoreError`] where it can't.
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed by it.
    pub async fn check_store(&self) -> Result<(), quota_store::StoreError> {
        self.shared.store.check().await
    }
}

impl<S> Layer<S> for QuotaLayer {
    type Service = QuotaService<S>;

    // Share, never build: axum calls this for every route, and without state for every request.
    fn layer(&self, inner: S) -> Self::Service {
        QuotaService::new(inner, Arc::clone(&self.shared))
    }
}

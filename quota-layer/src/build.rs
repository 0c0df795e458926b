//! Building a layer.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use quota_store::{
    Clock, DynCounterStore, GuardOptions, GuardedStore, MemoryCounterStore, MemoryOptions,
    Reservation, SystemClock,
    directory::Directory,
    ledger::{Gauges, Ledger},
};

#[cfg(feature = "jwt")]
use crate::identity::JwtIdentity;
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, UnboundedSender},
};

use crate::{
    config::{Config, ConfigErrors, IdentityConfig, IdentityFrom, StoreConfig, StoreUrl},
    identify::Identifier,
    identity::JwtSettings,
    layer::QuotaLayer,
    metrics::LayerMetrics,
    plans::{self, Assignments, CachedDirectory, PlanDirectory, PlansKeeper},
    record::{self, Books, Claimed, Records},
    reload::Reloader,
    runtime::{CurrentRuntime, Runtime},
    seeding::Seeder,
    settler::Settler,
    shared::Shared,
};

/// Builds a [`QuotaLayer`] from a configuration.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is awaited"]
pub struct Builder {
    config: Config,
    store: Option<OwnStore>,
    directory: Option<Arc<dyn PlanDirectory>>,
    books: Option<OwnBooks>,
    clock: Arc<dyn Clock>,
    watched: Option<PathBuf>,
}

/// A store that the application brings.
struct OwnStore(Arc<dyn DynCounterStore>);

/// A ledger that the application brings, with the directory beside it.
struct OwnBooks(Books);

impl fmt::Debug for OwnBooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnBooks")
    }
}

impl fmt::Debug for OwnStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnStore")
    }
}

/// The layer can't start.
///
/// `Debug` shows the same as `Display`, since that is what a `main` that returns it prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// `[identity]` contradicts itself, or its key can't be used.
    #[error("[identity.jwt]: {0}")]
    Identity(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store can be reached and must not be used.
    #[error("[store]: {0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The ledger can't be opened, or is another process's.
    #[error("[ledger]: {0}")]
    Ledger(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The configuration asks for something that this build leaves out.
    #[error("{setting} needs the feature `{feature}` of quota-layer, which this build leaves out")]
    MissingFeature {
        /// The setting.
        setting: &'static str,
        /// The feature.
        feature: &'static str,
    },
    /// The file can't be watched.
    #[error("{path} can't be watched for changes: {source}")]
    Watch {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Builder {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            store: None,
            directory: None,
            books: None,
            clock: Arc::new(SystemClock),
            watched: None,
        }
    }

    /// Counts in this store instead of the one that `[store] url` names.
    pub fn store(mut self, store: Arc<dyn DynCounterStore>) -> Self {
        self.store = Some(OwnStore(store));
        self
    }

    /// Asks this directory for plans that users and tenants were assigned, instead of the database.
    ///
    /// Then no subject has limits, time zones or billing days of its own.
    pub fn plans(mut self, directory: Arc<dyn PlanDirectory>) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Records in this ledger instead of the one that `[ledger] url` names, and finds plans and
    /// limits that administrators gave in the directory of the same database.
    ///
    /// Counters in memory come back from it; the application sees to it that no other process
    /// does the same at the same time.
    pub fn ledger(mut self, ledger: Arc<dyn Ledger>, directory: Arc<dyn Directory>) -> Self {
        self.books = Some(OwnBooks(Books { ledger, directory }));
        self
    }

    /// Takes the time from this clock: of tokens, and of counters in memory.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Reads the configuration again from this file when it changes, and on
    /// [`QuotaLayer::reload`].
    pub fn watching(mut self, path: impl AsRef<Path>) -> Self {
        self.watched = Some(path.as_ref().to_owned());
        self
    }

    /// Connects to the store and starts the background tasks on the present tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError`] where the settings can't be used.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing is left running.
    pub async fn build(self) -> Result<QuotaLayer, StartError> {
        for warning in self.config.warnings() {
            tracing::warn!(target: "quota::config", "{warning}");
        }
        let identifier = Arc::new(Identifier::new(&self.config.identity, &self.clock)?);
        identifier.fetch_keys_early(&Handle::current());
        let own = (self.store, self.books);
        let Foundations { store, records } = lay(own, &self.config, &self.clock).await?;
        let config = &self.config.store;
        let metrics = Arc::new(LayerMetrics::default());
        let settler = Settler::start(
            Arc::clone(&store),
            records.clone(),
            config.reservation_ttl,
            config.max_reservation,
            Arc::clone(&metrics),
        );
        tracing::info!(
            target: "quota::config",
            revision = self.config.revision(),
            "quotas are in force"
        );
        let stored = records
            .as_ref()
            .map(|records| Arc::clone(&records.books.directory));
        let shared = Arc::new(Shared {
            runtime: CurrentRuntime::from_pointee(Runtime::new(self.config, identifier, None)),
            store,
            settler,
            assignments: assignments(self.directory, stored.as_ref()),
            seeder: stored.clone().map(Seeder::new),
            plans: stored.map(PlansKeeper::new),
            records,
            metrics,
            turn: Mutex::default(),
            reload_error: Mutex::default(),
        });
        start_tasks(&shared, &self.clock).await;
        let reloader = Reloader::start(&shared, self.watched, self.clock)?;
        Ok(QuotaLayer::from_parts(shared, reloader))
    }
}

fn assignments(
    own: Option<Arc<dyn PlanDirectory>>,
    stored: Option<&Arc<dyn Directory>>,
) -> Assignments {
    match (own, stored) {
        (Some(own), _) => Assignments::Own(own),
        (None, Some(stored)) => Assignments::Stored(CachedDirectory::new(Arc::clone(stored))),
        (None, None) => Assignments::Nowhere,
    }
}

/// Starts what goes on in the background as long as the layer lives.
async fn start_tasks(shared: &Arc<Shared>, clock: &Arc<dyn Clock>) {
    if let Some(records) = &shared.records {
        records.start_retention(Arc::clone(clock));
        let rolling = record::roll_up_for_ever(Arc::downgrade(shared), Arc::clone(clock));
        tokio::spawn(rolling);
    }
    if shared.plans.is_some() {
        // Where the database does not answer, this is tried again while the layer runs.
        shared.refresh_plans().await;
        shared.register_windows(&shared.runtime.load_full()).await;
        tokio::spawn(plans::watch(Arc::downgrade(shared)));
    }
}

/// What everything stands on.
struct Foundations {
    store: Arc<GuardedStore>,
    records: Option<Arc<Records>>,
}

/// Opens the ledger, then the store, which needs it: whatever the application does not bring.
async fn lay(
    (own_store, own_books): (Option<OwnStore>, Option<OwnBooks>),
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Foundations, StartError> {
    let claimed = match (&own_store, &config.store.url) {
        (None, StoreUrl::Memory) => Claimed::Exclusively,
        _ => Claimed::Shared,
    };
    let books = match own_books {
        Some(OwnBooks(books)) => Some(books),
        None => record::open(&config.ledger, claimed).await?,
    };
    let (expired, hears_of_expired) = mpsc::unbounded_channel();
    let store = match (own_store, &config.store.url) {
        (Some(OwnStore(store)), _) => store,
        (None, StoreUrl::Memory) => {
            let expired = books.as_ref().map(|_| expired);
            memory(&config.store, books.as_ref(), expired, clock).await?
        }
        (None, StoreUrl::Redis { address }) => {
            redis(&config.store, address, books.as_ref(), clock).await?
        }
    };
    let options = GuardOptions {
        timeout: config.store.timeout,
        allow_max: config.store.allow_max,
        local_share: config.store.local_share,
    };
    let records = books.map(|books| {
        let gauges = if store.writes_ledger() {
            Gauges::Store
        } else {
            Gauges::Recorder
        };
        let records = Records::start(books, config.ledger.clone(), config.store.timeout, gauges);
        let records = Arc::new(records);
        records.hear_of_expired(hears_of_expired);
        records
    });
    Ok(Foundations {
        store: Arc::new(GuardedStore::new(store, options)),
        records,
    })
}

impl Identifier {
    /// Makes what finds out who makes a request.
    pub(crate) fn new(config: &IdentityConfig, clock: &Arc<dyn Clock>) -> Result<Self, StartError> {
        match &config.from {
            IdentityFrom::Application => Ok(Self::Application),
            IdentityFrom::Jwt(jwt) => token_identifier(config, jwt, clock),
        }
    }
}

#[cfg(feature = "jwt")]
fn token_identifier(
    config: &IdentityConfig,
    jwt: &JwtSettings,
    clock: &Arc<dyn Clock>,
) -> Result<Identifier, StartError> {
    let settings = JwtSettings {
        max_id_bytes: config.max_id_bytes,
        ..jwt.clone()
    };
    JwtIdentity::new(settings, Arc::clone(clock))
        .map(|jwt| Identifier::Token(Arc::new(jwt)))
        .map_err(|error| StartError::Identity(error.into()))
}

#[cfg(not(feature = "jwt"))]
fn token_identifier(
    _: &IdentityConfig,
    _: &JwtSettings,
    _: &Arc<dyn Clock>,
) -> Result<Identifier, StartError> {
    Err(StartError::MissingFeature {
        setting: "[identity] from = \"jwt\"",
        feature: "jwt",
    })
}

async fn memory(
    config: &StoreConfig,
    books: Option<&Books>,
    expired: Option<UnboundedSender<Reservation>>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn DynCounterStore>, StartError> {
    let mut options = MemoryOptions::default()
        .with_max_subjects(config.memory_subjects)
        .with_max_reservation(config.max_reservation);
    options.expired = expired;
    let store = Arc::new(MemoryCounterStore::new(&options, Arc::clone(clock)));
    if let Some(books) = books {
        let restored = record::restore(&store, &*books.ledger, clock).await;
        let counters = restored.map_err(|error| StartError::Ledger(Box::new(error)))?;
        tracing::info!(target: "quota::ledger", counters, "counters came back from the ledger");
    }
    store.start_sweeper();
    Ok(store)
}

#[cfg(feature = "redis")]
async fn redis(
    config: &StoreConfig,
    address: &str,
    books: Option<&Books>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn DynCounterStore>, StartError> {
    use quota_store::{Eviction, RedisCounterStore, RedisOptions};

    let refused = |error| StartError::Store(Box::new(error));
    let mut options = RedisOptions::new(address.parse().map_err(refused)?);
    options.username.clone_from(&config.username);
    options.password.clone_from(&config.password);
    options.ca_pem = config.ca_pem.clone().map(String::into_bytes);
    options.prefix.clone_from(&config.prefix);
    options.timeout = config.timeout;
    options.max_reservation = config.max_reservation;
    options.ledger = books.map(|books| Arc::clone(&books.ledger));
    if config.accept_eviction {
        options.eviction = Eviction::Accept;
    }
    let store = RedisCounterStore::connect(options, Arc::clone(clock)).await;
    Ok(Arc::new(store.map_err(refused)?))
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "only connecting waits")]
async fn redis(
    _: &StoreConfig,
    _: &str,
    _: Option<&Books>,
    _: &Arc<dyn Clock>,
) -> Result<Arc<dyn DynCounterStore>, StartError> {
    Err(StartError::MissingFeature {
        setting: "[store] url = \"redis://...\"",
        feature: "redis",
    })
}

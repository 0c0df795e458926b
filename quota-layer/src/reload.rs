//! Reading the configuration again while the process runs.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError},
};

use quota_store::Clock;
use tokio::runtime::Handle;

use crate::{
    build::StartError,
    config::{Config, ConfigErrors, ConfigWatcher},
    identify::Identifier,
    metrics,
    runtime::Runtime,
    shared::Shared,
};

/// The configuration was not replaced; the old one stays in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The layer was not made from a file.
    #[error(
        "the layer was made with `from_config`, so there is no file to read again; make it with \
         `from_file`, or name the file with `watching`"
    )]
    NoFile,
    /// The new settings can't be used.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Reads the file again when it changes, and when it is asked to.
#[derive(Debug)]
pub(crate) struct Reloader {
    source: Option<Arc<Source>>,
    /// Watches for as long as the layer lives.
    _watcher: Option<ConfigWatcher>,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    /// The watcher calls from a thread of its own.
    runtime: Handle,
}

impl Reloader {
    /// Starts to watch the file, where there is one.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        path: Option<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let Some(path) = path else {
            return Ok(Self {
                source: None,
                _watcher: None,
            });
        };
        let source = Arc::new(Source {
            path,
            clock,
            runtime: Handle::current(),
        });
        let watcher = watch(shared, &source)?;
        Ok(Self {
            source: Some(source),
            _watcher: Some(watcher),
        })
    }

    pub(crate) fn reload(&self, shared: &Shared) -> Result<(), ReloadError> {
        let source = self.source.as_ref().ok_or(ReloadError::NoFile)?;
        source.reload(shared)
    }
}

fn watch(shared: &Arc<Shared>, source: &Arc<Source>) -> Result<ConfigWatcher, StartError> {
    // The watcher must not keep the layer alive.
    let shared = Arc::downgrade(shared);
    let watching = Arc::clone(source);
    let on_change = move || {
        if let Some(shared) = shared.upgrade() {
            // What went wrong is in the log and a metric already.
            watching.reload(&shared).ok();
        }
    };
    ConfigWatcher::start(&source.path, on_change).map_err(|error| StartError::Watch {
        path: source.path.clone(),
        source: error.into(),
    })
}

impl Source {
    fn reload(&self, shared: &Shared) -> Result<(), ReloadError> {
        let turn = shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = self.try_reload(shared);
        drop(turn);
        let failure = reloaded.as_ref().err().map(ToString::to_string);
        *shared
            .reload_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = failure;
        if let Err(error) = &reloaded {
            metrics::reload_failed();
            tracing::error!(
                target: "quota::config",
                "the configuration was not reloaded, what was in force stays:\n{error}"
            );
        }
        reloaded
    }

    fn try_reload(&self, shared: &Shared) -> Result<(), ReloadError> {
        let mut config = Config::from_file(&self.path)?;
        let running = shared.runtime.load();
        let before = &running.file;
        let fixed = [
            ("[store]", config.store != before.store),
            ("[ledger]", config.ledger != before.ledger),
            ("[admin]", config.admin != before.admin),
        ];
        for (section, _) in fixed.iter().filter(|(_, changed)| *changed) {
            tracing::warn!(
                target: "quota::config",
                "{section} changed: restart the process for that; everything else takes effect now"
            );
        }
        if fixed.iter().any(|(_, changed)| *changed) {
            config = config.with_fixed_sections_of(before);
        }
        if config.revision() == before.revision() {
            tracing::debug!(target: "quota::config", "the configuration is the same as before");
            return Ok(());
        }
        for warning in config.warnings() {
            tracing::warn!(target: "quota::config", "{warning}");
        }
        let identifier = self.identifier(&config, &running)?;
        shared.replace_file(config, identifier);
        let in_force = shared.runtime.load();
        let revision = in_force.config.revision();
        tracing::info!(target: "quota::config", revision, "the configuration was reloaded");
        Ok(())
    }

    /// The one in force where its settings stay, with the keys and tokens that it knows.
    fn identifier(&self, config: &Config, before: &Runtime) -> Result<Arc<Identifier>, StartError> {
        let (new, old) = (&config.identity, &before.file.identity);
        if new.from == old.from && new.max_id_bytes == old.max_id_bytes {
            return Ok(Arc::clone(&before.identifier));
        }
        let identifier = Arc::new(Identifier::new(new, &self.clock)?);
        identifier.fetch_keys_early(&self.runtime);
        Ok(identifier)
    }
}

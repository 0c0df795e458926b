//! Opening the ledger that the configuration names.

use std::sync::Arc;

use quota_store::{directory::Directory, ledger::Ledger};

use crate::{
    build::StartError,
    config::{LedgerConfig, LedgerUrl},
};

/// The ledger and the directory, which lie in one database.
#[derive(Clone)]
pub(crate) struct Books {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) directory: Arc<dyn Directory>,
}

impl Books {
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    fn of<B: Ledger + Directory>(both: Arc<B>) -> Self {
        Self {
            ledger: Arc::<B>::clone(&both),
            directory: both,
        }
    }
}

/// How often a file that another process uses is tried again, and how long after: a process that
/// ends takes a moment, and the next one may be started already.
#[cfg(feature = "sqlite")]
const CLAIMS: u32 = 20;
#[cfg(feature = "sqlite")]
const CLAIM_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// Whether other processes may use the file of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// They may: their counters are in one store.
    Shared,
    /// None may: counters are in this process, and come back from the ledger.
    Exclusively,
}

/// Opens the ledger; `None` where the configuration wants none.
pub(crate) async fn open(
    config: &LedgerConfig,
    claimed: Claimed,
) -> Result<Option<Books>, StartError> {
    match &config.url {
        LedgerUrl::None => Ok(None),
        LedgerUrl::Sqlite(file) => sqlite(config, file.path(), claimed).await.map(Some),
        LedgerUrl::Postgres(url) => postgres(url, claimed).await.map(Some),
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn refused(error: quota_store::ledger::LedgerStartError) -> StartError {
    StartError::Ledger(Box::new(error))
}

#[cfg(feature = "sqlite")]
async fn sqlite(
    config: &LedgerConfig,
    path: std::path::PathBuf,
    claimed: Claimed,
) -> Result<Books, StartError> {
    use quota_store::ledger::{Claim, Durability, SqliteOptions};

    use crate::config::LedgerDurability;

    let options = SqliteOptions {
        path,
        durability: match config.durability {
            LedgerDurability::Process => Durability::Process,
            LedgerDurability::Power => Durability::Power,
        },
        claim: match claimed {
            Claimed::Shared => Claim::Shared,
            Claimed::Exclusively => Claim::Exclusive,
        },
    };
    let ledger = open_when_free(options).await.map_err(refused)?;
    Ok(Books::of(Arc::new(ledger)))
}

/// Opens the file, and waits a moment for the process before this one to let it go.
#[cfg(feature = "sqlite")]
async fn open_when_free(
    options: quota_store::ledger::SqliteOptions,
) -> Result<quota_store::ledger::SqliteLedger, quota_store::ledger::LedgerStartError> {
    use quota_store::ledger::{LedgerStartError, SqliteLedger};

    for attempt in 0..CLAIMS {
        match SqliteLedger::open(options.clone()).await {
            Err(LedgerStartError::Claimed { path }) => {
                if attempt == 0 {
                    tracing::info!(
                        target: "quota::ledger",
                        path = %path.display(),
                        "another process uses the ledger; this one waits a moment for it to end"
                    );
                }
                tokio::time::sleep(CLAIM_PAUSE).await;
            }
            opened => return opened,
        }
    }
    SqliteLedger::open(options).await
}

#[cfg(not(feature = "sqlite"))]
#[expect(clippy::unused_async, reason = "only opening waits")]
async fn sqlite(_: &LedgerConfig, _: std::path::PathBuf, _: Claimed) -> Result<Books, StartError> {
    Err(StartError::MissingFeature {
        setting: "[ledger] url = \"sqlite:...\"",
        feature: "sqlite",
    })
}

#[cfg(feature = "postgres")]
async fn postgres(url: &crate::config::PostgresUrl, claimed: Claimed) -> Result<Books, StartError> {
    use quota_store::ledger::{PostgresLedger, PostgresOptions};
    use secrecy::ExposeSecret;

    if claimed == Claimed::Exclusively {
        tracing::warn!(
            target: "quota::ledger",
            "counters are in this process and the ledger is in Postgres: a second process on it \
             would double every limit, and nothing keeps it from starting"
        );
    }
    let options = PostgresOptions::new(url.0.expose_secret()).map_err(refused)?;
    let ledger = PostgresLedger::connect(options).await.map_err(refused)?;
    Ok(Books::of(Arc::new(ledger)))
}

#[cfg(not(feature = "postgres"))]
#[expect(clippy::unused_async, reason = "only connecting waits")]
async fn postgres(_: &crate::config::PostgresUrl, _: Claimed) -> Result<Books, StartError> {
    Err(StartError::MissingFeature {
        setting: "[ledger] url = \"postgres://...\"",
        feature: "postgres",
    })
}

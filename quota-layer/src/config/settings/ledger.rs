//! What `[ledger]` says.

use std::{fmt, path::PathBuf, time::Duration};

use secrecy::{ExposeSecret, SecretString};

/// Where the ledger is, and what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LedgerConfig {
    pub(crate) url: LedgerUrl,
    pub(crate) durability: LedgerDurability,
    pub(crate) record: Record,
    pub(crate) denials: DenialRecords,
    pub(crate) retention: Duration,
    /// How many records may wait for the ledger.
    pub(crate) backlog: usize,
    pub(crate) on_backlog_full: OnBacklogFull,
    pub(crate) client_ip: bool,
    pub(crate) user_agent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LedgerUrl {
    /// Counters that are lost can be neither noticed nor rebuilt.
    None,
    Sqlite(LedgerFile),
    Postgres(PostgresUrl),
}

/// A file, by its path as it is written and where that begins.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LedgerFile {
    pub(crate) written: String,
    pub(crate) folder: PathBuf,
}

/// A `postgres://` URL, which may hold a password.
#[derive(Clone, Debug)]
pub(crate) struct PostgresUrl(pub(crate) SecretString);

/// What a record survives that was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LedgerDurability {
    /// The end of the process, however it ends.
    #[default]
    Process,
    /// A power failure too.
    Power,
}

/// How finely attempts are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Record {
    #[default]
    Each,
    /// Rolled up.
    Minute,
}

/// Which denials are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DenialRecords {
    #[default]
    Sampled,
    Each,
    Off,
}

/// What becomes of requests while too many records wait for the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnBacklogFull {
    /// They are refused.
    #[default]
    Deny,
    /// They pass, and what they are charged is not in the ledger.
    Drop,
}

impl LedgerFile {
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(&self.written)
    }
}

impl fmt::Debug for LedgerFile {
    // Without the folder, so that the same file has one revision wherever it lies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

impl PartialEq for PostgresUrl {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for PostgresUrl {}

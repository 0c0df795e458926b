//! The ledger in a SQLite file of this machine.

use std::{fmt, path::PathBuf, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use rusqlite::Connection;

use self::{readers::Readers, session::SqliteSession, writer::Writer};
use super::{
    LedgerError, LedgerErrorKind, LedgerStartError,
    sql::{Database, Operation},
};

mod failure;
mod open;
mod readers;
mod session;
mod writer;

#[cfg(test)]
mod tests;

/// How a ledger in a file is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file. It is made where there is none, for its owner only.
    pub path: PathBuf,
    /// What a batch survives that was acknowledged.
    pub durability: Durability,
    /// Whether other processes may use the file.
    pub claim: Claim,
}

/// What an acknowledged batch survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, however it ends.
    #[default]
    Process,
    /// A power failure too: each transaction waits for the disk.
    Power,
}

/// Whether other processes may use the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// They may; this one writes when they don't.
    Shared,
    /// No other one may open it with this claim: counters in memory are rebuilt from the ledger, and
    /// two processes would double every limit. It ends with the process, however that ends.
    Exclusive,
}

impl SqliteOptions {
    /// A file, with what is usual for counters in a shared store.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::default(),
            claim: Claim::Shared,
        }
    }
}

/// A ledger in a SQLite file, for one machine.
///
/// One thread writes: batches that wait at the same time share one transaction. Reads go their own
/// ways and never block it.
pub struct SqliteLedger {
    path: PathBuf,
    writer: Writer,
    readers: Arc<Readers>,
}

impl SqliteLedger {
    /// Opens a file, and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, and how to mend it.
    pub async fn open(options: SqliteOptions) -> Result<Self, LedgerStartError> {
        let path = options.path.clone();
        let opened = tokio::task::spawn_blocking(move || open::open(&options)).await;
        let opened =
            opened.map_err(|error| LedgerError::new(LedgerErrorKind::Unknown, error))??;
        Ok(Self {
            path,
            writer: Writer::start(opened.writer, opened.claim)?,
            readers: Arc::new(Readers::new(opened.readers)),
        })
    }

    /// Waits until everything that was sent is written, and gives up the file. What is asked
    /// afterwards fails.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close();
    }
}

impl fmt::Debug for SqliteLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLedger")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Database for SqliteLedger {
    fn read<O: Operation>(&self, operation: O) -> BoxFuture<'_, Result<O::Answer, LedgerError>> {
        let readers = Arc::clone(&self.readers);
        Box::pin(async move { readers.run(operation).await })
    }

    fn write<O: Operation>(&self, operation: O) -> BoxFuture<'_, Result<O::Answer, LedgerError>> {
        Box::pin(self.writer.run(operation))
    }
}

/// Runs an operation on a connection.
fn run<O: Operation>(operation: &O, connection: &mut Connection) -> Result<O::Answer, LedgerError> {
    at_once(operation.run(&mut SqliteSession(connection)))
}

/// The answer of a session on a connection, which never waits for anything.
fn at_once<T>(answer: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
    answer.now_or_never().unwrap_or_else(|| {
        let reason = "an operation waited where nothing waits";
        Err(LedgerError::new(LedgerErrorKind::Unknown, reason))
    })
}

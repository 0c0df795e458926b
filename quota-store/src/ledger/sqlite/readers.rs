//! Connections that only read.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{LedgerError, LedgerErrorKind, Operation};

/// A few connections, each used by one read at a time.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(connections.len())),
            idle: Mutex::new(connections),
        }
    }

    pub(super) async fn run<O: Operation>(
        self: Arc<Self>,
        operation: O,
    ) -> Result<O::Answer, LedgerError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit =
            permit.map_err(|error| LedgerError::new(LedgerErrorKind::Unreachable, error))?;
        let reading = tokio::task::spawn_blocking(move || {
            let connection = self.idle().pop();
            let Some(mut connection) = connection else {
                let reason = "the ledger was closed";
                return Err(LedgerError::new(LedgerErrorKind::Unreachable, reason));
            };
            let answer = read(&operation, &mut connection);
            self.idle().push(connection);
            drop(permit);
            answer
        });
        let answer = reading.await;
        answer.map_err(|error| LedgerError::new(LedgerErrorKind::Unknown, error))?
    }

    /// Closes the connections that are idle; what is read now is read to its end.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle().clear();
    }

    // Held to take or put one connection.
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads within one transaction, so that all statements see the same.
fn read<O: Operation>(
    operation: &O,
    connection: &mut Connection,
) -> Result<O::Answer, LedgerError> {
    connection.execute_batch("BEGIN")?;
    let answer = super::run(operation, connection);
    // It changed nothing.
    let ended = connection.execute_batch("COMMIT");
    let answer = answer?;
    ended?;
    Ok(answer)
}

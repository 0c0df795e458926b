//! The ledger in Postgres.

use std::{fmt, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_util::future::BoxFuture;

pub use self::options::PostgresOptions;
use self::session::PostgresSession;
use super::{
    LedgerError, LedgerErrorKind, LedgerStartError,
    sql::{Database, Operation},
};

mod failure;
mod open;
mod options;
mod session;

/// How often a transaction that others stopped is tried.
const TRIES: u32 = 3;

/// A ledger in Postgres 13 or newer, shared by any number of processes.
pub struct PostgresLedger {
    pool: Pool,
    timeout: Duration,
}

impl PostgresLedger {
    /// Connects, and brings the tables up to date.
    ///
    /// # Errors
    ///
    /// What is wrong with the server or the address, and how to mend it.
    pub async fn connect(options: PostgresOptions) -> Result<Self, LedgerStartError> {
        let pool = pool(&options)?;
        let mut client = pool.get().await.map_err(|error| LedgerStartError::Server {
            reason: failure::reason(&error, &options),
        })?;
        open::check(&client).await?;
        open::migrate(&mut client, open::MIGRATIONS).await?;
        Ok(Self {
            pool,
            timeout: options.timeout,
        })
    }

    /// Closes all connections. What is asked afterwards fails.
    pub fn close(&self) {
        self.pool.close();
    }

    async fn client(&self) -> Result<Object, LedgerError> {
        Ok(self.pool.get().await?)
    }
}

fn pool(options: &PostgresOptions) -> Result<Pool, LedgerStartError> {
    let config = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_config(options.config.clone(), options.tls()?, config);
    let timeout = Some(Duration::from_secs(5));
    Pool::builder(manager)
        .max_size(options.connections)
        .runtime(Runtime::Tokio1)
        .create_timeout(timeout)
        .wait_timeout(timeout)
        .recycle_timeout(timeout)
        .build()
        .map_err(|error| LedgerError::new(LedgerErrorKind::Invalid, error).into())
}

impl fmt::Debug for PostgresLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLedger").finish_non_exhaustive()
    }
}

impl Database for PostgresLedger {
    fn read<O: Operation>(&self, operation: O) -> BoxFuture<'_, Result<O::Answer, LedgerError>> {
        Box::pin(self.in_time(async move {
            let client = self.client().await?;
            operation.run(&mut PostgresSession(&client)).await
        }))
    }

    fn write<O: Operation>(&self, operation: O) -> BoxFuture<'_, Result<O::Answer, LedgerError>> {
        Box::pin(self.in_time(async move {
            let mut tries = 1;
            loop {
                match self.write_once(&operation).await {
                    // Two transactions waited for each other, or a prune met an append.
                    Err(error) if error.kind() == LedgerErrorKind::Busy && tries < TRIES => {
                        tries += 1;
                    }
                    answer => return answer,
                }
            }
        }))
    }
}

impl PostgresLedger {
    /// A server that hangs keeps nobody for ever.
    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        let answered = tokio::time::timeout(self.timeout, answer).await;
        answered.unwrap_or_else(|error| Err(LedgerError::new(LedgerErrorKind::Unknown, error)))
    }

    async fn write_once<O: Operation>(&self, operation: &O) -> Result<O::Answer, LedgerError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        // Dropped before its commit, the transaction is rolled back.
        let answer = operation.run(&mut PostgresSession(&transaction)).await?;
        transaction.commit().await?;
        Ok(answer)
    }
}

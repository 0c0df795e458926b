//! Every ledger keeps the contract of ledgers, and that of directories.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use quota_store::{
    contract::{directory::DirectoryUnderTest, ledger::LedgerUnderTest},
    ledger::{Ledger, PostgresLedger, PostgresOptions, SqliteLedger, SqliteOptions},
};
use quota_tests::shared_postgres;

mod postgres;

/// A ledger in a file of a temporary folder.
struct Sqlite(tempfile::TempDir);

impl Sqlite {
    fn start() -> Ready<Self> {
        ready(Self(tempfile::tempdir().expect("a temporary folder")))
    }

    async fn opened(&self) -> Arc<SqliteLedger> {
        let options = SqliteOptions::new(self.0.path().join("quota.db"));
        Arc::new(SqliteLedger::open(options).await.expect("it opens"))
    }
}

impl LedgerUnderTest for Sqlite {
    async fn open(&self) -> Arc<dyn Ledger> {
        self.opened().await
    }
}

mod sqlite_contract {
    quota_store::ledger_contract!(super::Sqlite::start);
}

/// A ledger in a database of its own on the shared server.
struct Postgres {
    url: String,
}

impl Postgres {
    async fn start() -> Self {
        let database = tokio::task::spawn_blocking(|| shared_postgres().create_database());
        let database = database.await.expect("a database is made");
        Self {
            url: shared_postgres().url(&database),
        }
    }

    async fn opened(&self) -> Arc<PostgresLedger> {
        let options = PostgresOptions::new(&self.url).expect("an address");
        Arc::new(PostgresLedger::connect(options).await.expect("it connects"))
    }
}

impl LedgerUnderTest for Postgres {
    async fn open(&self) -> Arc<dyn Ledger> {
        self.opened().await
    }
}

mod postgres_contract {
    quota_store::ledger_contract!(super::Postgres::start);
}

impl DirectoryUnderTest for Sqlite {
    type Directory = SqliteLedger;

    async fn open(&self) -> Arc<SqliteLedger> {
        self.opened().await
    }
}

mod sqlite_directory_contract {
    quota_store::directory_contract!(super::Sqlite::start);
}

impl DirectoryUnderTest for Postgres {
    type Directory = PostgresLedger;

    async fn open(&self) -> Arc<PostgresLedger> {
        self.opened().await
    }
}

mod postgres_directory_contract {
    quota_store::directory_contract!(super::Postgres::start);
}

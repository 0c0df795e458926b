//! The ledger in a SQLite file.

use std::sync::Arc;

use quota_store::{
    contract::ledger::LedgerUnderTest,
    ledger::{Ledger, SqliteLedger, SqliteOptions},
};
use tempfile::TempDir;

pub(crate) struct Sqlite(TempDir);

impl Sqlite {
    pub(crate) async fn start() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl LedgerUnderTest for Sqlite {
    async fn open(&self) -> Arc<dyn Ledger> {
        let options = SqliteOptions::new(self.0.path().join("quota.db"));
        Arc::new(SqliteLedger::open(options).await.unwrap())
    }
}

mod contract {
    quota_store::ledger_contract!(super::Sqlite::start);
}

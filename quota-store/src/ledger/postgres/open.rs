//! What must be right before a server is used.

use deadpool_postgres::{GenericClient, Object};

use super::{LedgerError, LedgerStartError, session::PostgresSession};
use crate::ledger::sql::migrations::{self, Migration};

/// Every step, the earliest first.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "ledger",
        sql: include_str!("../migrations/0001_ledger.postgres.sql"),
    },
    Migration {
        version: 2,
        name: "epochs",
        sql: include_str!("../migrations/0002_epochs.postgres.sql"),
    },
    Migration {
        version: 3,
        name: "directory",
        sql: include_str!("../migrations/0003_directory.postgres.sql"),
    },
    Migration {
        version: 4,
        name: "rolled up",
        sql: include_str!("../migrations/0004_rolled_up.postgres.sql"),
    },
    Migration {
        version: 5,
        name: "windows in force",
        sql: include_str!("../migrations/0005_windows_in_force.postgres.sql"),
    },
];

/// The oldest version that is tried: 13.
const OLDEST: u32 = 130_000;

/// Whoever holds this in a database migrates it: "quota" in bytes.
const MIGRATION_LOCK: i64 = 0x71_75_6f_74_61;

/// Refuses a server that the ledger would not work on.
pub(super) async fn check(client: &Object) -> Result<(), LedgerStartError> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num'), current_setting('server_version'), \
             current_setting('server_encoding')",
            &[],
        )
        .await
        .map_err(LedgerError::from)?;
    let number: String = row.get(0);
    let (version, encoding): (String, String) = (row.get(1), row.get(2));
    if number.parse::<u32>().unwrap_or_default() < OLDEST {
        return Err(LedgerStartError::Server {
            reason: format!("it is Postgres {version}, and 13 or newer is needed: upgrade it"),
        });
    }
    if encoding != "UTF8" {
        return Err(LedgerStartError::Server {
            reason: format!(
                "its database has the encoding {encoding}: create one with `ENCODING 'UTF8'`"
            ),
        });
    }
    Ok(())
}

/// Brings the tables up to date. Of several processes one does it, and the others find it done.
pub(super) async fn migrate(
    client: &mut Object,
    migrations: &[Migration],
) -> Result<(), LedgerStartError> {
    let transaction = client.transaction().await.map_err(LedgerError::from)?;
    // A step takes as long as it takes, and so does the process that is before us.
    transaction
        .batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        .await
        .map_err(LedgerError::from)?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
        .await
        .map_err(LedgerError::from)?;
    transaction
        .batch_execute(migrations::TABLE)
        .await
        .map_err(LedgerError::from)?;
    let applied = migrations::applied(&mut PostgresSession(&transaction)).await?;
    for migration in migrations::pending(migrations, &applied)? {
        transaction
            .batch_execute(migration.sql)
            .await
            .map_err(LedgerError::from)?;
        migrations::note(&mut PostgresSession(&transaction), migration).await?;
    }
    transaction.commit().await.map_err(LedgerError::from)?;
    Ok(())
}

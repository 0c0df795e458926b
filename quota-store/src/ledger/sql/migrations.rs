//! The steps that make the tables, in the order in which they were ever needed.
//!
//! A step that was released is never edited: its checksum is kept beside its number.

use sha2::{Digest as _, Sha256};

use super::{Bind, LedgerError, Operation, Session, Statement, schema};
use crate::ledger::{LedgerHealth, LedgerStartError};

/// One step.
#[derive(Debug)]
pub(in crate::ledger) struct Migration {
    pub(in crate::ledger) version: i64,
    pub(in crate::ledger) name: &'static str,
    pub(in crate::ledger) sql: &'static str,
}

/// The table that says which steps were applied.
pub(in crate::ledger) const TABLE: &str = "CREATE TABLE IF NOT EXISTS quota_migrations \
     (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL)";

/// A step that was applied.
pub(in crate::ledger) struct Applied {
    version: i64,
    checksum: String,
}

/// Reads which steps were applied.
pub(in crate::ledger) async fn applied<S: Session>(
    session: &mut S,
) -> Result<Vec<Applied>, LedgerError> {
    let statement = Statement::new(
        "SELECT version, checksum FROM quota_migrations ORDER BY version",
        Vec::new(),
    );
    let rows = session.rows(&statement, |row| {
        Ok(Applied {
            version: row.integer(0)?,
            checksum: row.text(1)?,
        })
    });
    rows.await
}

/// Writes down that a step was applied.
pub(in crate::ledger) async fn note<S: Session>(
    session: &mut S,
    migration: &Migration,
) -> Result<(), LedgerError> {
    let statement = Statement::new(
        "INSERT INTO quota_migrations (version, name, checksum) VALUES (?1, ?2, ?3)",
        vec![
            Bind::Integer(migration.version),
            Bind::Text(migration.name.into()),
            Bind::Text(checksum(migration.sql).into()),
        ],
    );
    session.execute(&statement).await?;
    Ok(())
}

/// The steps that are left to do.
pub(in crate::ledger) fn pending<'a>(
    migrations: &'a [Migration],
    applied: &[Applied],
) -> Result<&'a [Migration], LedgerStartError> {
    for (migration, applied) in migrations.iter().zip(applied) {
        if migration.version != applied.version || checksum(migration.sql) != applied.checksum {
            return Err(LedgerStartError::Edited {
                version: migration.version,
                name: migration.name.to_owned(),
            });
        }
    }
    if let Some(newer) = applied.get(migrations.len()..).and_then(<[Applied]>::last) {
        return Err(LedgerStartError::Newer {
            found: newer.version,
            known: migrations.last().map_or(0, |last| last.version),
        });
    }
    Ok(&migrations[applied.len()..])
}

fn checksum(sql: &str) -> String {
    use std::fmt::Write as _;

    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(sql) {
        // Writing to a string never fails.
        write!(hex, "{byte:02x}").unwrap_or_default();
    }
    hex
}

/// How the ledger does.
pub(super) struct Health;

impl Operation for Health {
    type Answer = LedgerHealth;

    async fn run<S: Session>(&self, session: &mut S) -> Result<LedgerHealth, LedgerError> {
        let statement = Statement::new(
            "SELECT COALESCE(MAX(version), 0) FROM quota_migrations",
            Vec::new(),
        );
        let migration = session.rows(&statement, |row| row.integer(0)).await?;
        Ok(LedgerHealth {
            attempts: session.count_about(&schema::ATTEMPTS).await?,
            bytes: session.size_bytes().await?,
            migration: migration.first().copied().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Migration; 2] = [
        Migration {
            version: 1,
            name: "one",
            sql: "A",
        },
        Migration {
            version: 2,
            name: "two",
            sql: "B",
        },
    ];

    fn applied(version: i64, sql: &str) -> Applied {
        Applied {
            version,
            checksum: checksum(sql),
        }
    }

    #[test]
    fn only_what_is_missing_is_applied() {
        assert_eq!(pending(&STEPS, &[]).unwrap().len(), 2);
        assert_eq!(pending(&STEPS, &[applied(1, "A")]).unwrap()[0].version, 2);
        let all = [applied(1, "A"), applied(2, "B")];
        assert!(pending(&STEPS, &all).unwrap().is_empty());
    }

    #[test]
    fn an_edited_step_and_a_newer_ledger_are_refused() {
        let edited = pending(&STEPS, &[applied(1, "a")]).unwrap_err();
        assert!(
            edited
                .to_string()
                .starts_with("migration 1 (one) was edited after")
        );
        let all = [applied(1, "A"), applied(2, "B"), applied(3, "C")];
        let newer = pending(&STEPS, &all).unwrap_err();
        assert!(
            newer
                .to_string()
                .starts_with("the ledger is at migration 3")
        );
    }
}

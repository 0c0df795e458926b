//! Opening a file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};

use super::{
    Claim, Durability, LedgerError, LedgerStartError, SqliteOptions, at_once, failure,
    session::SqliteSession,
};
use crate::ledger::sql::migrations::{self, Migration};

/// Every step, the earliest first.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "ledger",
        sql: include_str!("../migrations/0001_ledger.sqlite.sql"),
    },
    Migration {
        version: 2,
        name: "epochs",
        sql: include_str!("../migrations/0002_epochs.sqlite.sql"),
    },
    Migration {
        version: 3,
        name: "directory",
        sql: include_str!("../migrations/0003_directory.sqlite.sql"),
    },
    Migration {
        version: 4,
        name: "rolled up",
        sql: include_str!("../migrations/0004_rolled_up.sqlite.sql"),
    },
    Migration {
        version: 5,
        name: "windows in force",
        sql: include_str!("../migrations/0005_windows_in_force.sqlite.sql"),
    },
];

/// How often the switch to a write-ahead log is tried while others are busy.
const MOST_SWITCHES: usize = 100;
/// How many reads run at once.
const READERS: usize = 4;

pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) readers: Vec<Connection>,
    pub(super) claim: Option<File>,
}

pub(super) fn open(options: &SqliteOptions) -> Result<Opened, LedgerStartError> {
    let path = &options.path;
    create(path).map_err(|error| LedgerStartError::File {
        path: path.clone(),
        reason: format!(
            "its folder must be there, and this user must be allowed to write it ({error})"
        ),
    })?;
    let claim = match options.claim {
        Claim::Shared => None,
        Claim::Exclusive => Some(claim(path)?),
    };
    let mut writer = connect(path).and_then(|connection| {
        set_up_writer(&connection, options.durability)?;
        Ok(connection)
    });
    let writer_ready = writer.as_mut().map_err(|error| file_error(path, error))?;
    migrate(writer_ready, path, MIGRATIONS)?;
    let writer = writer.map_err(|error| file_error(path, &error))?;
    let readers = (0..READERS)
        .map(|_| {
            let reader = connect(path)?;
            reader.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -16384")?;
            Ok(reader)
        })
        .collect::<rusqlite::Result<_>>()
        .map_err(|error| file_error(path, &error))?;
    Ok(Opened {
        writer,
        readers,
        claim,
    })
}

fn file_error(path: &Path, error: &rusqlite::Error) -> LedgerStartError {
    LedgerStartError::File {
        path: path.to_owned(),
        reason: failure::reason(error),
    }
}

/// Makes the file for its owner only, where there is none. SQLite gives its other files the same
/// permissions.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).or_else(|error| {
        // A file that is there and can't be written is for SQLite to judge.
        if path.exists() {
            File::open(path)
        } else {
            Err(error)
        }
    })
}

/// Locks a file beside the ledger. The lock ends with the process.
fn claim(path: &Path) -> Result<File, LedgerStartError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let failed = |error: io::Error| LedgerStartError::File {
        path: lock_path.clone(),
        reason: format!("it tells other processes that the ledger is taken ({error})"),
    };
    let file = create(&lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerStartError::Claimed {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY")?;
    Ok(connection)
}

fn set_up_writer(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    use_wal(connection)?;
    connection.execute_batch(match durability {
        Durability::Process => "PRAGMA synchronous = NORMAL",
        Durability::Power => "PRAGMA synchronous = FULL",
    })?;
    // 64 MiB hold the ends of all indexes; fewer checkpoints write a page fewer times.
    connection.execute_batch("PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 16000")
}

/// Switches to a write-ahead log.
///
/// Alone of all statements the switch does not wait for other connections, so where one is busy
/// something that does wait comes first.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let is_busy = |error: &rusqlite::Error| {
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    };
    for _ in 0..MOST_SWITCHES {
        match connection.execute_batch("PRAGMA journal_mode = WAL") {
            Err(error) if is_busy(&error) => {
                connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK")?;
            }
            outcome => return outcome,
        }
    }
    connection.execute_batch("PRAGMA journal_mode = WAL")
}

/// Brings the tables up to date. Of several processes one does it, and the others find it done.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[Migration],
) -> Result<(), LedgerStartError> {
    let file_error = |error: rusqlite::Error| file_error(path, &error);
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(file_error)?;
    let migrated = apply(connection, migrations);
    let end = if migrated.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    let ended = connection.execute_batch(end).map_err(file_error);
    migrated.and(ended)
}

fn apply(connection: &mut Connection, migrations: &[Migration]) -> Result<(), LedgerStartError> {
    connection
        .execute_batch(migrations::TABLE)
        .map_err(LedgerError::from)?;
    let applied = at_once(migrations::applied(&mut SqliteSession(connection)))?;
    for migration in migrations::pending(migrations, &applied)? {
        connection
            .execute_batch(migration.sql)
            .map_err(LedgerError::from)?;
        at_once(migrations::note(&mut SqliteSession(connection), migration))?;
    }
    Ok(())
}

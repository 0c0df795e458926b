//! What Postgres' errors mean.

use deadpool_postgres::PoolError;
use tokio_postgres::{Error, error::SqlState};

use super::{
    LedgerError, LedgerErrorKind,
    options::{PostgresOptions, describe},
};

impl From<Error> for LedgerError {
    fn from(error: Error) -> Self {
        Self::new(kind(&error), error)
    }
}

impl From<PoolError> for LedgerError {
    fn from(error: PoolError) -> Self {
        Self::new(LedgerErrorKind::Unreachable, error)
    }
}

fn kind(error: &Error) -> LedgerErrorKind {
    let Some(state) = error.code() else {
        return LedgerErrorKind::Unknown;
    };
    match *state {
        SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::LOCK_NOT_AVAILABLE => return LedgerErrorKind::Busy,
        SqlState::DISK_FULL => return LedgerErrorKind::Full,
        SqlState::READ_ONLY_SQL_TRANSACTION | SqlState::INSUFFICIENT_PRIVILEGE => {
            return LedgerErrorKind::ReadOnly;
        }
        _ => {}
    }
    // The class, by the standard.
    match &state.code()[..2] {
        // 54: beyond a limit of the server, as a row too large for an index.
        "22" | "23" | "54" => LedgerErrorKind::Invalid,
        "42" | "XX" => LedgerErrorKind::Corrupt,
        _ => LedgerErrorKind::Unknown,
    }
}

/// What is wrong with a server that can't be connected to, and how to mend it.
pub(super) fn reason(error: &PoolError, options: &PostgresOptions) -> String {
    let PoolError::Backend(error) = error else {
        return format!(
            "it does not answer: look whether it runs, and whether its address is right ({error})"
        );
    };
    let database = options.config.get_dbname().unwrap_or("of the user's name");
    let mending = match error.code() {
        Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
            "it refuses the user or the password".to_owned()
        }
        Some(&SqlState::INVALID_CATALOG_NAME) => {
            format!("the database {database} is not there: create it")
        }
        Some(&SqlState::TOO_MANY_CONNECTIONS) => {
            "it has too many connections: raise max_connections, or lower ours".to_owned()
        }
        Some(&SqlState::CANNOT_CONNECT_NOW) => "it is starting or stopping".to_owned(),
        Some(_) => "it refuses the connection".to_owned(),
        None => "it can't be reached: look whether it runs, whether its address is right, and \
                 whether it speaks TLS as `sslmode` says"
            .to_owned(),
    };
    format!("{mending} ({})", describe(error))
}

//! What SQLite's errors mean.

use rusqlite::{Error, ErrorCode};

use super::{LedgerError, LedgerErrorKind};

impl From<Error> for LedgerError {
    fn from(error: Error) -> Self {
        Self::new(kind(&error), error)
    }
}

pub(super) fn kind(error: &Error) -> LedgerErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => LedgerErrorKind::Full,
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::AuthorizationForStatementDenied,
        ) => LedgerErrorKind::ReadOnly,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LedgerErrorKind::Busy,
        Some(ErrorCode::CannotOpen) => LedgerErrorKind::Unreachable,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SchemaChanged) => {
            LedgerErrorKind::Corrupt
        }
        Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TooBig
            | ErrorCode::TypeMismatch
            | ErrorCode::ParameterOutOfRange,
        ) => LedgerErrorKind::Invalid,
        Some(_) => LedgerErrorKind::Unknown,
        // The row is not what this program writes, or a table is not there.
        None => LedgerErrorKind::Corrupt,
    }
}

/// What is wrong with a file that can't be opened, and how to mend it.
pub(super) fn reason(error: &Error) -> String {
    let mending = match kind(error) {
        LedgerErrorKind::Full => "its disk is full: free some space",
        LedgerErrorKind::ReadOnly => {
            "it can't be written: let this user write the file and its folder"
        }
        LedgerErrorKind::Busy => "another process holds it: wait for it, or stop it",
        LedgerErrorKind::Unreachable => {
            "its folder must be there, and this user must be allowed to write it"
        }
        LedgerErrorKind::Corrupt => {
            "it is damaged, or no ledger: restore a backup, or name another file"
        }
        _ => "SQLite fails",
    };
    format!("{mending} ({error})")
}

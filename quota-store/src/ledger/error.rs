//! Why a ledger could not answer, or not be opened.

use std::{error::Error, fmt, path::PathBuf};

type BoxError = Box<dyn Error + Send + Sync>;

/// A ledger could not answer.
#[derive(Debug)]
pub struct LedgerError {
    kind: LedgerErrorKind,
    source: BoxError,
}

/// What callers may branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LedgerErrorKind {
    /// The ledger was not reached, or is shutting down.
    Unreachable,
    /// No answer in time, or the connection broke: what was sent may have taken effect. Sending it
    /// again is safe.
    Unknown,
    /// Another process holds what this one waits for; it may work later.
    Busy,
    /// The disk is full.
    Full,
    /// The ledger can't be written: its file or its server is read-only, or permission is missing.
    ReadOnly,
    /// What is stored can't be read: the file is damaged, or was written by something else.
    Corrupt,
    /// What was asked breaks the contract, such as an entry of a tenant where there is none.
    Invalid,
}

impl LedgerErrorKind {
    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
            Self::Busy => "busy",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Corrupt => "corrupt",
            Self::Invalid => "invalid",
        }
    }
}

impl LedgerError {
    /// An error of one kind with its cause.
    pub fn new(kind: LedgerErrorKind, source: impl Into<BoxError>) -> Self {
        Self {
            kind,
            source: source.into(),
        }
    }

    /// What kind of failure this is.
    #[must_use]
    pub const fn kind(&self) -> LedgerErrorKind {
        self.kind
    }

    /// Whether the same call may work later without anybody mending anything in it.
    #[must_use]
    pub const fn is_worth_repeating(&self) -> bool {
        !matches!(
            self.kind,
            LedgerErrorKind::Corrupt | LedgerErrorKind::Invalid
        )
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            LedgerErrorKind::Unreachable => "the ledger can't be reached",
            LedgerErrorKind::Unknown => "the ledger did not answer in time",
            LedgerErrorKind::Busy => "the ledger is held by another process",
            LedgerErrorKind::Full => "the disk of the ledger is full: free some space",
            LedgerErrorKind::ReadOnly => "the ledger can't be written: look at its permissions",
            LedgerErrorKind::Corrupt => "the ledger holds something unreadable",
            LedgerErrorKind::Invalid => "the ledger refused a malformed record or query",
        })
    }
}

impl Error for LedgerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// A ledger could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerStartError {
    /// The address of the ledger can't be read.
    #[error("the address of the ledger can't be read: {reason}")]
    Address {
        /// What is wrong with it, without the address itself, which may hold a password.
        reason: String,
    },
    /// Another process uses the file, and only one may.
    #[error(
        "another process uses the ledger {}: with counters in memory, two processes on one ledger would double every limit; stop the other one, or give this one a file of its own",
        path.display()
    )]
    Claimed {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be opened.
    #[error("the ledger {} can't be opened: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and how to mend it.
        reason: String,
    },
    /// The server can't be used.
    #[error("the ledger's server can't be used: {reason}")]
    Server {
        /// What is wrong, and how to mend it.
        reason: String,
    },
    /// A migration is not as it was when it was applied.
    #[error(
        "migration {version} ({name}) was edited after it was applied: restore its text, and put the change into a new migration"
    )]
    Edited {
        /// Its number.
        version: i64,
        /// What it is called in this program.
        name: String,
    },
    /// The tables were made by a newer program.
    #[error(
        "the ledger is at migration {found}, and this program knows {known}: start a newer version of the program"
    )]
    Newer {
        /// The last one that was applied.
        found: i64,
        /// The last one that this program knows.
        known: i64,
    },
    /// The ledger could not answer while it was opened.
    #[error("the ledger failed while it was opened")]
    Failed(#[from] LedgerError),
}

//! Why a store could not answer.

use std::{error::Error, fmt};

type BoxError = Box<dyn Error + Send + Sync>;

/// A counter store could not answer.
///
/// A denial is an answer and never an error.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    is_partial: bool,
    source: BoxError,
}

/// What callers may branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store was not reached; the operation did not run.
    Unreachable,
    /// No answer in time, or the connection broke after sending: the operation may have run, may
    /// run later, or may never run.
    Unknown,
    /// The store answered that it can't serve now (loading, read-only, cluster down); the
    /// operation did not run.
    NotServing,
    /// The store refused the credentials or a permission; the operation did not run.
    Forbidden,
    /// There is no room for another counter or reservation; the operation did not run.
    Full,
    /// The breaker is open: the store was not asked.
    BreakerOpen,
    /// The store answered with something that this version can't read.
    Corrupt,
    /// The request itself breaks the contract, such as a hold in a window that has no length.
    Invalid,
}

impl StoreErrorKind {
    /// The word for it in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
            Self::NotServing => "not_serving",
            Self::Forbidden => "forbidden",
            Self::Full => "full",
            Self::BreakerOpen => "breaker_open",
            Self::Corrupt => "corrupt",
            Self::Invalid => "invalid",
        }
    }
}

impl StoreError {
    /// An error of one kind with its cause.
    pub fn new(kind: StoreErrorKind, source: impl Into<BoxError>) -> Self {
        Self {
            kind,
            is_partial: false,
            source: source.into(),
        }
    }

    /// An error about a part of the counters, where the store goes on serving the others.
    #[cfg(feature = "redis")]
    pub(crate) fn of_a_part(kind: StoreErrorKind, source: impl Into<BoxError>) -> Self {
        Self {
            is_partial: true,
            ..Self::new(kind, source)
        }
    }

    /// Whether only a part of the counters can't be served, so that the store is to be asked about
    /// others all the same.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// What kind of failure this is.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether the operation may have taken effect, or still may.
    #[must_use]
    pub const fn outcome_is_unknown(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unknown | StoreErrorKind::Corrupt)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unreachable => "the counter store can't be reached",
            StoreErrorKind::Unknown => "the counter store did not answer in time",
            StoreErrorKind::NotServing => "the counter store can't serve now",
            StoreErrorKind::Forbidden => "the counter store refused access",
            StoreErrorKind::Full => "the counter store is full",
            StoreErrorKind::BreakerOpen => "the counter store failed and is being left alone",
            StoreErrorKind::Corrupt => "the counter store answered something unreadable",
            StoreErrorKind::Invalid => "the counter store refused a malformed operation",
        })
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

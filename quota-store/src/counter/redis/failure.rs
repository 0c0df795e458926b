//! What Redis answers instead of an answer.

use std::{fmt, sync::Arc};

use redis::{ErrorKind, RedisError};

use crate::{StoreError, StoreErrorKind};

/// Why a call failed, told to every operation that was gathered into it.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: StoreErrorKind,
    /// The connection is of no more use.
    pub(super) reconnect: bool,
    /// Only one partition can't be served.
    pub(super) is_partial: bool,
    text: Arc<str>,
}

impl Failure {
    pub(super) fn new(kind: StoreErrorKind, text: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            reconnect: false,
            is_partial: false,
            text: text.into(),
        }
    }

    /// The data of a partition was lost.
    pub(super) fn of_a_part() -> Self {
        Self {
            is_partial: true,
            ..Self::new(
                StoreErrorKind::NotServing,
                "Redis lost these counters; they are being brought back from the ledger",
            )
        }
    }

    pub(super) fn unknown() -> Self {
        Self::new(
            StoreErrorKind::Unknown,
            "Redis did not answer in time; raise `timeout` if it is only slow",
        )
    }

    pub(super) fn unreachable() -> Self {
        Self::new(
            StoreErrorKind::Unreachable,
            "the operation waited in this process until its time was over and was never sent",
        )
    }

    pub(super) fn unreadable(what: &str) -> Self {
        Self::new(
            StoreErrorKind::Corrupt,
            format!("a script answered without {what}; another version may share the prefix"),
        )
    }

    /// Whether the connection broke after the operation was sent.
    pub(super) fn is_broken(&self) -> bool {
        self.reconnect && self.kind == StoreErrorKind::Unknown
    }

    /// The same failure where an earlier send may have taken effect.
    pub(super) fn after_a_send(self) -> Self {
        Self {
            kind: StoreErrorKind::Unknown,
            ..self
        }
    }

    /// The same failure of an operation that was not sent.
    pub(super) fn before_a_send(self) -> Self {
        let kind = match self.kind {
            StoreErrorKind::Unknown => StoreErrorKind::Unreachable,
            kind => kind,
        };
        Self {
            kind,
            reconnect: false,
            ..self
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let code = error.code().map(str::to_owned);
        let (kind, reconnect) = match (code.as_deref(), error.kind()) {
            (Some("NOAUTH" | "WRONGPASS" | "NOPERM"), _) | (_, ErrorKind::AuthenticationFailed) => {
                (StoreErrorKind::Forbidden, false)
            }
            (Some("OOM"), _) => (StoreErrorKind::Full, false),
            // A replica was a master before, or the master is elsewhere now.
            (Some("READONLY"), _) => (StoreErrorKind::NotServing, true),
            (
                Some(
                    "MOVED" | "ASK" | "CLUSTERDOWN" | "TRYAGAIN" | "LOADING" | "MASTERDOWN"
                    | "BUSY" | "MISCONF" | "NOREPLICAS" | "NOSCRIPT",
                ),
                _,
            ) => (StoreErrorKind::NotServing, false),
            _ if error.is_timeout() => return Self::unknown(),
            _ if error.is_io_error() => (StoreErrorKind::Unknown, true),
            (None, ErrorKind::Parse) => (StoreErrorKind::Corrupt, true),
            _ => (StoreErrorKind::Corrupt, false),
        };
        Self {
            kind,
            reconnect,
            is_partial: false,
            text: error.to_string().into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        if failure.is_partial {
            Self::of_a_part(failure.kind, failure)
        } else {
            Self::new(failure.kind, failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, kind: StoreErrorKind, reconnect: bool) {
        let value = redis::parse_redis_value(line.as_bytes()).unwrap();
        let failure = Failure::from(value.extract_error().unwrap_err());
        assert_eq!(
            (failure.kind, failure.reconnect),
            (kind, reconnect),
            "{line}"
        );
    }

    #[test]
    fn replies_are_told_apart() {
        for code in [
            "MOVED 1 127.0.0.1:1",
            "ASK 1 127.0.0.1:1",
            "CLUSTERDOWN down",
            "TRYAGAIN again",
            "LOADING loading",
            "MASTERDOWN down",
            "BUSY busy",
            "MISCONF disk",
        ] {
            check(&format!("-{code}\r\n"), StoreErrorKind::NotServing, false);
        }
        check("-READONLY replica\r\n", StoreErrorKind::NotServing, true);
        for code in ["NOAUTH who", "WRONGPASS no", "NOPERM no"] {
            check(&format!("-{code}\r\n"), StoreErrorKind::Forbidden, false);
        }
        check("-OOM full\r\n", StoreErrorKind::Full, false);
        check("-ERR anything\r\n", StoreErrorKind::Corrupt, false);
        check("-WRONGTYPE not a hash\r\n", StoreErrorKind::Corrupt, false);
    }
}

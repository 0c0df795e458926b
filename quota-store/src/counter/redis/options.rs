//! How to reach Redis.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use secrecy::SecretString;

use crate::ledger::Ledger;

/// The place of a Redis server: `redis://host:port/db`, or `rediss://` for TLS.
#[derive(Clone)]
pub struct RedisUrl(ConnectionInfo);

impl RedisUrl {
    pub(super) fn info(&self) -> &ConnectionInfo {
        &self.0
    }

    pub(super) fn uses_tls(&self) -> bool {
        matches!(self.0.addr(), ConnectionAddr::TcpTls { .. })
    }
}

impl FromStr for RedisUrl {
    type Err = RedisStartError;

    fn from_str(text: &str) -> Result<Self, RedisStartError> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("redis" | "rediss")) {
            return Err(RedisStartError::Url(
                "it starts with neither redis:// nor rediss://".to_owned(),
            ));
        }
        if scheme == Some("rediss") && !cfg!(feature = "redis-tls") {
            return Err(RedisStartError::Url(
                "rediss:// needs the feature `redis-tls`, which this program was built without"
                    .to_owned(),
            ));
        }
        let info = text
            .into_connection_info()
            .map_err(|error| RedisStartError::Url(error.to_string()))?;
        let settings = info.redis_settings();
        if settings.username().is_some() || settings.password().is_some() {
            return Err(RedisStartError::Url(
                "it holds a user name or password; pass them by themselves".to_owned(),
            ));
        }
        Ok(Self(info))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.uses_tls() { "rediss" } else { "redis" };
        let db = self.0.redis_settings().db();
        write!(f, "{scheme}://{}/{db}", self.0.addr())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What to do where Redis may throw counters away to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Do not use such a server: limits would not hold.
    #[default]
    Refuse,
    /// Use it all the same.
    Accept,
}

/// How to reach Redis, and what is expected of it.
#[derive(Clone)]
pub struct RedisOptions {
    /// Where it is.
    pub url: RedisUrl,
    /// The ACL user, if it is not the default one.
    pub username: Option<String>,
    /// The password, if one is asked for.
    pub password: Option<SecretString>,
    /// Certificates to trust instead of the public ones, in PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// What every key starts with: letters, digits and `-._:`.
    pub prefix: String,
    /// How long one operation may take.
    pub timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a reservation may live, renewals included.
    pub max_reservation: Duration,
    /// What to do where Redis may evict counters.
    pub eviction: Eviction,
    /// Where to bring what was charged, and from where counters are brought back if Redis loses
    /// them.
    pub ledger: Option<Arc<dyn Ledger>>,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("url", &self.url)
            .field("username", &self.username)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_reservation", &self.max_reservation)
            .field("eviction", &self.eviction)
            .field("has_ledger", &self.ledger.is_some())
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// The defaults: prefix `quota`, 50 ms for an operation, 1 s to connect, 15 min for a
    /// reservation.
    #[must_use]
    pub fn new(url: RedisUrl) -> Self {
        Self {
            url,
            username: None,
            password: None,
            ca_pem: None,
            prefix: "quota".to_owned(),
            timeout: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            max_reservation: Duration::from_mins(15),
            eviction: Eviction::default(),
            ledger: None,
        }
    }

    /// How long the store remembers what ended.
    pub(super) fn memory(&self) -> Duration {
        self.max_reservation.saturating_add(Duration::from_mins(10))
    }

    pub(super) fn check(&self) -> Result<(), RedisStartError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if self.prefix.is_empty() || !self.prefix.chars().all(is_plain) {
            return Err(RedisStartError::Prefix(self.prefix.clone()));
        }
        Ok(())
    }
}

/// Why a store on Redis can't be used, and waiting would not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisStartError {
    /// The address is none.
    #[error("not the address of a Redis server: {0}")]
    Url(String),
    /// The prefix has characters that keys can't have.
    #[error("the prefix {0:?} is empty or has other characters than letters, digits and -._:")]
    Prefix(String),
    /// The certificates can't be used.
    #[error("the certificates for TLS to Redis can't be used: {0}")]
    Certificates(String),
    /// Redis may evict counters.
    #[error(
        "Redis evicts keys at `maxmemory` (maxmemory-policy is {0}), so limits would not hold; set it to noeviction, or accept eviction"
    )]
    Evicts(String),
    /// The data is of another number of partitions.
    #[error(
        "the data under this prefix is spread over {0} partitions and not 256; use another prefix"
    )]
    Partitions(String),
    /// Redis is older than 7.0.
    #[error("Redis {0} is too old; 7.0 or newer is needed")]
    TooOld(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_database_and_no_password() {
        let check = |text: &str, expected: &str| {
            let shown = match text.parse::<RedisUrl>() {
                Ok(url) => url.to_string(),
                Err(error) => format!("error: {error}"),
            };
            assert!(shown.starts_with(expected), "{text}: {shown}");
        };
        check("redis://localhost", "redis://localhost:6379/0");
        check("redis://127.0.0.1:7000/3", "redis://127.0.0.1:7000/3");
        #[cfg(feature = "redis-tls")]
        check("rediss://example.com:7000/3", "rediss://example.com:7000/3");
        check("redis://:secret@localhost", "error: not the address");
        check("redis://me@localhost", "error: not the address");
        check("http://localhost", "error: not the address");
        check("localhost", "error: not the address");
        check("redis://localhost/x", "error: not the address");
    }
}

//! Opens connections, and looks at the server before it is used.

use std::fmt;

use redis::{
    AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError,
    aio::MultiplexedConnection,
};
use secrecy::ExposeSecret as _;

use super::{Eviction, RedisOptions, RedisStartError, RedisUrl, failure::Failure, keys};
use crate::StoreErrorKind;

/// Opens connections.
#[derive(Debug)]
pub(super) struct Connector {
    client: Client,
    options: RedisOptions,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Waiting may help.
    Failed(Failure),
    /// Waiting does not help.
    Refused(RedisStartError),
}

impl OpenError {
    /// For the first attempt: only what waiting does not cure is an error.
    pub(super) fn start_error(&self) -> Result<(), RedisStartError> {
        match self {
            Self::Failed(_) => Ok(()),
            Self::Refused(error) => Err(error.clone()),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl From<RedisError> for OpenError {
    fn from(error: RedisError) -> Self {
        Self::Failed(Failure::from(error).before_a_send())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Failed(failure) => failure,
            OpenError::Refused(error) => Self::new(StoreErrorKind::NotServing, error.to_string()),
        }
    }
}

impl Connector {
    pub(super) fn new(options: RedisOptions) -> Result<Self, RedisStartError> {
        options.check()?;
        let info = options.url.info().clone();
        let mut settings = info
            .redis_settings()
            .clone()
            // It tells when the connection ends.
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(username) = &options.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &options.password {
            settings = settings.set_password(password.expose_secret());
        }
        let client = open_client(info.set_redis_settings(settings), &options)?;
        Ok(Self { client, options })
    }

    pub(super) fn url(&self) -> &RedisUrl {
        &self.options.url
    }

    /// Opens a connection and looks at the server. `on_disconnect` is called when it ends.
    pub(super) async fn open(
        &self,
        on_disconnect: impl Fn() + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, OpenError> {
        let timeout = self.options.connect_timeout;
        tokio::time::timeout(timeout, self.open_and_look(on_disconnect))
            .await
            .unwrap_or_else(|_| {
                Err(OpenError::Failed(Failure::new(
                    StoreErrorKind::Unreachable,
                    format!("connecting to Redis took longer than {timeout:?}"),
                )))
            })
    }

    async fn open_and_look(
        &self,
        on_disconnect: impl Fn() + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, OpenError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.connect_timeout))
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    on_disconnect();
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        self.look_at_version(&mut connection).await?;
        self.look_at_eviction(&mut connection).await?;
        self.look_at_partitions(&mut connection).await?;
        connection.set_response_timeout(self.options.timeout);
        Ok(connection)
    }

    async fn look_at_version(&self, redis: &mut MultiplexedConnection) -> Result<(), OpenError> {
        let Some(version) = info(redis, "server", "redis_version").await? else {
            return Ok(());
        };
        let major = version
            .split('.')
            .next()
            .and_then(|n| n.parse::<u32>().ok());
        match major {
            Some(..7) => Err(OpenError::Refused(RedisStartError::TooOld(version))),
            _ => Ok(()),
        }
    }

    async fn look_at_eviction(&self, redis: &mut MultiplexedConnection) -> Result<(), OpenError> {
        let policy = info(redis, "memory", "maxmemory_policy").await?;
        match policy {
            Some(policy) if policy != "noeviction" => match self.options.eviction {
                Eviction::Refuse => Err(OpenError::Refused(RedisStartError::Evicts(policy))),
                Eviction::Accept => {
                    tracing::warn!(target: "quota::redis", policy, "Redis may evict counters: limits may not hold");
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    async fn look_at_partitions(&self, redis: &mut MultiplexedConnection) -> Result<(), OpenError> {
        let key = format!("{}:partitions", self.options.prefix);
        let get = redis::cmd("GET").arg(&key).to_owned();
        let mut found: Option<String> = get.query_async(redis).await?;
        if found.is_none() {
            let written: Result<Option<String>, RedisError> = redis::cmd("SET")
                .arg(&key)
                .arg(keys::PARTITIONS)
                .arg("NX")
                .query_async(redis)
                .await;
            // A full or read-only server takes no reservation either; the next connection writes.
            if let Err(error) = written {
                tracing::warn!(target: "quota::redis", %error, key, "the number of partitions could not be written");
                return Ok(());
            }
            found = get.query_async(redis).await?;
        }
        match found {
            Some(found) if found != keys::PARTITIONS.to_string() => {
                Err(OpenError::Refused(RedisStartError::Partitions(found)))
            }
            _ => Ok(()),
        }
    }
}

/// One line of `INFO`; `None` where it can't be known.
async fn info(
    redis: &mut MultiplexedConnection,
    section: &str,
    name: &str,
) -> Result<Option<String>, OpenError> {
    let answer: Result<String, RedisError> =
        redis::cmd("INFO").arg(section).query_async(redis).await;
    match answer {
        Ok(text) => Ok(text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())),
        Err(error) if error.code() == Some("NOPERM") => {
            tracing::warn!(target: "quota::redis", name,
                "INFO is forbidden, so this can't be checked; allow it with ACL SETUSER ... +info"
            );
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(feature = "redis-tls"))]
fn open_client(
    info: redis::ConnectionInfo,
    _options: &RedisOptions,
) -> Result<Client, RedisStartError> {
    Client::open(info).map_err(|error| RedisStartError::Url(error.to_string()))
}

#[cfg(feature = "redis-tls")]
fn open_client(
    info: redis::ConnectionInfo,
    options: &RedisOptions,
) -> Result<Client, RedisStartError> {
    if !options.url.uses_tls() {
        return Client::open(info).map_err(|error| RedisStartError::Url(error.to_string()));
    }
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster; theirs is as good.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    }
    let certificates = redis::TlsCertificates {
        client_tls: None,
        root_cert: options.ca_pem.clone(),
    };
    Client::build_with_tls(info, certificates)
        .map_err(|error| RedisStartError::Certificates(error.to_string()))
}

//! Private Redis and Postgres servers.

mod builder;
mod postgres;
mod tls;

use std::{
    path::{Path, PathBuf},
    process::Child,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{Client, Connection, TlsCertificates, Value};

pub use builder::{ADMIN, RedisBuilder};
pub use postgres::{PostgresServer, shared_postgres};

use crate::processes::{self, Signal};
use builder::Settings;

/// A `redis-server` of its own on a loopback port; killed when dropped.
///
/// All methods block, with a bound. They reach the server directly, as a user that may do
/// everything, whatever password or user the tested side has to give.
#[derive(Debug)]
pub struct RedisServer {
    settings: Settings,
    port: u16,
    folder: tempfile::TempDir,
    child: Mutex<Child>,
}

impl RedisServer {
    /// Starts a plain server without persistence.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Chooses options first.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// The address for the tested side, with the credentials that it needs.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same address but for the port, such as a proxy's.
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        let scheme = if self.settings.tls { "rediss" } else { "redis" };
        let login = match (&self.settings.acl_user, &self.settings.password) {
            (Some(user), _) => format!("{}:{}@", user.name, user.password),
            (None, Some(password)) => format!(":{password}@"),
            (None, None) => String::new(),
        };
        format!("{scheme}://{login}127.0.0.1:{port}")
    }

    /// The port, the same after every restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The loopback address and port.
    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The certificate that signs the server's; there with `tls` only.
    #[must_use]
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.settings
            .tls
            .then(|| tls::Files::in_folder(self.folder.path()).authority)
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&self) {
        processes::end(&mut self.child());
    }

    /// Makes it stand still with SIGSTOP; connections stay open and are not answered.
    pub fn stop(&self) {
        processes::send(self.id(), Signal::Stop);
    }

    /// Lets it go on after `stop`.
    pub fn cont(&self) {
        processes::send(self.id(), Signal::Continue);
    }

    /// Kills it if it still runs and starts it on the same port, empty.
    pub fn restart(&self) {
        self.kill();
        builder::remove_data(self.folder.path());
        self.start_again();
    }

    /// Kills it if it still runs and starts it on the same port with what it had acknowledged.
    ///
    /// Only for a server that was built with `persistent`.
    pub fn restart_keeping_data(&self) {
        assert!(
            self.settings.persistent,
            "this server keeps nothing on disk; build it with `.persistent()`"
        );
        self.kill();
        self.start_again();
    }

    /// Runs one command and gives its reply as text, one line for each element of an array; a
    /// nil is an empty text.
    ///
    /// Panics when the server cannot be reached or answers with an error.
    pub fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command)
            .unwrap_or_else(|error| panic!("redis {command:?}: {error}"))
    }

    /// The same, with the error as text.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached within 5 s or answers with an error.
    pub fn try_cli(&self, command: &[&str]) -> Result<String, String> {
        let reply: Value = self
            .connect()
            .and_then(|mut connection| {
                redis::cmd(command[0])
                    .arg(&command[1..])
                    .query(&mut connection)
            })
            .map_err(|error| error.to_string())?;
        Ok(as_text(&reply))
    }

    /// A number out of `INFO`, such as `used_memory` or `connected_clients`.
    #[must_use]
    pub fn info(&self, field: &str) -> u64 {
        let info = self.cli(&["INFO", "everything"]);
        builder::info_field(&info, field)
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no number {field:?} in INFO:\n{info}"))
    }

    /// The bytes that Redis has allocated.
    #[must_use]
    pub fn used_memory(&self) -> u64 {
        self.info("used_memory")
    }

    /// Every key of database 0, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.keys_like("*")
    }

    /// The keys of database 0 that match a pattern of Redis, sorted.
    #[must_use]
    pub fn keys_like(&self, pattern: &str) -> Vec<String> {
        let keys = self.cli(&["KEYS", pattern]);
        let mut keys: Vec<String> = keys.lines().map(str::to_owned).collect();
        keys.sort_unstable();
        keys
    }

    /// What the store left of reservations under a prefix: records of live ones, and markers
    /// without an expiry.
    #[must_use]
    pub fn litter(&self, prefix: &str) -> Vec<String> {
        let is_litter = |key: &String| match self.cli(&["TYPE", key]).as_str() {
            // Live reservations are in sorted sets.
            "zset" => true,
            "string" if key.contains(":m:") => self.cli(&["PTTL", key]) == "-1",
            _ => false,
        };
        let keys = self.keys_like(&format!("{prefix}*"));
        keys.into_iter().filter(is_litter).collect()
    }

    /// A new connection as the user that may do everything.
    ///
    /// # Errors
    ///
    /// When the server does not answer within 5 s.
    pub fn connect(&self) -> redis::RedisResult<Connection> {
        connect(&self.settings, self.folder.path(), self.port)
    }

    fn start_again(&self) {
        let child = builder::launch(&self.settings, self.folder.path(), self.port)
            .unwrap_or_else(|log| panic!("redis-server does not start again:\n{log}"));
        *self.child() = child;
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One server for all tests of this process; each uses keys of its own, see `unique_prefix`.
///
/// It must not be killed, stopped, restarted or emptied.
#[must_use]
pub fn shared_redis() -> &'static RedisServer {
    static SHARED: OnceLock<RedisServer> = OnceLock::new();
    SHARED.get_or_init(|| {
        let server = RedisServer::start();
        // A static is never dropped, so that the folder, which a running server without
        // persistence does not need, would stay behind.
        std::fs::remove_dir_all(server.folder.path()).expect("the folder is ours");
        server
    })
}

/// A prefix for keys that no other test of this process has, such as `t3:`.
#[must_use]
pub fn unique_prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}:", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn connect(settings: &Settings, folder: &Path, port: u16) -> redis::RedisResult<Connection> {
    const BOUND: Duration = Duration::from_secs(5);
    let login = format!("{ADMIN}:{ADMIN}@127.0.0.1:{port}");
    let client = if settings.tls {
        let authority = std::fs::read(tls::Files::in_folder(folder).authority)?;
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(authority),
        };
        Client::build_with_tls(format!("rediss://{login}"), certificates)?
    } else {
        Client::open(format!("redis://{login}"))?
    };
    let connection = client.get_connection_with_timeout(BOUND)?;
    connection.set_read_timeout(Some(BOUND))?;
    connection.set_write_timeout(Some(BOUND))?;
    Ok(connection)
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Nil => String::new(),
        Value::Okay => "OK".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::SimpleString(text) => text.clone(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join("\n"),
        other => format!("{other:?}"),
    }
}

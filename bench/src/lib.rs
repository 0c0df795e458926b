//! What the programs share: batches that take turns, and a table.

use std::{
    io::Write as _,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quota_layer::{Config, QuotaLayer};
use rustix::time::{ClockId, clock_gettime};
use tempfile::NamedTempFile;

/// The key that the tokens are signed with.
const SECRET: &str = "a secret of the benchmarks, 32 bytes or more";

/// Runs one batch, and says what one operation of it took, in nanoseconds of this thread's CPU.
///
/// On a busy machine a clock on the wall also counts what the other processes did meanwhile.
pub fn per_operation(operations: u32, batch: impl FnOnce()) -> f64 {
    let since = cpu_time();
    batch();
    (cpu_time() - since).as_secs_f64() * 1e9 / f64::from(operations)
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("CPU time is never negative")
}

/// One thing that is measured.
pub struct Contender<'a> {
    pub name: &'a str,
    /// Runs one batch, and says what came of it.
    pub batch: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(name: &'a str, batch: impl FnMut() -> f64 + 'a) -> Self {
        Self {
            name,
            batch: Box::new(batch),
        }
    }
}

/// What came of the batches of one contender, in the order of the rounds.
pub struct Series {
    pub name: String,
    pub values: Vec<f64>,
}

impl Series {
    pub fn median(&self) -> f64 {
        median(self.values.clone())
    }

    /// The median of what this one and `other` have in common, round by round.
    pub fn paired(&self, other: &Self, compare: impl Fn(f64, f64) -> f64) -> f64 {
        let pairs = self.values.iter().zip(&other.values);
        median(pairs.map(|(mine, its)| compare(*mine, *its)).collect())
    }

    /// How often as much as `other`.
    pub fn ratio(&self, other: &Self) -> f64 {
        self.paired(other, |mine, its| mine / its)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Lets the contenders take turns, so that what else the machine does meets all of them.
pub fn take_turns(rounds: usize, mut contenders: Vec<Contender<'_>>) -> Vec<Series> {
    for contender in &mut contenders {
        // Warms caches and pools up.
        (contender.batch)();
    }
    let mut series: Vec<Series> = contenders
        .iter()
        .map(|contender| Series {
            name: contender.name.to_owned(),
            values: Vec::with_capacity(rounds),
        })
        .collect();
    for _ in 0..rounds {
        for (contender, series) in contenders.iter_mut().zip(&mut series) {
            series.values.push((contender.batch)());
        }
    }
    series
}

/// Prints one goal and whether it holds.
pub fn goal(what: &str, measured: f64, most: f64) {
    let verdict = if measured <= most { "holds" } else { "MISSED" };
    println!("| {what} | {measured:.2} | at most {most} | {verdict} |");
}

/// Prints one goal and whether it holds.
pub fn goal_at_least(what: &str, measured: f64, least: f64) {
    let verdict = if measured >= least { "holds" } else { "MISSED" };
    println!("| {what} | {measured:.2} | at least {least} | {verdict} |");
}

/// Prints the head of the goals' table.
pub fn goals() {
    println!("\n| goal | measured | wanted | |\n| --- | --- | --- | --- |");
}

/// The `Authorization` headers of so many users.
pub fn bearers(users: usize) -> Result<Vec<String>> {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let header = Header::new(Algorithm::HS256);
    let bearer = |user| {
        let claims =
            serde_json::json!({ "sub": format!("user-{user:08}"), "exp": 4_102_444_800_u64 });
        let token = jsonwebtoken::encode(&header, &claims, &key)?;
        Ok(format!("Bearer {token}"))
    };
    (0..users).map(bearer).collect()
}

/// A layer with this configuration that takes the tokens of [`bearers`].
pub async fn layer(toml: &str) -> Result<QuotaLayer> {
    let mut secret = NamedTempFile::new()?;
    secret.write_all(SECRET.as_bytes())?;
    let identity = format!(
        "[identity.jwt]\nsecret = \"file:{}\"\n",
        secret.path().display()
    );
    let config = Config::from_toml(&format!("{toml}{identity}[ledger]\nurl = \"none\"\n"))?;
    Ok(QuotaLayer::from_config(config).build().await?)
}

/// A Redis server of its own, that keeps nothing and ends with this value.
pub struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    pub async fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server can't be started: install it")?;
        let server = Self { child, port };
        for _ in 0..500 {
            if server.connection().await.is_ok() {
                return Ok(server);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("redis-server does not answer")
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub async fn connection(&self) -> Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.url())?;
        Ok(client.get_multiplexed_async_connection().await?)
    }

    /// One number of `INFO`.
    pub async fn info(&self, field: &str) -> Result<f64> {
        let mut connection = self.connection().await?;
        let text: String = redis::cmd("INFO").query_async(&mut connection).await?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(line.context("INFO lacks a field")?.trim().parse()?)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

//! Processes of the example application that share one Redis and one ledger, all of which may fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quota_store::{
    CounterKey, CounterValue, Scope, Window, WindowSpan,
    ledger::{
        Ledger, LogQuery, Outcome, PostgresLedger, PostgresOptions, SqliteLedger, SqliteOptions,
    },
};
use quota_tests::{
    PostgresServer, RedisServer,
    layers::{identity, requester},
    processes::Process,
    tokens::bearer,
    unique_prefix,
};
use serde_json::Value;

use crate::{faulty::Books, processes::Node};

mod administration;
mod kills;
mod load;
mod losses;
mod outages;

/// Where a process finds the address of a ledger with a password in it.
const LEDGER_URL: &str = "QUOTA_TESTS_LEDGER_URL";
const ADMIN_TOKEN: &str = "an admin token of the tests";
/// Users under load.
const USERS: u64 = 8;
/// Users that only wait until a process counts.
const STARTERS: u32 = 40;
/// How often is looked for what will soon be true, and how long a pause in between is.
const LOOKS: u32 = 600;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A number that a person may set to test for longer than everybody wants to wait.
fn setting(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}")),
        Err(_) => otherwise,
    }
}

/// Tells what a test found, for whoever runs it with `--nocapture` to write down.
#[expect(clippy::print_stdout, reason = "nothing else shows the figures")]
fn report(found: &str) {
    println!("{found}");
}

/// Waits until something holds, for half a minute and more: what must come to rest may need several
/// of the product's own intervals.
async fn at_rest<F: Future<Output = Result<(), String>>>(mut look: impl FnMut() -> F) {
    let mut last = Ok(());
    for _ in 0..LOOKS {
        last = look().await;
        if last.is_ok() {
            return;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    panic!("it does not come to rest: {last:?}");
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// What processes share.
struct Site {
    redis: Arc<RedisServer>,
    postgres: Option<Arc<PostgresServer>>,
    ledger: Arc<dyn Ledger>,
    books: Books,
    ledger_url: String,
    folder: tempfile::TempDir,
}

impl Site {
    async fn with_sqlite(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quota.db");
        let ledger_url = format!("sqlite:{}", path.display());
        let ledger = SqliteLedger::open(SqliteOptions::new(path)).await.unwrap();
        Self::over(folder, (Arc::new(ledger), ledger_url, None), more).await
    }

    async fn with_postgres(more: &str) -> Self {
        let (server, url) = blocking(|| {
            let server = PostgresServer::start();
            let url = server.url(&server.create_database());
            (Arc::new(server), url)
        })
        .await;
        let mut options = PostgresOptions::new(&url).unwrap();
        options.timeout = Duration::from_secs(2);
        let ledger = PostgresLedger::connect(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self::over(folder, (Arc::new(ledger), url, Some(server)), more).await
    }

    async fn over(
        folder: tempfile::TempDir,
        (ledger, ledger_url, postgres): (Arc<dyn Ledger>, String, Option<Arc<PostgresServer>>),
        more: &str,
    ) -> Self {
        let redis = blocking(RedisServer::start).await;
        let prefix = unique_prefix();
        let token = folder.path().join("admin-token");
        std::fs::write(&token, ADMIN_TOKEN).unwrap();
        let text = format!(
            "{}\n[store]\nurl = \"redis://{}\"\nprefix = \"{prefix}\"\ntimeout = \"3s\"\n\
             reservation_ttl = \"4s\"\nmax_in_flight = 100000\n\
             [ledger]\nurl = \"env:{LEDGER_URL}\"\n\
             [admin]\ntokens = [\"file:{}\"]\n\
             [quotas.demo_calls]\n[quotas.demo_units]\n\
             [plans.free]\ndefault = true\n\
             limits.demo_calls = \"1M/lifetime\"\nlimits.demo_units = \"20/lifetime\"\n\
             [[routes]]\nmatch = \"* /demo/status/{{code}}\"\ncharge = {{ demo_calls = 1 }}\n\
             [[routes]]\nmatch = \"GET /demo/cost/{{n}}\"\n\
             charge = {{ demo_units = {{ reserve = 10, actual = \"handler\" }} }}\n\
             [[routes]]\nmatch = [\"GET /health\", \"GET /metrics\"]\nexempt = true\n{more}\n",
            identity(),
            redis.address(),
            token.display(),
        );
        std::fs::write(folder.path().join("quota.toml"), text).unwrap();
        Self {
            books: Books::open(&redis, &prefix).await,
            redis: Arc::new(redis),
            postgres,
            ledger,
            ledger_url,
            folder,
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("quota.toml")
    }

    /// Another process, once it counts for everybody.
    async fn node(&self) -> Arc<Node> {
        let mut command = Node::command(&self.config());
        command.env(LEDGER_URL, &self.ledger_url);
        let node = Node::of(Process::run(&command)).await;
        at_rest(|| async {
            let epochs = self
                .ledger
                .epochs()
                .await
                .map_err(|error| error.to_string())?;
            (epochs.len() == 256)
                .then_some(())
                .ok_or_else(|| format!("{} partitions", epochs.len()))
        })
        .await;
        // Users of many partitions, each of which the process has to know by now.
        for starter in 0..STARTERS {
            at_rest(|| async {
                match node
                    .ask(&Ask::status(500, &format!("starter-{starter}")))
                    .await
                {
                    Some(500) => Ok(()),
                    other => Err(format!("{other:?}: {}", node.process.output())),
                }
            })
            .await;
        }
        Arc::new(node)
    }

    /// What Redis says of a user.
    async fn counter(&self, user: &str) -> CounterValue {
        self.books.counter(user, "demo_calls").await
    }

    /// What the ledger says of a user, by its sums and added up anew.
    async fn balance(&self, user: &str, quota: &str) -> Result<[u64; 2], String> {
        let (who, key) = (requester(user, None), key(quota));
        let sums = self.ledger.used(&who, std::slice::from_ref(&key)).await;
        let recounted = self.ledger.recount(&who, &key).await;
        let sum = sums.map_err(|error| error.to_string())?[0].get();
        Ok([sum, recounted.map_err(|error| error.to_string())?.get()])
    }

    /// Waits until nothing is reserved, and Redis and the ledger agree about everybody. What was
    /// used by each of `users`.
    async fn balances(&self, users: &BTreeSet<String>) -> BTreeMap<String, u64> {
        let found = Mutex::new(BTreeMap::new());
        at_rest(|| async {
            for user in users {
                let value = self.counter(user).await;
                let used = value.used.get();
                let sums = self.balance(user, "demo_calls").await?;
                if sums != [used, used] || !value.reserved.is_zero() {
                    return Err(format!("{user}: {value:?}, the ledger says {sums:?}"));
                }
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.insert(user.clone(), used);
            }
            Ok(())
        })
        .await;
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of what was charged: how often each request is there, and the units of each user.
    async fn records(&self) -> (BTreeMap<String, u32>, BTreeMap<String, u64>) {
        let mut query = LogQuery::of(None, 500);
        let (mut requests, mut units) = (BTreeMap::new(), BTreeMap::new());
        loop {
            let page = self.ledger.log(&query).await.unwrap();
            for record in page.rows {
                if !matches!(record.outcome, Outcome::Committed | Outcome::Late) {
                    continue;
                }
                let id = record.request_id.expect("each request has an id");
                *requests.entry(id).or_default() += 1;
                let user = record.user.expect("a user").as_str().to_owned();
                let charged: i64 = record.charges.iter().map(|charge| charge.charged).sum();
                *units.entry(user).or_default() += u64::try_from(charged).unwrap();
            }
            query.after = page.next;
            if query.after.is_none() {
                return (requests, units);
            }
        }
    }
}

/// The only counter of a quota.
fn key(quota: &str) -> CounterKey {
    CounterKey {
        scope: Scope::User,
        quota: quota.parse().unwrap(),
        window: Window::Lifetime,
        span: WindowSpan::LIFETIME,
    }
}

/// A request.
#[derive(Clone, Debug)]
struct Ask {
    path: String,
    user: String,
    id: String,
}

impl Ask {
    /// Costs one unit where the status is a success. No two have the same id.
    fn status(status: u16, user: &str) -> Self {
        Self::path(format!("/demo/status/{status}"), user)
    }

    fn path(path: String, user: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            path,
            user: user.to_owned(),
            id: format!("request-{id}"),
        }
    }
}

impl Node {
    /// The status of a request; `None` where the process dies before it answers.
    async fn ask(&self, ask: &Ask) -> Option<u16> {
        let request = self.client.get(format!("{}{}", self.base, ask.path));
        let request = request
            .header("authorization", bearer(&ask.user))
            .header("x-request-id", &ask.id);
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        // Read to its end, so that the connection can be used again; the head was seen anyhow.
        response.bytes().await.map(drop).unwrap_or_default();
        Some(status)
    }

    /// Asks the admin API, with a body or without.
    async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().unwrap();
        let url = format!("{}/admin/quotas{path}", self.base);
        let request = self.client.request(method, url);
        let request = request.header("x-admin-token", ADMIN_TOKEN);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    async fn health(&self) -> Value {
        self.admin("GET", "/health", None).await.1
    }

    /// A gauge of `GET /metrics`; zero where it was never set.
    async fn gauge(&self, name: &str) -> String {
        let response = self.client.get(format!("{}/metrics", self.base));
        let text = response.send().await.unwrap().text().await.unwrap();
        let value = |line: &str| {
            line.strip_prefix(name)?
                .strip_prefix(' ')
                .map(str::to_owned)
        };
        text.lines().find_map(value).unwrap_or_default()
    }
}

fn user(number: u64) -> String {
    format!("user-{number}")
}

fn all_users() -> BTreeSet<String> {
    (0..USERS).map(user).collect()
}

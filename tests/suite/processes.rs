//! Several processes share one Redis, and some of them die.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use example_app::ServeArguments;
use quota_tests::{
    RedisServer, eventually_eq, layers::identity, processes::Process, tokens::bearer, unique_prefix,
};
use tokio::task::JoinSet;

use crate::faulty::{Books, store_time};

/// Names the configuration of a process that serves the example application.
const SERVE: &str = "QUOTA_TESTS_SERVE";

/// Processes of the example application that count in one Redis.
struct Cluster {
    server: RedisServer,
    books: Books,
    prefix: String,
    config: tempfile::NamedTempFile,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) base: String,
    pub(crate) client: reqwest::Client,
}

impl Cluster {
    async fn start(limit: u64, ttl: &str) -> Self {
        let server = RedisServer::start();
        let prefix = unique_prefix();
        let text = format!(
            "{}\n[store]\nurl = \"redis://{}\"\nprefix = \"{prefix}\"\ntimeout = \"900ms\"\n\
             reservation_ttl = \"{ttl}\"\nmax_in_flight = 100000\n\
             [ledger]\nurl = \"none\"\n\
             [quotas.demo_calls]\nunit = \"call\"\n\
             [plans.free]\ndefault = true\nlimits.demo_calls = \"{limit}/lifetime\"\n\
             [[routes]]\nmatch = \"* /demo/status/{{code}}\"\ncharge = {{ demo_calls = 1 }}\n",
            identity(),
            server.address(),
        );
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), text).unwrap();
        Self {
            books: Books::open(&server, &prefix).await,
            server,
            prefix,
            config,
        }
    }

    /// Another process.
    async fn node(&self) -> Node {
        Node::start(self.config.path()).await
    }

    /// What is used and reserved.
    async fn counter(&self) -> (u64, u64) {
        let value = self.books.counter("alice", "demo_calls").await;
        (value.used.get(), value.reserved.get())
    }

    /// When the live reservations expire, earliest and latest.
    fn expiries(&self) -> (u64, u64) {
        let mut expiries = Vec::new();
        for key in self.server.litter(&self.prefix) {
            // Members hold any bytes, line feeds too.
            let script = "local scores = {} \
                for i, score in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')) do \
                  if i % 2 == 0 then table.insert(scores, score) end \
                end return scores";
            let scores = self.server.cli(&["EVAL", script, "1", &key]);
            let expiry = |score: &str| score.parse::<u64>().expect("an expiry");
            expiries.extend(scores.lines().map(expiry));
        }
        let (first, last) = (expiries.iter().min(), expiries.iter().max());
        (
            *first.expect("some are live"),
            *last.expect("some are live"),
        )
    }
}

impl Node {
    /// Starts a process that serves with this configuration: this program again, as the test
    /// `serves_when_it_is_told_to`.
    pub(crate) fn launch(config: &Path) -> Process {
        Process::run(&Self::command(config))
    }

    /// What starts such a process.
    pub(crate) fn command(config: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "processes::serves_when_it_is_told_to",
                "--nocapture",
            ])
            .env(SERVE, config);
        command
    }

    /// The same, once it serves.
    pub(crate) async fn start(config: &Path) -> Self {
        Self::of(Self::launch(config)).await
    }

    /// A process that was launched, once it serves.
    pub(crate) async fn of(process: Process) -> Self {
        let line = process.line_with("listening on ").await;
        let base = line.split("listening on ").nth(1).unwrap().to_owned();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            process,
            base,
            client,
        }
    }

    /// What is used, as a request that fails is told.
    pub(crate) async fn used(&self) -> u64 {
        let request = self
            .client
            .get(format!("{}/demo/status/500", self.base))
            .header("authorization", bearer("alice"));
        let response = request.send().await.unwrap();
        let used = response.headers()["x-quota-used"].to_str().unwrap();
        used.parse().unwrap()
    }

    /// The status of one request; `None` where the process dies before it answers.
    pub(crate) fn status(
        &self,
        status: u16,
        delay_ms: u64,
    ) -> impl Future<Output = Option<u16>> + Send + 'static {
        let request = self
            .client
            .get(format!(
                "{}/demo/status/{status}?delay_ms={delay_ms}",
                self.base
            ))
            .header("authorization", bearer("alice"));
        async move {
            let response = request.send().await.ok()?;
            Some(response.status().as_u16())
        }
    }
}

/// Is the process in the tests below, and does nothing by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serves_when_it_is_told_to() {
    if let Some(config) = std::env::var_os(SERVE) {
        // What goes wrong is in the output of the process.
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
        let arguments = ServeArguments {
            config: Some(config.into()),
            listen: ([127, 0, 0, 1], 0).into(),
            demo: true,
        };
        example_app::serve(&arguments).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_admit_exactly_the_limit() {
    const TASKS: usize = 256;
    const REQUESTS: usize = 40;
    let cluster = Cluster::start(100, "30s").await;
    let nodes: Vec<Node> = futures_util::future::join_all((0..3).map(|_| cluster.node())).await;
    let nodes = Arc::new(nodes);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let nodes = Arc::clone(&nodes);
        tasks.spawn(async move {
            let mut admitted = 0_usize;
            for request in 0..REQUESTS {
                let node = &nodes[(task + request) % nodes.len()];
                match node.status(200, 0).await {
                    Some(200) => admitted += 1,
                    Some(429) => {}
                    other => panic!("{other:?}"),
                }
            }
            admitted
        });
    }
    let mut admitted = 0;
    while let Some(task) = tasks.join_next().await {
        admitted += task.expect("200 or 429 and nothing else");
    }
    assert_eq!(admitted, 100);
    assert_eq!(cluster.counter().await, (100, 0));
}

#[tokio::test]
async fn units_of_a_killed_process_are_free_at_their_expiry_and_not_before() {
    const LIMIT: u64 = 5;
    let cluster = Cluster::start(LIMIT, "2s").await;
    let (dying, living) = tokio::join!(cluster.node(), cluster.node());
    let mut held = JoinSet::new();
    for _ in 0..LIMIT {
        held.spawn(dying.status(200, 60_000));
    }
    let what = "one process holds all units";
    eventually_eq((0, LIMIT), || cluster.counter(), what).await;
    assert_eq!(living.status(200, 0).await, Some(429));
    dying.process.kill();
    while let Some(answer) = held.join_next().await {
        assert_eq!(answer.unwrap(), None);
    }
    let (earliest, latest) = cluster.expiries();
    loop {
        let before = store_time(&cluster.server);
        let status = living.status(200, 0).await;
        let after = store_time(&cluster.server);
        if status == Some(200) {
            assert!(after >= earliest, "freed {} ms early", earliest - after);
            break;
        }
        assert_eq!(status, Some(429));
        assert!(
            before <= latest + 1_000,
            "refused {} ms late",
            before - latest
        );
    }
    eventually_eq(
        true,
        || async { store_time(&cluster.server) > latest + 1_000 },
        "a second after the last expiry",
    )
    .await;
    for _ in 1..LIMIT {
        assert_eq!(living.status(200, 0).await, Some(200));
    }
    assert_eq!(living.status(200, 0).await, Some(429));
    assert_eq!(cluster.counter().await, (LIMIT, 0));
}

/// Before-response: what clients saw was charged first, and no more than was in flight is charged
/// beyond it.
#[tokio::test]
async fn what_clients_saw_was_charged_however_often_processes_are_killed() {
    const KILLS: u64 = 10;
    const CLIENTS: u64 = 24;
    let cluster = Cluster::start(1_000_000, "1s").await;
    let seen = Arc::new(AtomicU64::new(0));
    for kill in 1..=KILLS {
        let node = Arc::new(cluster.node().await);
        let until = seen.load(Ordering::SeqCst) + 30 + kill * 7;
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (node, seen) = (Arc::clone(&node), Arc::clone(&seen));
            clients.spawn(async move {
                let status = if client % 4 == 0 { 500 } else { 200 };
                while let Some(answered) = node.status(status, client % 5).await {
                    assert_eq!(answered, status);
                    seen.fetch_add(u64::from(status == 200), Ordering::SeqCst);
                }
            });
        }
        let enough = || async { seen.load(Ordering::SeqCst) >= until };
        eventually_eq(true, enough, "clients see answers").await;
        node.process.kill();
        while let Some(client) = clients.join_next().await {
            client.expect("only its death ends a client");
        }
        let seen = seen.load(Ordering::SeqCst);
        let used = cluster.counter().await.0;
        let in_flight = kill * CLIENTS;
        assert!(
            (seen..=seen + in_flight).contains(&used),
            "{seen} seen, {used} used"
        );
    }
    let used = cluster.counter().await.0;
    eventually_eq((used, 0), || cluster.counter(), "what was held is free").await;
}

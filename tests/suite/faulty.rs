//! A layer over a Redis that fails, and the books that must be right afterwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    routing::get,
};
use http::{HeaderMap, Request, Response, StatusCode};
use quota_layer::{QuotaHandle, QuotaLayer, QuotaState};
use quota_store::{
    CounterKey, CounterStore as _, CounterValue, QuotaName, RedisCounterStore, RedisOptions, Scope,
    SystemClock, Window, WindowSpan,
};
use quota_tests::{
    RedisServer,
    clients::read_whole,
    eventually, eventually_eq,
    layers::{config, requester},
    servers::ADMIN,
    tokens::bearer,
    unique_prefix,
};
use serde_json::Value;
use tokio::sync::{OnceCell, watch};
use tower::ServiceExt as _;

/// What a success costs.
pub(crate) const COST: u64 = 2;
/// How many requests `allow` lets through in one outage.
pub(crate) const ALLOWED: usize = 5;
/// How many requests of one user fit into the share of `local`.
pub(crate) const LOCAL: usize = 4;
/// How long units are held without a renewal.
pub(crate) const TTL: Duration = Duration::from_secs(2);

const CONFIG: &str = r#"
[store]
url = "redis://127.0.0.1:PORT"
prefix = "PREFIX"
timeout = "TIMEOUT"
max_in_flight = 10000
allow_max = 10
local_share = "10%"
[quotas.deny]
unit = "unit"
[quotas.allow]
unit = "unit"
[quotas.local]
unit = "unit"
[plans.free]
default = true
[plans.free.limits]
deny = "1M/lifetime"
allow = "1M/lifetime"
local = "80/lifetime"
[[routes]]
match = "GET /deny/{status}"
charge = { deny = 2 }
[[routes]]
match = "GET /allow/{status}"
charge = { allow = 2 }
on_failure = "allow"
[[routes]]
match = "GET /local/{status}"
charge = { local = 2 }
on_failure = "local"
"#;

/// What becomes of requests while the store is down; also the name of a quota and of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Deny,
    Allow,
    Local,
}

impl Policy {
    pub(crate) const ALL: [Self; 3] = [Self::Deny, Self::Allow, Self::Local];

    fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Local => "local",
        }
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// From the handler, with numbers in the headers.
    Counted(u16),
    /// From the handler, and nobody counted.
    LetThrough(u16),
    /// 503 from the layer.
    Unavailable,
}

/// What the handler answered.
#[derive(Debug, Default)]
struct Handled {
    /// Successes that the layer had counted, by policy.
    counted: [AtomicU64; 3],
}

/// A layer over a Redis of its own, and an application in it.
pub(crate) struct Faulty {
    pub(crate) quota: QuotaLayer,
    pub(crate) prefix: String,
    app: Router,
    handled: Arc<Handled>,
    gate: watch::Sender<bool>,
    server: Arc<RedisServer>,
    books: OnceCell<Books>,
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faulty")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Faulty {
    /// A layer that reaches `server` directly.
    pub(crate) async fn over(server: &Arc<RedisServer>) -> Self {
        Self::at(server, server.port(), "150ms").await
    }

    /// A layer that reaches `server` at another port, such as a proxy's.
    pub(crate) async fn at(server: &Arc<RedisServer>, port: u16, timeout: &str) -> Self {
        Self::with(server, port, timeout, "").await
    }

    /// The same with more lines in `[store]`, instead of the time to live if need be.
    pub(crate) async fn with(
        server: &Arc<RedisServer>,
        port: u16,
        timeout: &str,
        more: &str,
    ) -> Self {
        let prefix = unique_prefix();
        let text = CONFIG
            .replace("PORT", &port.to_string())
            .replace("PREFIX", &prefix)
            .replace("TIMEOUT", timeout)
            .replace("[quotas.deny]", &format!("{more}\n[quotas.deny]"));
        let text = if more.contains("reservation_ttl") {
            text
        } else {
            text.replace("[store]", "[store]\nreservation_ttl = \"2s\"")
        };
        let quota = QuotaLayer::from_config(config(&text))
            .build()
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let handled = Arc::new(Handled::default());
        let (gate, is_open) = watch::channel(true);
        let app = Router::new()
            .route("/{policy}/{status}", get(handle))
            .with_state((Arc::clone(&handled), is_open))
            .layer(quota.clone());
        Self {
            quota,
            prefix,
            app,
            handled,
            gate,
            server: Arc::clone(server),
            books: OnceCell::new(),
        }
    }

    /// Makes the handler hold all requests that it is given from now on, until it is opened.
    pub(crate) fn close_gate(&self) {
        self.gate.send_replace(false);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// One request of alice, whose handler answers `status`.
    pub(crate) fn request(
        &self,
        policy: Policy,
        status: u16,
    ) -> impl Future<Output = Answer> + Send + 'static {
        self.request_of("alice", policy, status, Duration::ZERO)
    }

    /// One request of any user, whose handler takes this long.
    pub(crate) fn request_of(
        &self,
        user: &str,
        policy: Policy,
        status: u16,
        delay: Duration,
    ) -> impl Future<Output = Answer> + Send + 'static {
        let target = format!("/{}/{status}?delay_ms={}", policy.name(), delay.as_millis());
        let request = Request::get(target)
            .header("authorization", bearer(user))
            .body(Body::empty())
            .expect("a request");
        let app = self.app.clone();
        async move {
            let response = app.oneshot(request).await.expect("a router never fails");
            classify(&read_whole(response).await, status)
        }
    }

    /// What the counter of a user says.
    pub(crate) async fn counter(&self, user: &str, policy: Policy) -> CounterValue {
        let open = || Books::open(&self.server, &self.prefix);
        let books = self.books.get_or_init(open).await;
        books.counter(user, policy.name()).await
    }

    /// The units of successes that were counted.
    pub(crate) fn counted(&self, policy: Policy) -> u64 {
        self.handled.counted[policy as usize].load(Ordering::SeqCst) * COST
    }

    /// Waits until one request is counted again.
    pub(crate) async fn recovers(&self) {
        eventually(
            || async { matches!(self.request(Policy::Deny, 200).await, Answer::Counted(200)) },
            "requests are counted again",
        )
        .await;
    }

    /// Waits until everything is settled, and then `used` must be what was counted.
    ///
    /// The store's clock says whether that took longer than the time to live and a second.
    pub(crate) async fn balances(&self, users: &[&str]) {
        let since = store_time(&self.server);
        let found = || async {
            let mut sums = [(0, 0); 3];
            for policy in Policy::ALL {
                for user in users {
                    let value = self.counter(user, policy).await;
                    sums[policy as usize].0 += value.used.get();
                    sums[policy as usize].1 += value.reserved.get();
                }
            }
            sums
        };
        let expected = Policy::ALL.map(|policy| (self.counted(policy), 0));
        eventually_eq(
            expected,
            found,
            "used is what was counted, nothing is reserved",
        )
        .await;
        eventually_eq(
            Vec::new(),
            || async { self.server.litter(&self.prefix) },
            "nothing stays behind",
        )
        .await;
        let took = Duration::from_millis(store_time(&self.server) - since);
        // Half a second for the polling itself.
        let bound = TTL + Duration::from_millis(1_500);
        assert!(took <= bound, "it took {took:?} to settle everything");
        assert_eq!(found().await, expected, "it stays so");
    }
}

/// What the counters of a server say, whoever else may reach it.
pub(crate) struct Books(RedisCounterStore);

impl Books {
    pub(crate) async fn open(server: &RedisServer, prefix: &str) -> Self {
        let url = format!("redis://{}", server.address());
        let mut options = RedisOptions::new(url.parse().expect("an address"));
        options.username = Some(ADMIN.to_owned());
        options.password = Some(ADMIN.to_owned().into());
        options.prefix = prefix.to_owned();
        options.timeout = Duration::from_secs(5);
        let store = RedisCounterStore::connect(options, Arc::new(SystemClock)).await;
        Self(store.unwrap_or_else(|error| panic!("{error}")))
    }

    /// The user's lifetime counter.
    pub(crate) async fn counter(&self, user: &str, quota: &str) -> CounterValue {
        let key = CounterKey {
            scope: Scope::User,
            quota: QuotaName::new(quota).expect("a name"),
            window: Window::Lifetime,
            span: WindowSpan::LIFETIME,
        };
        let (requester, keys) = (requester(user, None), [key]);
        // A server that was restarted is reconnected to in the background.
        let read = || async { Box::pin(self.0.read(&requester, &keys)).await.is_ok() };
        eventually(read, "the counter is read").await;
        let values = Box::pin(self.0.read(&requester, &keys)).await;
        values.unwrap_or_else(|error| panic!("{error}: {error:?}"))[0]
    }
}

/// The server's time in milliseconds.
pub(crate) fn store_time(server: &RedisServer) -> u64 {
    let time = server.cli(&["TIME"]);
    let mut parts = time
        .lines()
        .map(|part| part.parse::<u64>().expect("a time"));
    let (seconds, micros) = (parts.next(), parts.next());
    seconds.expect("seconds") * 1_000 + micros.expect("microseconds") / 1_000
}

type Shared = (Arc<Handled>, watch::Receiver<bool>);

async fn handle(
    State((handled, mut is_open)): State<Shared>,
    Path((policy, status)): Path<(String, u16)>,
    Query(query): Query<Vec<(String, u64)>>,
    quota: QuotaHandle,
) -> StatusCode {
    if !*is_open.borrow_and_update() {
        is_open
            .wait_for(|open| *open)
            .await
            .expect("the gate outlives its requests");
    }
    let delay: u64 = query.iter().map(|(_, value)| value).sum();
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let status = StatusCode::from_u16(status).expect("a status");
    // Nothing waits after this: the head reaches the layer.
    if status.is_success() && quota.state() != QuotaState::Unavailable {
        let policy = Policy::ALL.into_iter().find(|one| one.name() == policy);
        let counter = &handled.counted[policy.expect("a policy") as usize];
        counter.fetch_add(1, Ordering::SeqCst);
    }
    status
}

/// Tells answers apart, and checks that each says what the contract wants.
fn classify(response: &Response<bytes::Bytes>, expected: u16) -> Answer {
    let status = response.status().as_u16();
    let headers = response.headers();
    let is_unavailable = text(headers, "x-quota-state") == Some("unavailable");
    if status == 503 {
        assert!(is_unavailable, "{response:?}");
        let wait = text(headers, "retry-after").map(str::parse::<u64>);
        assert!(matches!(wait, Some(Ok(1..=3))), "{response:?}");
        assert_eq!(
            text(headers, "content-type"),
            Some("application/problem+json")
        );
        let problem: Value = serde_json::from_slice(response.body()).expect("a problem");
        assert_eq!(
            problem["type"],
            "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
        );
        assert_eq!(problem["reason"], "unavailable");
        assert!(text(headers, "x-quota-used").is_none(), "{response:?}");
        let body = problem.to_string().to_lowercase();
        for inner in ["redis", "127.0.0.1", "breaker", "quota:"] {
            assert!(!body.contains(inner), "{body}");
        }
        return Answer::Unavailable;
    }
    assert_eq!(
        status, expected,
        "a failure of the store is 503 or nothing: {response:?}"
    );
    if is_unavailable {
        let numbers = [
            "x-quota-used",
            "x-quota-remaining",
            "x-quota-limit",
            "ratelimit",
        ];
        for name in numbers {
            assert!(text(headers, name).is_none(), "{response:?}");
        }
        Answer::LetThrough(status)
    } else {
        assert!(text(headers, "x-quota-used").is_some(), "{response:?}");
        Answer::Counted(status)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

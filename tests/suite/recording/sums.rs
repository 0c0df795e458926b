//! Counters, the ledger and what clients saw agree, whatever the load was.

use std::sync::Arc;

use axum::{Router, extract::Path, routing};
use http::StatusCode;
use quota_layer::QuotaHandle;
use quota_store::{
    Scope,
    ledger::{Attempt, Outcome},
};
use quota_tests::{
    eventually, eventually_eq,
    layers::{Store, requester},
    requests::{get_as, status},
    tokens::Claims,
};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::{Kept, Recorded};

const TENANTS: usize = 20;
const USERS: usize = 10;
const REQUESTS: usize = 10;

/// A user of every tenant that succeeds with nothing.
const FIRST: &str = "first";

const CONFIG: &str = r#"
[store]
timeout = "5s"
settle = "SETTLE"
max_in_flight = 1000
[ledger]
url = "none"
[quotas.units]
[plans.free]
default = true
limits.units = ["1M/month", "10M/lifetime"]
tenant_limits.units = "10M/month"
[[routes]]
match = "GET /work/{cost}/{ending}"
charge = { units = { reserve = 4, actual = "handler" } }
"#;

/// How a handler ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Success,
    Failure,
    Panic,
    Abort,
}

impl Ending {
    /// 55 % of successes, 30 % failures, 5 % panics, 10 % aborts.
    fn of(number: usize) -> Self {
        match number % 20 {
            0..=5 => Self::Failure,
            6 => Self::Panic,
            7..=8 => Self::Abort,
            _ => Self::Success,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Panic => "panic",
            Self::Abort => "abort",
        }
    }
}

async fn work(
    quota: QuotaHandle,
    Path((cost, ending)): Path<(i64, String)>,
) -> Result<(), StatusCode> {
    quota.report("units", cost);
    tokio::task::yield_now().await;
    match ending.as_str() {
        "success" => Ok(()),
        "failure" => Err(StatusCode::BAD_GATEWAY),
        "abort" => std::future::pending().await,
        _ => panic!("as a handler with a bug does"),
    }
}

/// Sends one request, and gives what its 2xx cost.
async fn attempt(app: Router, claims: Claims, number: usize) -> u64 {
    let cost = u64::try_from(number * 5 % 7 + 1).unwrap();
    let ending = Ending::of(number);
    let request = get_as(&format!("/work/{cost}/{}", ending.path()), &claims);
    let call = tokio::spawn(app.oneshot(request));
    if ending == Ending::Abort {
        for _ in 0..number % 50 {
            tokio::task::yield_now().await;
        }
        call.abort();
    }
    match call.await {
        Ok(Ok(response)) if response.status().is_success() => cost,
        _ => 0,
    }
}

/// The units of the 2xx of each user, by tenant.
async fn load(app: &Router) -> Vec<Vec<u64>> {
    let mut users = JoinSet::new();
    for tenant in 0..TENANTS {
        for user in 0..USERS {
            let app = app.clone();
            let claims =
                Claims::user(&format!("user {user}")).with_org(&format!("tenant {tenant}"));
            users.spawn(async move {
                let first = (tenant * USERS + user) * 13;
                let mut sum = 0;
                for number in first..first + REQUESTS {
                    sum += attempt(app.clone(), claims.clone(), number).await;
                }
                (tenant, user, sum)
            });
        }
    }
    let mut sums = vec![vec![0; USERS]; TENANTS];
    while let Some(done) = users.join_next().await {
        let (tenant, user, sum) = done.unwrap();
        sums[tenant][user] = sum;
    }
    sums
}

/// Waits until the counters of a tenant are served: those of a new Redis are only once its epochs
/// are in the ledger.
async fn serves(app: &Router, tenant: &str) {
    let claims = Claims::user(FIRST).with_org(tenant);
    let target = format!("/work/1/{}", Ending::Failure.path());
    let fails = || async { status(app, get_as(&target, &claims)).await == 502 };
    eventually(fails, "the counters are served").await;
}

fn charged(records: &[Attempt]) -> i64 {
    let charges = records.iter().flat_map(|record| &record.charges);
    charges.map(|charge| charge.charged).sum()
}

async fn all_sums_agree(store: Store, kept: Kept, settle: &str) {
    let recorded = Recorded::start(store, kept, &CONFIG.replace("SETTLE", settle)).await;
    let recorded = Arc::new(recorded);
    let layered = &recorded.layered;
    let app = Router::new()
        .route("/work/{cost}/{ending}", routing::get(work))
        .layer(layered.quota.clone());
    for tenant in 0..TENANTS {
        serves(&app, &format!("tenant {tenant}")).await;
    }
    let sums = load(&app).await;
    layered.quota.shutdown().await;
    assert!(sums.iter().flatten().sum::<u64>() > 1_000);
    for (tenant, users) in sums.iter().enumerate() {
        let name = format!("tenant {tenant}");
        let total: u64 = users.iter().sum();
        let anybody = requester("user 0", Some(&name));
        let used = || async {
            let value = layered
                .counter(&anybody, Scope::Tenant, "units", "month")
                .await;
            (value.used.get(), value.reserved.get())
        };
        eventually_eq(
            (total, 0),
            used,
            "the tenant's counter says what its users saw",
        )
        .await;
        let sum = || async { charged(&super::all(&*recorded.ledger, Some(&name)).await) };
        let total = i64::try_from(total).unwrap();
        eventually_eq(total, sum, "the ledger says what its users saw").await;
        let records = super::all(&*recorded.ledger, Some(&name)).await;
        for (user, sum) in users.iter().enumerate() {
            check_user(&recorded, &format!("user {user}"), &name, *sum).await;
        }
        let successes = records
            .iter()
            .filter(|record| record.outcome == Outcome::Committed)
            .count();
        assert_eq!(successes, successes_of(tenant), "{name}");
        // One record for each attempt, but for those that were gone before they reached the layer.
        let of_load = |record: &&Attempt| record.user.as_ref().unwrap().as_str() != FIRST;
        assert!(
            records.iter().filter(of_load).count() <= USERS * REQUESTS,
            "{name}"
        );
    }
}

fn successes_of(tenant: usize) -> usize {
    let users = (0..USERS).map(|user| (tenant * USERS + user) * 13);
    users
        .flat_map(|first| first..first + REQUESTS)
        .filter(|number| Ending::of(*number) == Ending::Success)
        .count()
}

/// The user's counters and the ledger's balances say what its client saw.
async fn check_user(recorded: &Recorded, user: &str, tenant: &str, sum: u64) {
    let requester = requester(user, Some(tenant));
    for window in ["month", "lifetime"] {
        let key = recorded.layered.key(Scope::User, "units", window);
        let value = recorded
            .layered
            .store
            .read(&requester, std::slice::from_ref(&key))
            .await
            .unwrap()[0];
        assert_eq!(
            (value.used.get(), value.reserved.get()),
            (sum, 0),
            "{user} of {tenant}"
        );
        let balance = recorded.ledger.used(&requester, &[key]).await.unwrap()[0];
        assert_eq!(balance.get(), sum, "{user} of {tenant}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_and_sqlite() {
    all_sums_agree(Store::Memory, Kept::Sqlite, "before-response").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_and_sqlite_in_the_background() {
    all_sums_agree(Store::Memory, Kept::Sqlite, "background").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redis_and_sqlite() {
    all_sums_agree(Store::Redis, Kept::Sqlite, "before-response").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redis_and_postgres() {
    all_sums_agree(Store::Redis, Kept::Postgres, "background").await;
}

//! What administrators change holds with the very next request, in every process.

mod adjusting;
mod assigning;
mod counting;
mod identifying;
mod listing;
mod outages;
mod plans;
mod traffic;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{Router, routing};
use bytes::Bytes;
use http::Response;
use quota_layer::{
    QuotaLayer,
    administration::{
        AdjustTo, Adjustment, Administration, ChangeAt, ChangeRule, Doing, Expires, PlanChange,
    },
};
use quota_store::{
    Amount, Bound, Clock, DynCounterStore, ManualClock, MemoryCounterStore, MemoryOptions,
    PlanName, QuotaName, RedisCounterStore, RedisOptions, Requester, Subject, SystemClock,
    TenantId, UnixMillis, Window,
    directory::{Directory, Status},
    ledger::{AuditQuery, Ledger, Span, SqliteLedger, SqliteOptions, Target},
};
use quota_tests::{
    layers::{Store, config, requester},
    requests::{get_as, header, send},
    servers::shared_redis,
    tokens::Claims,
    unique_prefix,
};
use tempfile::TempDir;

/// Plans of which one follows the other.
const PLANS: &str = r#"
[store]
timeout = "5s"
[quotas.messages]
[quotas.images]
[plans.free]
default = true
limits.messages = "5/day"
[plans.pro]
order = 1
limits.messages = ["20/day", "100/month"]
limits.images = "10/month"
[plans.open]
order = 2
limits.messages = "unlimited"
[plans.old]
enabled = false
order = 3
limits.messages = "7/day"
[[routes]]
match = "GET /chat"
charge = { messages = 1 }
[[routes]]
match = "GET /fail"
charge = { messages = 1 }
[[routes]]
match = "GET /draw"
charge = { images = 1 }
"#;

/// A process with a ledger in a file, an application, and those who administer it.
struct Office {
    folder: Arc<TempDir>,
    prefix: String,
    toml: String,
    kind: Store,
    store: Arc<dyn DynCounterStore>,
    ledger: Arc<SqliteLedger>,
    quota: QuotaLayer,
    app: Router,
    admin: Administration,
    /// Gives every act an id of its own.
    acts: AtomicU64,
}

impl Office {
    async fn new(kind: Store) -> Self {
        Self::with(kind, PLANS).await
    }

    async fn with(kind: Store, toml: &str) -> Self {
        Self::at(kind, toml, Arc::new(SystemClock)).await
    }

    async fn at(kind: Store, toml: &str, clock: Arc<dyn Clock>) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        Self::over((kind, unique_prefix()), toml, folder, clock).await
    }

    /// Another process on the same file, and the same Redis.
    async fn another(&self) -> Self {
        let place = (self.kind, self.prefix.clone());
        let folder = Arc::clone(&self.folder);
        Self::over(place, &self.toml, folder, Arc::new(SystemClock)).await
    }

    async fn over(
        (kind, prefix): (Store, String),
        toml: &str,
        folder: Arc<TempDir>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let options = SqliteOptions::new(folder.path().join("quota.db"));
        let ledger = Arc::new(SqliteLedger::open(options).await.expect("it opens"));
        let store: Arc<dyn DynCounterStore> = match kind {
            Store::Memory => Arc::new(MemoryCounterStore::new(
                &MemoryOptions::default(),
                Arc::clone(&clock),
            )),
            Store::Redis => {
                let url = shared_redis().url();
                let mut options = RedisOptions::new(url.parse().expect("an address"));
                options.prefix.clone_from(&prefix);
                options.timeout = std::time::Duration::from_secs(5);
                options.ledger = Some(Arc::clone(&ledger) as Arc<dyn Ledger>);
                let connected = RedisCounterStore::connect(options, Arc::new(SystemClock)).await;
                Arc::new(connected.unwrap_or_else(|error| panic!("{error}")))
            }
        };
        let quota = QuotaLayer::from_config(config(toml))
            .store(Arc::clone(&store))
            .ledger(
                Arc::clone(&ledger) as Arc<dyn Ledger>,
                Arc::clone(&ledger) as Arc<dyn Directory>,
            )
            .clock(clock)
            .build()
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let fail = async || http::StatusCode::IM_A_TEAPOT;
        let app = Router::new()
            .route("/fail", routing::get(fail))
            .route("/{anything}", routing::get(async || "hello"))
            .layer(quota.clone());
        Self {
            folder,
            prefix,
            toml: toml.to_owned(),
            kind,
            store,
            ledger,
            admin: quota.administration(),
            quota,
            app,
            acts: AtomicU64::new(0),
        }
    }

    async fn get(&self, path: &str, claims: &Claims) -> Response<Bytes> {
        send(&self.app, get_as(path, claims)).await
    }

    /// Plan, limit and used, as the headers of the next request tell them.
    async fn told(&self, user: &str) -> (String, String, String) {
        let response = self.get("/chat", &Claims::user(user)).await;
        let word = |name: &str| header(&response, &format!("x-quota-{name}")).to_owned();
        (word("plan"), word("limit"), word("used"))
    }

    async fn status(&self, path: &str, user: &str) -> u16 {
        let response = self.get(path, &Claims::user(user)).await;
        response.status().as_u16()
    }

    /// An act of its own, for a reason.
    fn doing(&self) -> Doing {
        // Only unique within a test.
        let number = self.acts.fetch_add(1, Ordering::Relaxed);
        Doing {
            id: uuid::Uuid::from_u128(u128::from(number) + 1),
            actor: "token 1".to_owned(),
            reason: "a test".to_owned(),
            idempotency_key: None,
        }
    }

    async fn assign(&self, who: &str, plan: &str, rule: ChangeRule) {
        let change = PlanChange {
            rule,
            ..change_to(plan)
        };
        self.admin
            .assign(&user(who), &change, &self.doing())
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }

    async fn adjust(&self, who: &str, to: AdjustTo, expires: Expires) {
        let adjustment = Adjustment {
            expires,
            ..messages_a_day(to)
        };
        self.admin
            .adjust(&user(who), &adjustment, &self.doing())
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// How many acts the audit log tells of a user.
    async fn audits(&self, who: &str) -> Vec<quota_store::ledger::Audit> {
        let query = AuditQuery {
            tenant: None,
            target: Some(Target::User(requester(who, None).user)),
            actor: None,
            action: None,
            span: Span::ALL,
            after: None,
            limit: 100,
        };
        self.ledger.audits(&query).await.expect("it answers").rows
    }
}

fn told(plan: &str, limit: &str, used: &str) -> (String, String, String) {
    (plan.to_owned(), limit.to_owned(), used.to_owned())
}

fn user(who: &str) -> Subject {
    Subject::User {
        tenant: None,
        user: requester(who, None).user,
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant's id")
}

fn plan(name: &str) -> PlanName {
    PlanName::new(name).expect("a plan's name")
}

fn quota(name: &str) -> QuotaName {
    QuotaName::new(name).expect("a quota's name")
}

fn at_most(units: u64) -> Bound {
    Bound::AtMost(Amount::new(units).expect("an amount"))
}

fn change_to(name: &str) -> PlanChange {
    PlanChange {
        plan: plan(name),
        rule: ChangeRule::Carry,
        at: ChangeAt::Now,
        anchor: None,
        timezone: None,
        starts_at: None,
        ends_at: None,
        then: None,
        status: Status::Active,
    }
}

fn messages_a_day(to: AdjustTo) -> Adjustment {
    Adjustment {
        quota: quota("messages"),
        window: Window::Day,
        to,
        expires: Expires::Never,
    }
}

/// A clock that stands at noon of the 11th of a month of thirty days.
fn noon() -> (Arc<ManualClock>, UnixMillis) {
    // 2026-04-11T12:00:00Z.
    let now = UnixMillis::from_seconds(1_775_908_800);
    (Arc::new(ManualClock::new(now)), now)
}

fn none(who: &str) -> Requester {
    requester(who, None)
}

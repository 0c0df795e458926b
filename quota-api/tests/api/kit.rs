//! Both APIs over a ledger in a file, and what clients see of them.

use std::sync::Arc;

use axum::{Router, body::Body};
use http::{HeaderMap, Request, StatusCode, header};
use quota_layer::{Config, QuotaIdentity, QuotaLayer};
use quota_store::{
    Amount, Clock, ManualClock, MemoryCounterStore, MemoryOptions, ReservationId, TenantId,
    UnixMillis, UserId,
    ledger::{
        Attempt, Batch, Charged, DeniedBy, Ledger, Outcome, PlanAtTheTime, PlanSource,
        SqliteLedger, SqliteOptions,
    },
};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tower::ServiceExt as _;

/// 2026-01-15 12:00 UTC.
pub(crate) const NOW: UnixMillis = UnixMillis::from_seconds(1_768_478_400);

/// The tokens of the configuration.
pub(crate) const TOKEN: &str = "the first admin token of the tests";
pub(crate) const OLD_TOKEN: &str = "the admin token that is rotated out";
pub(crate) const READ_ONLY: &str = "the admin token that only looks";
pub(crate) const ACME: &str = "the admin token of the tenant acme";

/// The quotas of the tests, with `[admin]` by tokens and roles.
const CONFIG: &str = r#"
[identity]
from = "application"
require_tenant = true
[responses]
upgrade_url = "https://example.com/pricing"
[quotas.messages]
[quotas.storage]
unit = "byte"
[plans.free]
default = true
title = { en = "Free", fr = "Gratuit" }
order = 1
limits.messages = ["5/day", "150/month"]
limits.storage = "1M/month"
tenant_limits.messages = "1K/day"
[plans.pro]
extends = "free"
title = { en = "Pro", fr = "Pro" }
price = { amount = "7000", currency = "XAF", per = "month" }
order = 2
features = ["document_sourcing"]
limits.messages = "unlimited"
[plans.secret]
extends = "free"
visible = false
[plans.gone]
extends = "free"
enabled = false
"#;

/// An application with both APIs.
pub(crate) struct Kit {
    pub(crate) layer: QuotaLayer,
    pub(crate) router: Router,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ledger: Arc<SqliteLedger>,
    // Removed when the test ends.
    folder: TempDir,
}

/// What a client sees.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Kit {
    /// With everybody in `[admin]`.
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With more in the configuration.
    pub(crate) async fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            format!("\"file:{}\"", path.display())
        };
        let admin = format!(
            "[admin]\ntokens = [{}, {}]\nread_only_tokens = [{}]\ntenant_tokens = {{ acme = [{}] }}\n\
             roles = [\"quota_admin\"]\n",
            secret("token", TOKEN),
            secret("old", OLD_TOKEN),
            secret("read", READ_ONLY),
            secret("acme", ACME),
        );
        Self::over(folder, &format!("{CONFIG}{admin}{more}")).await
    }

    /// With a role that may administer, and another `[identity]`.
    pub(crate) async fn with_identity(identity: &str) -> Self {
        let usual = "from = \"application\"\nrequire_tenant = true";
        let config = CONFIG.replace(usual, identity);
        let config = format!("{config}[admin]\nroles = [\"quota_admin\"]\n");
        Self::over(tempfile::tempdir().unwrap(), &config).await
    }

    /// Without `[admin]`.
    pub(crate) async fn without_admin() -> Self {
        Self::over(tempfile::tempdir().unwrap(), CONFIG).await
    }

    async fn over(folder: TempDir, config: &str) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let path = folder.path().join("ledger.sqlite");
        let ledger = Arc::new(SqliteLedger::open(SqliteOptions::new(path)).await.unwrap());
        let store = MemoryCounterStore::new(
            &MemoryOptions::default(),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let config = Config::from_toml(config).unwrap_or_else(|errors| panic!("{errors}"));
        let layer = QuotaLayer::from_config(config)
            .store(Arc::new(store))
            .ledger(ledger.clone(), ledger.clone())
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .build()
            .await
            .unwrap();
        Self {
            router: quota_api::router(&layer),
            layer,
            clock,
            ledger,
            folder,
        }
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Seen {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Seen {
            status: parts.status,
            headers: parts.headers,
            body: body.into(),
        }
    }

    /// Asks as the administrator with the first token.
    pub(crate) async fn get(&self, path: &str) -> Seen {
        self.send(with_token("GET", path, TOKEN)).await
    }

    /// Sends a body as the administrator with the first token.
    pub(crate) async fn write(&self, method: &str, path: &str, body: &Value) -> Seen {
        self.send(with_body(method, path, TOKEN, body)).await
    }

    /// Overwrites the ledger's file, so that nothing in it can be read any more.
    pub(crate) fn break_ledger(&self) {
        for name in ["ledger.sqlite", "ledger.sqlite-wal"] {
            let path = self.folder.path().join(name);
            let length = std::fs::metadata(&path).unwrap().len();
            let nonsense = vec![0xa5; usize::try_from(length).unwrap()];
            let file = std::fs::OpenOptions::new().write(true).open(&path);
            std::io::Write::write_all(&mut file.unwrap(), &nonsense).unwrap();
        }
    }

    /// Puts attempts into the ledger.
    pub(crate) async fn record(&self, attempts: Vec<Attempt>) {
        let batch = Batch {
            attempts,
            ..Batch::default()
        };
        self.ledger.append(Arc::new(batch)).await.unwrap();
    }
}

impl Seen {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// It is a problem of this status and reason.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, reason: &str) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(
            self.header(header::CONTENT_TYPE),
            "application/problem+json"
        );
        assert_eq!(self.header(header::CACHE_CONTROL), "no-store");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["reason"], reason, "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        self
    }

    #[track_caller]
    pub(crate) fn assert_ok(&self) -> &Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self
    }
}

/// A request without anybody.
pub(crate) fn bare(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path)
}

/// A request with an admin token.
pub(crate) fn with_token(method: &str, path: &str, token: &str) -> Request<Body> {
    bare(method, path)
        .header("x-admin-token", token)
        .body(Body::empty())
        .unwrap()
}

/// The same with a body.
pub(crate) fn with_body(method: &str, path: &str, token: &str, body: &Value) -> Request<Body> {
    bare(method, path)
        .header("x-admin-token", token)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// A request of a user.
pub(crate) fn as_user(method: &str, path: &str, identity: QuotaIdentity) -> Request<Body> {
    bare(method, path)
        .extension(identity)
        .body(Body::empty())
        .unwrap()
}

/// An attempt that was charged one message, `seconds` before [`NOW`].
pub(crate) fn attempt(tenant: Option<&str>, user: &str, seconds: u64) -> Attempt {
    let at = UnixMillis::from_seconds(NOW.seconds() - seconds);
    Attempt {
        id: ReservationId::generate(at),
        outcome: Outcome::Committed,
        at,
        tenant: tenant.map(|tenant| TenantId::new(tenant).unwrap()),
        user: Some(UserId::new(user).unwrap()),
        plan: Some(PlanAtTheTime {
            plan: "free".parse().unwrap(),
            source: PlanSource::Default,
        }),
        rule: Some("POST /chat".to_owned()),
        charges: vec![Charged {
            quota: "messages".parse().unwrap(),
            reserved: Amount::ONE,
            charged: 1,
        }],
        status: Some(200),
        cause: None,
        latency: Some(std::time::Duration::from_micros(1234)),
        tags: [("model".to_owned(), "gpt".to_owned())].into(),
        metadata: Map::new(),
        request_id: None,
        client_ip: None,
        user_agent: None,
        revision: "0123456789ab".to_owned(),
        denial: None,
        count: std::num::NonZeroU32::MIN,
    }
}

/// The same, but it was denied.
pub(crate) fn denied(tenant: Option<&str>, user: &str, seconds: u64) -> Attempt {
    let mut attempt = attempt(tenant, user, seconds);
    attempt.outcome = Outcome::Denied;
    attempt.charges[0].charged = 0;
    attempt.status = Some(429);
    attempt.denial = Some(DeniedBy {
        policy: "messages-day".to_owned(),
        scope: quota_store::Scope::User,
        limit: quota_store::Bound::AtMost(Amount::saturating(5)),
        hard: quota_store::Bound::AtMost(Amount::saturating(5)),
        used: Amount::saturating(5),
        reserved: Amount::ZERO,
        requested: Amount::ONE,
    });
    attempt
}

/// A user with a role that may administer.
pub(crate) fn admin(user: &str) -> QuotaIdentity {
    QuotaIdentity::new(user).with_roles(["quota_admin"])
}

/// The counter of messages of the day, as alice of no tenant sees it.
pub(crate) async fn messages(kit: &Kit) -> Value {
    let request = as_user("GET", "/quota/status", QuotaIdentity::new("alice"));
    let status = kit.send(request).await.assert_ok().json();
    let quotas = status["quotas"].as_array().unwrap();
    let quota = quotas.iter().find(|quota| quota["quota"] == "messages");
    quota.unwrap()["counters"][0].clone()
}

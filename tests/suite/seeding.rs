//! A counter that comes into being by a change of configuration begins with the ledger.

use std::path::PathBuf;

use axum::{Router, routing};
use quota_layer::{QuotaLayer, administration::Doing};
use quota_store::{Subject, ledger::Span};
use quota_tests::{
    eventually,
    layers::{Store, identity, requester},
    requests::{get_as, header, send},
    servers::shared_redis,
    tokens::Claims,
    unique_prefix,
};

/// An application with a configuration file and a ledger, as its users run it.
struct Site {
    kind: Store,
    prefix: String,
    folder: std::sync::Arc<tempfile::TempDir>,
    running: Running,
}

struct Running {
    quota: QuotaLayer,
    app: Router,
}

impl Running {
    async fn start(path: PathBuf) -> Option<Self> {
        let quota = QuotaLayer::from_file(path).await.ok()?;
        let app = Router::new()
            .route("/chat", routing::get(async || "hello"))
            .layer(quota.clone());
        Some(Self { quota, app })
    }

    /// The status of one more request, and what it says was used.
    async fn ask(&self, claims: &Claims) -> (u16, String) {
        let response = send(&self.app, get_as("/chat", claims)).await;
        let used = header(&response, "x-quota-used").to_owned();
        (response.status().as_u16(), used)
    }

    async fn asks(&self, claims: &Claims, count: u32) {
        for _ in 0..count {
            assert_eq!(self.ask(claims).await.0, 200);
        }
    }
}

impl Site {
    async fn start(kind: Store, free: &str) -> Self {
        let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
        let prefix = unique_prefix();
        write(kind, &prefix, &folder, free);
        let running = Running::start(folder.path().join("quota.toml")).await;
        Self {
            kind,
            prefix,
            folder,
            running: running.expect("it starts"),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("quota.toml")
    }

    /// Another process on the same file.
    async fn another(&self) -> Running {
        Running::start(self.path()).await.expect("it starts")
    }

    fn write(&self, free: &str) {
        write(self.kind, &self.prefix, &self.folder, free);
    }

    async fn reload(&self, free: &str) {
        self.write(free);
        self.running.quota.reload().await.unwrap();
    }

    /// Waits until the ledger says what a user without a tenant was charged.
    async fn recorded(&self, user: &str, count: u64) {
        let admin = self.running.quota.administration();
        let subject = subject(user);
        let quota = quota_store::QuotaName::new("messages").unwrap();
        let is_there = || async {
            let ledger = admin.ledger().unwrap();
            let charged = ledger.charged(&subject, &quota, Span::ALL).await;
            charged.unwrap().get() == count
        };
        eventually(is_there, "the ledger has it all").await;
    }

    /// Ends the process, and starts another one.
    async fn restart(self) -> Self {
        let Self {
            kind,
            prefix,
            folder,
            running,
        } = self;
        running.quota.shutdown().await;
        drop(running);
        let started = std::sync::Mutex::new(None);
        let path = folder.path().join("quota.toml");
        let starts = || async {
            // The file is the process's that ended until its last task has.
            let running = Running::start(path.clone()).await;
            let is_there = running.is_some();
            *started.lock().unwrap() = running;
            is_there
        };
        Box::pin(eventually(starts, "it starts again")).await;
        let running = started.into_inner().unwrap();
        Self {
            kind,
            prefix,
            folder,
            running: running.expect("it runs"),
        }
    }
}

fn write(kind: Store, prefix: &str, folder: &tempfile::TempDir, free: &str) {
    let url = match kind {
        Store::Memory => "memory:".to_owned(),
        Store::Redis => shared_redis().url(),
    };
    let text = format!(
        "{}\n[store]\nurl = \"{url}\"\nprefix = \"{prefix}\"\ntimeout = \"5s\"\n\
         [quotas.messages]\n[plans.free]\ndefault = true\n{free}\n\
         [[routes]]\nmatch = \"GET /chat\"\ncharge = {{ messages = 1 }}\n",
        identity()
    );
    let new = folder.path().join("quota.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, folder.path().join("quota.toml")).unwrap();
}

const DAY: &str = "limits.messages = \"5/day\"";
const HALF_DAY: &str = "limits.messages = \"5/12h\"";
const DAY_IN_PARIS: &str = "timezone = \"Europe/Paris\"\nlimits.messages = \"5/day\"";

fn subject(user: &str) -> Subject {
    Subject::User {
        tenant: None,
        user: requester(user, None).user,
    }
}

fn used(status: u16, used: &str) -> (u16, String) {
    (status, used.to_owned())
}

async fn a_reload_to_another_window_refills_nobody(store: Store) {
    let alice = Claims::user("alice");
    let site = Site::start(store, DAY).await;
    site.running.asks(&alice, 3).await;
    site.reload(HALF_DAY).await;
    assert_eq!(site.running.ask(&alice).await, used(200, "4"));
    assert_eq!(site.running.ask(&alice).await, used(200, "5"));
    assert_eq!(site.running.ask(&alice).await, used(429, "5"));
    // What the first window did not see is not lost to it either.
    site.reload(DAY).await;
    assert_eq!(site.running.ask(&alice).await, used(429, "5"));
    let bob = Claims::user("bob");
    assert_eq!(site.running.ask(&bob).await, used(200, "1"));
}

async fn a_reload_to_another_time_zone_refills_nobody(store: Store) {
    let alice = Claims::user("alice");
    let site = Site::start(store, DAY).await;
    site.running.asks(&alice, 5).await;
    site.reload(DAY_IN_PARIS).await;
    assert_eq!(site.running.ask(&alice).await, used(429, "5"));
}

async fn a_restart_with_another_file_refills_nobody(store: Store) {
    let alice = Claims::user("alice");
    let site = Site::start(store, DAY).await;
    site.running.asks(&alice, 4).await;
    site.recorded("alice", 4).await;
    site.write(HALF_DAY);
    let site = Box::pin(site.restart()).await;
    assert_eq!(site.running.ask(&alice).await, used(200, "5"));
    assert_eq!(site.running.ask(&alice).await, used(429, "5"));
    let site = Box::pin(site.restart()).await;
    assert_eq!(site.running.ask(&alice).await, used(429, "5"));
}

async fn a_tenant_is_not_refilled(store: Store) {
    let tenant = |window: &str| {
        format!("limits.messages = \"unlimited\"\ntenant_limits.messages = \"5/{window}\"")
    };
    let member = |name: &str| Claims::user(name).with_org("acme");
    let site = Site::start(store, &tenant("day")).await;
    site.running.asks(&member("alice"), 2).await;
    site.running.asks(&member("bob"), 2).await;
    site.reload(&tenant("12h")).await;
    assert_eq!(site.running.ask(&member("carol")).await, used(200, "5"));
    assert_eq!(site.running.ask(&member("alice")).await, used(429, "5"));
}

async fn a_reset_stays_through_reloads_and_restarts(store: Store) {
    let alice = Claims::user("alice");
    let site = Site::start(store, DAY).await;
    site.running.asks(&alice, 3).await;
    site.reload(HALF_DAY).await;
    // Nobody has asked since: the reset is of what the new window begins with.
    let doing = Doing {
        id: uuid::Uuid::from_u128(1),
        actor: "token 1".to_owned(),
        reason: "a test".to_owned(),
        idempotency_key: None,
    };
    let subject = subject("alice");
    let admin = site.running.quota.administration();
    let reset = admin.reset(&subject, None, None, &doing).await.unwrap();
    assert_eq!(reset[0].used_before.get(), 3);
    drop(admin);
    assert_eq!(site.running.ask(&alice).await, used(200, "1"));
    let site = Box::pin(site.restart()).await;
    assert_eq!(site.running.ask(&alice).await, used(200, "2"));
}

#[tokio::test]
async fn two_processes_let_a_counter_begin_once() {
    let alice = Claims::user("alice");
    let site = Site::start(Store::Redis, "limits.messages = \"50/day\"").await;
    let other = site.another().await;
    site.running.asks(&alice, 10).await;
    other.asks(&alice, 10).await;
    site.recorded("alice", 20).await;
    site.reload("limits.messages = \"50/12h\"").await;
    other.quota.reload().await.unwrap();
    let asks = (0..10).map(|number| match number % 2 {
        0 => site.running.ask(&alice),
        _ => other.ask(&alice),
    });
    let answers = futures_util::future::join_all(asks).await;
    assert!(answers.iter().all(|(status, _)| *status == 200));
    assert_eq!(site.running.ask(&alice).await, used(200, "31"));
}

on_both_stores! {
    a_reload_to_another_window_refills_nobody,
    a_reload_to_another_time_zone_refills_nobody,
    a_restart_with_another_file_refills_nobody,
    a_tenant_is_not_refilled,
    a_reset_stays_through_reloads_and_restarts,
}

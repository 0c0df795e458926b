//! A store on a server, and words to speak to it.

use std::{sync::Arc, time::Duration};

use quota_store::{
    Act, Administered, Allowed, Amount, Bound, Clock as _, Commit, CounterKey, CounterStore as _,
    CounterValue, Decision, Hold, KnownGeneration, Operation, OperationId, Orphans, QuotaName,
    RedisCounterStore, RedisOptions, Requester, Reservation, ReservationId, Reserve, Scope, Sends,
    Settled, StoreError, SystemClock, TenantId, UnixMillis, UserId, Window, WindowSpan,
};
use uuid::Uuid;

use crate::server::Server;

pub(crate) struct Kit {
    pub(crate) server: Server,
    pub(crate) store: Arc<RedisCounterStore>,
}

pub(crate) fn options(url: &str) -> RedisOptions {
    RedisOptions {
        timeout: Duration::from_secs(5),
        ..RedisOptions::new(url.parse().unwrap())
    }
}

pub(crate) async fn connect(options: RedisOptions) -> Arc<RedisCounterStore> {
    let store = RedisCounterStore::connect(options, Arc::new(SystemClock)).await;
    Arc::new(store.unwrap())
}

impl Kit {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(arguments: &[&str]) -> Self {
        let server = Server::start(arguments).await;
        let store = connect(options(&server.url())).await;
        Self { server, store }
    }

    pub(crate) async fn reserve(&self, request: &Arc<Reserve>) -> Decision {
        self.store.reserve(request, Sends::Once).await.unwrap()
    }

    pub(crate) async fn allowed(&self, request: &Arc<Reserve>) -> Allowed {
        allowed(self.store.reserve(request, Sends::Once).await)
    }

    pub(crate) async fn commit(&self, reservation: &Reservation, amounts: &[u64]) -> Settled {
        let commit = Commit {
            reservation: reservation.clone(),
            amounts: amounts.iter().map(|&units| amount(units)).collect(),
            attempt: None,
        };
        self.store.commit(&commit).await.unwrap()
    }

    pub(crate) async fn read(
        &self,
        requester: &Requester,
        counters: &[CounterKey],
    ) -> Vec<(u64, u64)> {
        let values = self.store.read(requester, counters).await.unwrap();
        numbers(&values)
    }

    pub(crate) async fn administer(&self, requester: &Requester, act: Act) -> Administered {
        let operation = Operation {
            id: OperationId(Uuid::from_u128(rand::random())),
            requester: requester.clone(),
            act,
        };
        self.store.administer(&operation).await.unwrap()
    }

    /// All keys with their remaining life in milliseconds, -1 for ever.
    pub(crate) async fn keys(&self) -> Vec<(String, i64)> {
        let mut keys: Vec<String> = self.server.run("KEYS *").await;
        keys.sort();
        let mut lives = Vec::new();
        for key in keys {
            let life = self.server.run(&format!("PTTL {key}")).await;
            lives.push((key, life));
        }
        lives
    }
}

pub(crate) fn allowed(decision: Result<Decision, StoreError>) -> Allowed {
    match decision {
        Ok(Decision::Allowed(allowed)) => allowed,
        other => panic!("not allowed: {other:?}"),
    }
}

pub(crate) fn numbers(values: &[CounterValue]) -> Vec<(u64, u64)> {
    values
        .iter()
        .map(|value| (value.used.get(), value.reserved.get()))
        .collect()
}

/// What a settled operation says of the counters.
#[track_caller]
pub(crate) fn done(settled: &Settled) -> Vec<(u64, u64)> {
    match settled {
        Settled::Done(counters) => numbers(counters),
        other => panic!("not done: {other:?}"),
    }
}

pub(crate) fn amount(units: u64) -> Amount {
    Amount::new(units).unwrap()
}

pub(crate) fn user(name: &str) -> Requester {
    Requester {
        tenant: None,
        user: UserId::new(name).unwrap(),
    }
}

pub(crate) fn member(tenant: &str, name: &str) -> Requester {
    Requester {
        tenant: Some(TenantId::new(tenant).unwrap()),
        ..user(name)
    }
}

/// A counter in a window of two days around now.
pub(crate) fn counter(scope: Scope, quota: &str) -> CounterKey {
    const DAY_MILLIS: u64 = 86_400_000;
    let today = SystemClock.now().get() / DAY_MILLIS * DAY_MILLIS;
    CounterKey {
        scope,
        quota: QuotaName::new(quota).unwrap(),
        window: Window::Day,
        span: WindowSpan::new(
            UnixMillis::new(today - DAY_MILLIS),
            UnixMillis::new(today + 2 * DAY_MILLIS),
        )
        .unwrap(),
    }
}

pub(crate) fn of_user() -> CounterKey {
    counter(Scope::User, "messages")
}

pub(crate) fn of_tenant() -> CounterKey {
    counter(Scope::Tenant, "messages")
}

pub(crate) fn hold(counter: CounterKey, hard: u64, units: u64) -> Hold {
    Hold {
        counter: counter.into(),
        hard: Bound::AtMost(amount(hard)),
        amount: amount(units),
    }
}

pub(crate) fn request(requester: &Requester, holds: &[Hold]) -> Reserve {
    let now = SystemClock.now();
    Reserve {
        id: ReservationId::generate(now),
        requester: requester.clone(),
        not_after: now.saturating_add(Duration::from_secs(10)),
        ttl: Duration::from_secs(30),
        user_generation: KnownGeneration::Untracked,
        plans_generation: KnownGeneration::Untracked,
        tenant_generation: KnownGeneration::Untracked,
        max_in_flight: 1_000_000,
        orphans: Orphans::Release,
        holds: holds.iter().cloned().collect(),
    }
}

/// One unit of one counter of a user.
pub(crate) fn one(requester: &Requester, hard: u64) -> Arc<Reserve> {
    Arc::new(request(requester, &[hold(of_user(), hard, 1)]))
}

/// The same, expiring after so many milliseconds.
pub(crate) fn brief(requester: &Requester, hard: u64, ttl_millis: u64) -> Arc<Reserve> {
    let mut request = request(requester, &[hold(of_user(), hard, 1)]);
    request.ttl = Duration::from_millis(ttl_millis);
    Arc::new(request)
}

//! Whatever the network does between the layer and Redis, each success is charged once, no
//! failure is charged, and nothing is left behind.

use std::{sync::Arc, time::Duration};

use quota_store::{
    Amount, Bound, CounterKey, CounterStore as _, Decision, Hold, KnownGeneration, Orphans,
    QuotaName, RedisCounterStore, ReservationId, Reserve, Scope, Sends, Window, WindowSpan,
};
use quota_tests::{
    Fault, FaultProxy, RedisServer, eventually,
    layers::{redis_store, requester},
};
use tokio::task::JoinSet;

use crate::faulty::{Answer, Faulty, Policy};

const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// A layer whose Redis is behind a proxy.
struct Proxied {
    faulty: Arc<Faulty>,
    proxy: FaultProxy,
}

impl Proxied {
    async fn start(server: &Arc<RedisServer>) -> Self {
        Self::with(server, "").await
    }

    /// With more lines in `[store]`.
    async fn with(server: &Arc<RedisServer>, more: &str) -> Self {
        let proxy = FaultProxy::start(server.address()).await;
        let faulty = Arc::new(Faulty::with(server, proxy.port(), "150ms", more).await);
        Self { faulty, proxy }
    }

    /// Sends `count` requests, one every few milliseconds: successes, failures, and clients that
    /// leave. Ends when all are answered.
    async fn load(&self, count: u64) {
        let mut requests = JoinSet::new();
        for number in 0..count {
            let policy = Policy::ALL[usize::try_from(number % 2).unwrap()];
            let user = USERS[usize::try_from(number / 2 % 3).unwrap()];
            let status = if number % 5 == 0 { 500 } else { 200 };
            let delay = Duration::from_millis(number % 7);
            let answer = self.faulty.request_of(user, policy, status, delay);
            let leaves = (number % 4 == 1).then(|| Duration::from_millis(number * 3 % 40));
            requests.spawn(async move {
                tokio::time::sleep(Duration::from_millis(number * 4)).await;
                match leaves {
                    Some(patience) => tokio::time::timeout(patience, answer).await.ok(),
                    None => Some(answer.await),
                }
            });
        }
        while let Some(answer) = requests.join_next().await {
            answer.expect("every answer is right");
        }
    }

    /// Load while the fault lasts and after it; then the books must balance.
    async fn survives(&self, fault: Fault, length: Duration) {
        self.faulty.recovers().await;
        let fault_is_there = async {
            self.proxy.set(fault).await;
            tokio::time::sleep(length).await;
            self.proxy.set(Fault::Pass).await;
        };
        tokio::join!(self.load(300), fault_is_there);
        self.faulty.recovers().await;
        self.faulty.balances(&USERS).await;
    }
}

async fn a_fault_is_survived(fault: Fault, length: Duration) {
    let server = Arc::new(RedisServer::start());
    let proxied = Proxied::start(&server).await;
    proxied.survives(fault, length).await;
    assert!(proxied.faulty.counted(Policy::Deny) > 0);
}

const A_SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn swallowed_replies_are_survived() {
    a_fault_is_survived(Fault::DropReplies, A_SECOND).await;
}

#[tokio::test]
async fn replies_that_come_late_are_survived() {
    a_fault_is_survived(Fault::HoldReplies, A_SECOND).await;
}

#[tokio::test]
async fn replies_slower_than_the_time_out_are_survived() {
    a_fault_is_survived(Fault::DelayReplies(Duration::from_millis(200)), A_SECOND).await;
}

#[tokio::test]
async fn requests_slower_than_the_time_out_are_survived() {
    a_fault_is_survived(Fault::DelayRequests(Duration::from_millis(200)), A_SECOND).await;
}

#[tokio::test]
async fn delays_about_as_long_as_the_time_out_are_survived() {
    let server = Arc::new(RedisServer::start());
    let proxied = Proxied::start(&server).await;
    for millis in [60, 75, 140] {
        let fault = Fault::DelayRequests(Duration::from_millis(millis));
        proxied.survives(fault, A_SECOND).await;
    }
}

#[tokio::test]
async fn settling_in_the_background_survives_the_same() {
    let server = Arc::new(RedisServer::start());
    let proxied = Proxied::with(&server, "settle = \"background\"").await;
    let slow = Fault::DelayReplies(Duration::from_millis(200));
    for fault in [Fault::DropReplies, Fault::Refuse, slow] {
        proxied.survives(fault, A_SECOND).await;
    }
}

/// Everything is settled soon after the fault, and not only when it expires.
#[tokio::test]
async fn what_is_unknown_is_ended_without_waiting_for_its_expiry() {
    let server = Arc::new(RedisServer::start());
    let proxied = Proxied::with(&server, "reservation_ttl = \"60s\"").await;
    let slow = Fault::DelayRequests(Duration::from_millis(200));
    for fault in [Fault::DropReplies, Fault::HoldReplies, slow] {
        proxied.survives(fault, A_SECOND).await;
    }
}

#[tokio::test]
async fn a_network_that_passes_nothing_is_survived() {
    a_fault_is_survived(Fault::BlackHole, A_SECOND).await;
}

#[tokio::test]
async fn a_port_that_refuses_is_survived() {
    a_fault_is_survived(Fault::Refuse, A_SECOND).await;
}

/// Cuts the connection after each of these numbers of bytes, with a few requests on their way.
async fn cuts_are_survived(fault: fn(u64) -> Fault, places: impl Iterator<Item = u64>) {
    const SIDE_BY_SIDE: usize = 8;
    let server = Arc::new(RedisServer::start());
    let places: Vec<u64> = places.collect();
    let mut cutting = JoinSet::new();
    for share in 0..SIDE_BY_SIDE {
        let server = Arc::clone(&server);
        let places: Vec<u64> = places
            .iter()
            .skip(share)
            .step_by(SIDE_BY_SIDE)
            .copied()
            .collect();
        cutting.spawn(async move {
            let proxied = Proxied::start(&server).await;
            for place in places {
                proxied.faulty.recovers().await;
                proxied.proxy.set(fault(place)).await;
                proxied.load(8).await;
                proxied.proxy.set(Fault::Pass).await;
            }
            proxied.faulty.recovers().await;
            proxied.faulty.balances(&USERS).await;
        });
    }
    while let Some(cut) = cutting.join_next().await {
        cut.expect("every cut is survived");
    }
}

#[tokio::test]
async fn a_connection_cut_within_any_reply_is_survived() {
    cuts_are_survived(Fault::ResetAfterReplyBytes, (0..240).step_by(6)).await;
}

#[tokio::test]
async fn a_connection_cut_within_any_request_is_survived() {
    cuts_are_survived(Fault::ResetAfterRequestBytes, (0..1_600).step_by(40)).await;
}

#[tokio::test]
async fn a_single_request_meets_each_fault_at_its_commit() {
    let server = Arc::new(RedisServer::start());
    let proxied = Proxied::start(&server).await;
    for fault in [Fault::DropReplies, Fault::BlackHole, Fault::Refuse] {
        for status in [200, 500] {
            proxied.faulty.recovers().await;
            proxied.faulty.close_gate();
            let answer = tokio::spawn(proxied.faulty.request(Policy::Deny, status));
            eventually(
                || async {
                    proxied
                        .faulty
                        .counter("alice", Policy::Deny)
                        .await
                        .reserved
                        .get()
                        > 0
                },
                "its units are held",
            )
            .await;
            proxied.proxy.set(fault).await;
            proxied.faulty.open_gate();
            assert_eq!(answer.await.unwrap(), Answer::Counted(status));
            proxied.proxy.set(Fault::Pass).await;
            proxied.faulty.recovers().await;
            proxied.faulty.balances(&USERS).await;
        }
    }
}

/// The connection breaks after a reserve was sent, and its second copy is denied: the first may
/// still arrive, when there is room again.
#[tokio::test]
async fn no_copy_of_a_denied_reserve_is_held_later() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address()).await;
    let store = redis_store(&server.url_at(proxy.port())).await;
    let all = reserve_all(&store);
    let Ok(Decision::Allowed(held)) = store.reserve(&all, Sends::Once).await else {
        panic!("there is room");
    };

    let denied = reserve_all(&store);
    let before = proxy.connections();
    proxy.set(Fault::ResetAfterReplyBytes(0)).await;
    let (decision, ()) = tokio::join!(store.reserve(&denied, Sends::Once), async {
        eventually(
            || async { proxy.connections() > before },
            "it connects again",
        )
        .await;
        proxy.set(Fault::Pass).await;
    });
    assert!(matches!(decision, Ok(Decision::Denied(_))), "{decision:?}");
    store.release(&held.reservation).await.unwrap();
    let late = store.reserve(&denied, Sends::Repeated).await;
    assert!(matches!(late, Ok(Decision::Void)), "{late:?}");
}

/// A reserve of everything there is.
fn reserve_all(store: &RedisCounterStore) -> Arc<Reserve> {
    let now = store.now();
    let hold = Hold {
        counter: CounterKey {
            scope: Scope::User,
            quota: QuotaName::new("messages").unwrap(),
            window: Window::Lifetime,
            span: WindowSpan::LIFETIME,
        }
        .into(),
        hard: Bound::AtMost(Amount::saturating(5)),
        amount: Amount::saturating(5),
    };
    Arc::new(Reserve {
        id: ReservationId::generate(now),
        requester: requester("alice", None),
        not_after: now.saturating_add(Duration::from_secs(20)),
        ttl: Duration::from_secs(30),
        user_generation: KnownGeneration::Untracked,
        plans_generation: KnownGeneration::Untracked,
        tenant_generation: KnownGeneration::Untracked,
        max_in_flight: 100,
        orphans: Orphans::Release,
        holds: [hold].into_iter().collect(),
    })
}

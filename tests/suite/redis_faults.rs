//! While Redis fails, the stated policy holds and nothing else; afterwards the counts are right.

use std::{cell::Cell, sync::Arc, time::Duration};

use quota_tests::{
    Fault, FaultProxy, RedisServer, eventually, logs::Metrics, processes::free_port,
};
use tokio::task::JoinHandle;

use crate::faulty::{ALLOWED, Answer, COST, Faulty, LOCAL, Policy, TTL};

/// More requests than any policy lets through.
const MANY: usize = 20;

async fn ask(faulty: &Faulty, policy: Policy, status: u16) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..MANY {
        answers.push(faulty.request(policy, status).await);
    }
    answers
}

fn first_pass(count: usize) -> Vec<Answer> {
    let mut answers = vec![Answer::LetThrough(200); count];
    answers.resize(MANY, Answer::Unavailable);
    answers
}

/// Every policy does what it says, from the first request after the fault on.
async fn the_policies_hold(faulty: &Faulty) {
    let denied = ask(faulty, Policy::Deny, 200).await;
    assert_eq!(denied, first_pass(0));
    assert_eq!(ask(faulty, Policy::Allow, 200).await, first_pass(ALLOWED));
    // A request that fails costs nothing of the share.
    let failed = ask(faulty, Policy::Local, 500).await;
    assert_eq!(failed, vec![Answer::LetThrough(500); MANY]);
    assert_eq!(ask(faulty, Policy::Local, 200).await, first_pass(LOCAL));
    assert_eq!(ask(faulty, Policy::Allow, 200).await, first_pass(0));
}

async fn all_is_counted(faulty: &Faulty) {
    for policy in Policy::ALL {
        assert_eq!(faulty.request(policy, 200).await, Answer::Counted(200));
        assert_eq!(faulty.request(policy, 500).await, Answer::Counted(500));
    }
}

/// Requests whose handler runs while Redis fails: two successes and a failure.
async fn in_flight(faulty: &Faulty) -> [JoinHandle<Answer>; 3] {
    faulty.close_gate();
    let requests = [200, 200, 500].map(|status| {
        let answer = faulty.request(Policy::Deny, status);
        tokio::spawn(answer)
    });
    eventually(
        || async { faulty.counter("alice", Policy::Deny).await.reserved.get() == 6 },
        "three requests hold their units",
    )
    .await;
    requests
}

/// Breaks a server that works, looks at every policy, mends it, and looks at the books.
async fn a_fault_is_survived(
    server: &Arc<RedisServer>,
    kind: &str,
    break_it: impl FnOnce(),
    mend_it: impl FnOnce(),
) {
    let metrics = Metrics::capture();
    let faulty = Faulty::over(server).await;
    all_is_counted(&faulty).await;
    let in_flight = in_flight(&faulty).await;

    break_it();
    faulty.open_gate();
    for (request, status) in in_flight.into_iter().zip([200, 200, 500]) {
        assert_eq!(request.await.unwrap(), Answer::Counted(status));
    }
    the_policies_hold(&faulty).await;
    let errors = |kind| metrics.counter(&format!("quota_store_errors_total{{kind={kind}}}"));
    eventually(
        || async {
            assert_eq!(faulty.request(Policy::Deny, 200).await, Answer::Unavailable);
            errors(kind) > 0
        },
        "the failure is counted as what it is",
    )
    .await;
    if kind != "full" {
        assert!(metrics.gauges()["quota_breaker_state"] > 0.5, "{metrics:?}");
        // Of a hundred requests all but a few did not wait for the store.
        assert!(errors("breaker_open") >= 80, "{metrics:?}");
        assert!(errors(kind) <= 25, "{metrics:?}");
    }

    mend_it();
    faulty.recovers().await;
    assert!(metrics.gauges()["quota_breaker_state"] < 0.5, "{metrics:?}");
    all_is_counted(&faulty).await;
    faulty.balances(&["alice"]).await;
}

#[tokio::test]
async fn a_killed_redis_is_survived() {
    let server = Arc::new(RedisServer::builder().persistent().start());
    a_fault_is_survived(
        &server,
        "unreachable",
        || server.kill(),
        || server.restart_keeping_data(),
    )
    .await;
}

#[tokio::test]
async fn a_stopped_redis_is_survived() {
    let server = Arc::new(RedisServer::start());
    a_fault_is_survived(&server, "unknown", || server.stop(), || server.cont()).await;
}

#[tokio::test]
async fn a_changed_password_is_survived() {
    let server = Arc::new(RedisServer::start());
    let password = |rule: &str| {
        server.cli(&["ACL", "SETUSER", "default", "resetpass", rule]);
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    };
    a_fault_is_survived(
        &server,
        "forbidden",
        || password(">another"),
        || password("nopass"),
    )
    .await;
}

#[tokio::test]
async fn a_full_redis_is_survived() {
    let server = Arc::new(RedisServer::start());
    let limit = |limit: &str| {
        server.cli(&["CONFIG", "SET", "maxmemory", limit]);
    };
    a_fault_is_survived(&server, "full", || limit("1"), || limit("0")).await;
}

#[tokio::test]
async fn a_redis_that_became_a_replica_is_survived() {
    let server = Arc::new(RedisServer::start());
    // Of a primary that is gone, so that its data stays.
    let port = free_port().to_string();
    a_fault_is_survived(
        &server,
        "not_serving",
        || {
            server.cli(&["REPLICAOF", "127.0.0.1", &port]);
        },
        || {
            server.cli(&["REPLICAOF", "NO", "ONE"]);
        },
    )
    .await;
}

/// A server that takes some seconds to load its data.
fn slow_to_load() -> RedisServer {
    let server = RedisServer::builder()
        .persistent()
        .directive("key-load-delay", "1000")
        .directive("loading-process-events-interval-bytes", "1024")
        .start();
    let keys: Vec<String> = (0..3_000).map(|key| format!("other:{key}")).collect();
    let mut command = vec!["MSET"];
    for key in &keys {
        command.extend([key.as_str(), "some value"]);
    }
    server.cli(&command);
    server.cli(&["BGREWRITEAOF"]);
    let is_written =
        || server.info("aof_rewrite_in_progress") + server.info("aof_rewrite_scheduled") == 0;
    while !is_written() {
        std::thread::yield_now();
    }
    server
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_survived() {
    let server = Arc::new(slow_to_load());
    let loading = Cell::new(None);
    a_fault_is_survived(
        &server,
        "not_serving",
        || {
            let server = Arc::clone(&server);
            loading.set(Some(std::thread::spawn(move || {
                server.restart_keeping_data();
            })));
        },
        || loading.take().unwrap().join().unwrap(),
    )
    .await;
}

#[tokio::test]
async fn a_wrong_password_at_the_start_is_survived() {
    let server = Arc::new(RedisServer::builder().password("secret").start());
    let faulty = Faulty::over(&server).await;
    the_policies_hold(&faulty).await;
    server.cli(&["ACL", "SETUSER", "default", "nopass"]);
    faulty.recovers().await;
    faulty.balances(&["alice"]).await;
}

#[tokio::test]
async fn flushed_scripts_are_loaded_again() {
    let server = Arc::new(RedisServer::start());
    let faulty = Faulty::at(&server, server.port(), "1900ms").await;
    let flushing = tokio::task::spawn_blocking({
        let server = Arc::clone(&server);
        move || {
            let mut connection = server.connect().unwrap();
            for _ in 0..3_000 {
                redis::cmd("SCRIPT")
                    .arg("FLUSH")
                    .exec(&mut connection)
                    .unwrap();
            }
        }
    });
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..400_u16 {
        let status = if number % 4 == 0 { 500 } else { 200 };
        let policy = Policy::ALL[usize::from(number % 2)];
        let user = ["alice", "bob"][usize::from(number / 2 % 2)];
        let delay = Duration::from_millis(u64::from(number % 40) * 5);
        let request = faulty.request_of(user, policy, status, delay);
        requests.spawn(async move { (request.await, status) });
    }
    while let Some(answered) = requests.join_next().await {
        let (answer, status) = answered.unwrap();
        assert_eq!(answer, Answer::Counted(status));
    }
    flushing.await.unwrap();
    assert_eq!(
        Policy::ALL.map(|policy| faulty.counted(policy)),
        [200, 400, 0]
    );
    faulty.balances(&["alice", "bob"]).await;
}

#[tokio::test]
async fn one_failure_is_measured_once() {
    let server = Arc::new(RedisServer::start());
    let metrics = Metrics::capture();
    let faulty = Faulty::over(&server).await;
    faulty.quota.check_store().await.unwrap();
    server.stop();
    faulty.quota.check_store().await.unwrap_err();
    let name = "quota_store_errors_total{kind=unknown}";
    assert_eq!(metrics.counter(name), 1, "{metrics:?}");
    assert_eq!(
        metrics.histogram_counts()["quota_store_seconds{op=check}"],
        2
    );
}

#[tokio::test]
async fn a_long_request_keeps_its_units_over_a_short_outage() {
    let server = Arc::new(RedisServer::start());
    let metrics = Metrics::capture();
    let proxy = FaultProxy::start(server.address()).await;
    let faulty = Faulty::at(&server, proxy.port(), "150ms").await;
    let length = TTL + Duration::from_millis(1_500);
    let request = tokio::spawn(faulty.request_of("alice", Policy::Deny, 200, length));
    let holds = || async { faulty.counter("alice", Policy::Deny).await.reserved.get() == COST };
    eventually(holds, "it holds its units").await;
    proxy.set(Fault::Refuse).await;
    tokio::time::sleep(TTL / 4).await;
    proxy.set(Fault::Pass).await;
    while !request.is_finished() {
        let value = faulty.counter("alice", Policy::Deny).await;
        assert_eq!(
            value.used.get() + value.reserved.get(),
            COST,
            "held, then charged"
        );
    }
    assert_eq!(request.await.unwrap(), Answer::Counted(200));
    let late = "quota_requests_total{outcome=late,plan=free,quota=deny,route=/deny/{status}}";
    assert_eq!(metrics.counter(late), 0, "{metrics:?}");
    faulty.balances(&["alice"]).await;
}

#[tokio::test]
async fn an_unreadable_counter_of_one_user_harms_no_other() {
    let server = Arc::new(RedisServer::start());
    let faulty = Faulty::at(&server, server.port(), "1900ms").await;
    let of = |user: &'static str| faulty.request_of(user, Policy::Deny, 200, Duration::ZERO);
    assert_eq!(of("alice").await, Answer::Counted(200));
    let hashes = server.keys_like(&format!("{}*alice", faulty.prefix));
    let [key] = hashes.as_slice() else {
        panic!("one hash of alice: {hashes:?}");
    };
    for field in server.cli(&["HKEYS", key]).lines() {
        server.cli(&["HSET", key, field, "not a number"]);
    }
    for _ in 0..10 {
        let (alice, bob) = tokio::join!(of("alice"), of("bob"));
        assert_eq!((alice, bob), (Answer::Unavailable, Answer::Counted(200)));
        assert_eq!(of("alice").await, Answer::Unavailable);
    }
    for _ in 0..10 {
        assert_eq!(of("alice").await, Answer::Unavailable);
    }
    assert_eq!(of("bob").await, Answer::Counted(200));
}

//! Counters in Redis with a ledger in Postgres.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quota_store::{
    Amount, Bound, Clock as _, Commit, CounterKey, CounterStore as _, Decision, Hold,
    KnownGeneration, Orphans, RedisCounterStore, RedisOptions, Requester, ReservationId, Reserve,
    Scope, Sends, Settled, SystemClock, UserId, Window, WindowSpan,
    ledger::{Ledger, PostgresLedger, PostgresOptions},
};
use quota_tests::{PostgresServer, eventually, shared_redis, unique_prefix};

const USERS: usize = 4;

fn user(number: usize) -> Requester {
    Requester {
        tenant: None,
        user: UserId::new(&format!("user-{number}")).expect("it is not empty"),
    }
}

fn messages() -> CounterKey {
    CounterKey {
        scope: Scope::User,
        quota: "messages".parse().expect("a name"),
        window: Window::Lifetime,
        span: WindowSpan::LIFETIME,
    }
}

/// Charges one unit; nothing of it may fail.
async fn charge(store: &RedisCounterStore, requester: &Requester) {
    let now = SystemClock.now();
    let request = Arc::new(Reserve {
        id: ReservationId::generate(now),
        requester: requester.clone(),
        not_after: now.saturating_add(Duration::from_secs(10)),
        ttl: Duration::from_secs(30),
        user_generation: KnownGeneration::Untracked,
        tenant_generation: KnownGeneration::Untracked,
        plans_generation: KnownGeneration::Untracked,
        max_in_flight: 100,
        orphans: Orphans::Release,
        holds: [Hold {
            counter: Arc::new(messages()),
            hard: Bound::Unlimited,
            amount: Amount::ONE,
        }]
        .into(),
    });
    let decision = store.reserve(&request, Sends::Once).await;
    let Ok(Decision::Allowed(allowed)) = decision else {
        panic!("not allowed: {decision:?}");
    };
    let commit = Commit {
        amounts: allowed.reservation.reserved_amounts(),
        reservation: allowed.reservation,
        attempt: None,
    };
    let settled = store.commit(&commit).await;
    assert!(matches!(settled, Ok(Settled::Done(_))), "{settled:?}");
}

/// Charges one user until it is over, and says how many units.
async fn keep_charging(
    store: Arc<RedisCounterStore>,
    requester: Requester,
    is_over: Arc<AtomicBool>,
) -> u64 {
    let mut charged = 0;
    while !is_over.load(Ordering::Relaxed) {
        charge(&store, &requester).await;
        charged += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    charged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_crashes_fails_no_request_and_gets_everything_once() {
    let start = || {
        let server = PostgresServer::start();
        let url = server.url(&server.create_database());
        (Arc::new(server), url)
    };
    let (server, url) = tokio::task::spawn_blocking(start).await.expect("it starts");
    let mut options = PostgresOptions::new(&url).expect("an address");
    options.timeout = Duration::from_secs(1);
    let ledger = PostgresLedger::connect(options).await.expect("it connects");
    let ledger: Arc<dyn Ledger> = Arc::new(ledger);
    let mut stores = Vec::new();
    let prefix = unique_prefix();
    for _ in 0..2 {
        let mut options = RedisOptions::new(shared_redis().url().parse().expect("an address"));
        options.prefix.clone_from(&prefix);
        options.timeout = Duration::from_secs(5);
        options.connect_timeout = Duration::from_secs(20);
        options.ledger = Some(Arc::clone(&ledger));
        let store = RedisCounterStore::connect(options, Arc::new(SystemClock)).await;
        stores.push(Arc::new(store.expect("a store")));
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..USERS)
        .map(|number| {
            let store = Arc::clone(&stores[number % 2]);
            tokio::spawn(keep_charging(store, user(number), Arc::clone(&is_over)))
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let crashed = Arc::clone(&server);
        let crash = tokio::task::spawn_blocking(move || crashed.kill());
        crash.await.expect("it is killed");
        eventually(|| async { stores[0].backlog().records > 10 }, "a backlog").await;
        let restarted = Arc::clone(&server);
        let restart = tokio::task::spawn_blocking(move || restarted.restart());
        restart.await.expect("it starts again");
        eventually(|| async { stores[0].backlog().records < 10 }, "no backlog").await;
    }
    is_over.store(true, Ordering::Relaxed);
    for (number, task) in tasks.into_iter().enumerate() {
        let charged = task.await.expect("no request failed");
        let (requester, counters) = (user(number), [messages()]);
        let is_same = || async {
            let used = ledger.used(&requester, &counters).await;
            used.is_ok_and(|used| used[0].get() == charged)
        };
        eventually(is_same, "the same sum").await;
        let recounted = ledger.recount(&requester, &counters[0]).await;
        assert_eq!(recounted.expect("it is read").get(), charged);
        let read = stores[1].read(&requester, &counters).await;
        assert_eq!(read.expect("it is read")[0].used.get(), charged);
    }
}

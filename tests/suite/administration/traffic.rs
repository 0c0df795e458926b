//! Resets and adjustments while requests come in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use quota_layer::administration::{AdjustTo, Expires};
use quota_store::{Anchor, CounterKey, Requester, Scope, Window};
use quota_tests::layers::Store;
use tokio::task::JoinSet;

use super::{Office, at_most, none, quota, user};

/// Few enough for slow machines, and more than one at a time.
const WORKERS: usize = 8;
const REQUESTS: usize = 60;
const ACTS: u64 = 40;
const MOST: u64 = 30;

const TOML: &str = r#"
[store]
timeout = "5s"
[quotas.messages]
[plans.free]
default = true
limits.messages = "30/day"
[[routes]]
match = "GET /chat"
charge = { messages = 1 }
[[routes]]
match = "GET /fail"
charge = { messages = 1 }
"#;

fn key(office: &Office) -> CounterKey {
    let now = office.store.now();
    CounterKey {
        scope: Scope::User,
        quota: quota("messages"),
        window: Window::Day,
        span: Window::Day.span_at(now, &jiff::tz::TimeZone::UTC, Anchor::Calendar),
    }
}

async fn value(office: &Office, who: &Requester) -> quota_store::CounterValue {
    office.store.read(who, &[key(office)]).await.unwrap()[0]
}

/// Requests of one user from several workers; how many were a success.
fn workers(office: &Arc<Office>) -> JoinSet<u64> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let office = Arc::clone(office);
        workers.spawn(async move {
            let mut charged = 0;
            for number in 0..REQUESTS {
                let path = if (worker + number) % 3 == 0 {
                    "/fail"
                } else {
                    "/chat"
                };
                charged += u64::from(office.status(path, "alice").await == 200);
            }
            charged
        });
    }
    workers
}

async fn sums_match_after_resets_in_the_midst_of_requests(store: Store) {
    let office = Arc::new(Office::with(store, TOML).await);
    let workers = workers(&office);
    let taken_away = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let resets = async {
        for _ in 0..ACTS {
            let doing = office.doing();
            let changes = office
                .admin
                .reset(&user("alice"), None, None, &doing)
                .await
                .unwrap();
            let given: u64 = changes.iter().map(|change| change.used_before.get()).sum();
            taken_away.fetch_add(given, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let samples = async {
        while !is_over.load(Ordering::Relaxed) {
            let value = value(&office, &none("alice")).await;
            let total = value.used.get() + value.reserved.get();
            assert!(total <= MOST, "{total} of {MOST}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let requests = async {
        let charged: u64 = workers.join_all().await.into_iter().sum();
        is_over.store(true, Ordering::Relaxed);
        charged
    };
    let (charged, (), ()) = tokio::join!(requests, resets, samples);
    let left = value(&office, &none("alice")).await;
    assert_eq!(left.reserved.get(), 0);
    assert_eq!(
        left.used.get(),
        charged - taken_away.load(Ordering::Relaxed)
    );
    in_ledger(&office, left.used.get()).await;
}

async fn in_ledger(office: &Office, expected: u64) {
    quota_tests::eventually(
        || async {
            let ledger = office.admin.ledger().unwrap();
            let used = ledger.used(&none("alice"), &[key(office)]).await.unwrap();
            used[0].get() == expected
        },
        "the ledger says what the counter says",
    )
    .await;
}

async fn a_lowered_limit_is_never_passed_from_its_answer_on(store: Store) {
    let office = Arc::new(Office::with(store, TOML).await);
    let workers = workers(&office);
    let lowering = async {
        for most in (1..=10).rev() {
            office
                .adjust("alice", AdjustTo::Limit(at_most(most)), Expires::Never)
                .await;
            let before = value(&office, &none("alice")).await;
            let level = (before.used.get() + before.reserved.get()).max(most);
            for _ in 0..3 {
                let now = value(&office, &none("alice")).await;
                let total = now.used.get() + now.reserved.get();
                assert!(total <= level, "{total} above {level} at a limit of {most}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    };
    let ((), charged) = tokio::join!(lowering, workers.join_all());
    let charged: u64 = charged.into_iter().sum();
    let left = value(&office, &none("alice")).await;
    assert_eq!((left.used.get(), left.reserved.get()), (charged, 0));
    assert!(charged <= MOST);
    in_ledger(&office, charged).await;
}

mod in_memory {
    use super::Store;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sums_match_after_resets_in_the_midst_of_requests() {
        super::sums_match_after_resets_in_the_midst_of_requests(Store::Memory).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_lowered_limit_is_never_passed_from_its_answer_on() {
        super::a_lowered_limit_is_never_passed_from_its_answer_on(Store::Memory).await;
    }
}

mod on_redis {
    use super::Store;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sums_match_after_resets_in_the_midst_of_requests() {
        super::sums_match_after_resets_in_the_midst_of_requests(Store::Redis).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_lowered_limit_is_never_passed_from_its_answer_on() {
        super::a_lowered_limit_is_never_passed_from_its_answer_on(Store::Redis).await;
    }
}

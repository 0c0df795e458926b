//! Redis loses its data, or is not there yet when the process starts.

use std::{sync::Arc, time::Duration};

use quota_layer::QuotaLayer;
use quota_tests::{
    RedisServer, eventually,
    layers::config,
    logs::{Logs, Metrics},
    processes::free_port,
};

use crate::faulty::{Answer, COST, Faulty, Policy};

const LOST: &str = "quota_store_epoch_changes_total";

#[tokio::test]
async fn a_flush_between_reserve_and_commit_is_seen_and_the_commit_is_charged_once() {
    let server = Arc::new(RedisServer::start());
    let (logs, metrics) = (Logs::capture(), Metrics::capture());
    let faulty = Faulty::over(&server).await;
    for _ in 0..3 {
        assert_eq!(
            faulty.request(Policy::Deny, 200).await,
            Answer::Counted(200)
        );
    }
    faulty.close_gate();
    let in_flight = [200, 500].map(|status| tokio::spawn(faulty.request(Policy::Deny, status)));
    eventually(
        || async { faulty.counter("alice", Policy::Deny).await.reserved.get() == 2 * COST },
        "both hold their units",
    )
    .await;
    assert_eq!(metrics.counter(LOST), 0);
    server.cli(&["FLUSHALL"]);
    faulty.open_gate();
    for (request, status) in in_flight.into_iter().zip([200, 500]) {
        assert_eq!(request.await.unwrap(), Answer::Counted(status));
    }
    let value = faulty.counter("alice", Policy::Deny).await;
    assert_eq!((value.used.get(), value.reserved.get()), (COST, 0));

    assert_eq!(
        faulty.request(Policy::Deny, 200).await,
        Answer::Counted(200)
    );
    let value = faulty.counter("alice", Policy::Deny).await;
    assert_eq!((value.used.get(), value.reserved.get()), (2 * COST, 0));
    assert_eq!(metrics.counter(LOST), 1, "{metrics:?}");
    let told = logs.lines_with("lost");
    assert!(
        matches!(told.as_slice(), [line] if line.contains("ERROR")),
        "{told:?}"
    );
    // Nothing more is told of the same loss.
    assert_eq!(
        faulty.request(Policy::Deny, 200).await,
        Answer::Counted(200)
    );
    assert_eq!(metrics.counter(LOST), 1);
}

#[tokio::test]
async fn a_restart_without_data_is_seen_and_counting_goes_on() {
    let server = Arc::new(RedisServer::start());
    let metrics = Metrics::capture();
    let faulty = Faulty::over(&server).await;
    assert_eq!(
        faulty.request(Policy::Deny, 200).await,
        Answer::Counted(200)
    );
    faulty.close_gate();
    let in_flight = tokio::spawn(faulty.request(Policy::Deny, 200));
    eventually(
        || async { faulty.counter("alice", Policy::Deny).await.reserved.get() == COST },
        "it holds its units",
    )
    .await;
    server.restart();
    faulty.open_gate();
    assert_eq!(in_flight.await.unwrap(), Answer::Counted(200));
    faulty.recovers().await;
    eventually(
        || async {
            let value = faulty.counter("alice", Policy::Deny).await;
            // All but the first, which was lost.
            value.used.get() + COST == faulty.counted(Policy::Deny) && value.reserved.is_zero()
        },
        "the commit is charged late, once",
    )
    .await;
    assert_eq!(metrics.counter(LOST), 1, "{metrics:?}");
}

#[tokio::test]
async fn a_process_starts_without_redis_and_is_ready_when_redis_is() {
    let port = free_port();
    let logs = Logs::capture();
    let absent = config(&format!(
        "[store]\nurl = \"redis://127.0.0.1:{port}\"\n[plans.free]\ndefault = true\n"
    ));
    let quota = QuotaLayer::from_config(absent).build().await.unwrap();
    quota.check_store().await.unwrap_err();
    assert!(
        !logs.lines_with("Redis can't be used").is_empty(),
        "{}",
        logs.text()
    );

    let placeholder = Arc::new(RedisServer::start());
    let faulty = Faulty::at(&placeholder, port, "150ms").await;
    let unavailable = faulty.request(Policy::Deny, 200).await;
    assert_eq!(unavailable, Answer::Unavailable);
    assert_eq!(
        faulty.request(Policy::Allow, 200).await,
        Answer::LetThrough(200)
    );
    assert_eq!(
        faulty.request(Policy::Local, 200).await,
        Answer::LetThrough(200)
    );

    let _server = RedisServer::builder().port(port).start();
    faulty.recovers().await;
    eventually(
        || async { quota.check_store().await.is_ok() },
        "it is ready",
    )
    .await;
    for policy in Policy::ALL {
        assert_eq!(faulty.request(policy, 200).await, Answer::Counted(200));
    }
    // Nothing was counted of what was let through, and shutting down leaves nothing to do.
    let drained = tokio::time::timeout(Duration::from_secs(5), faulty.quota.shutdown());
    drained.await.expect("everything is settled");
}

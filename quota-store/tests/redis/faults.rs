//! A server that fails.

use std::{sync::Arc, time::Duration};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use quota_store::{CounterStore as _, RedisOptions, Sends, Settled, StoreErrorKind};

use crate::{
    kit::{Kit, allowed, connect, of_user, one, options, user},
    server::{Server, until},
};

fn hasty(server: &Server) -> RedisOptions {
    RedisOptions {
        timeout: Duration::from_millis(200),
        ..options(&server.url())
    }
}

#[tokio::test]
async fn a_full_server_takes_no_reserve_and_settles_all_the_same() {
    let kit = Kit::start().await;
    let first = kit.allowed(&one(&user("alice"), 5)).await;
    let second = kit.allowed(&one(&user("alice"), 5)).await;
    kit.server.run::<String>("CONFIG SET maxmemory 1mb").await;
    let refused = kit
        .store
        .reserve(&one(&user("alice"), 5), Sends::Once)
        .await;
    assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Full);
    assert_eq!(
        kit.store.check().await.unwrap_err().kind(),
        StoreErrorKind::Full
    );
    assert!(matches!(
        kit.commit(&first.reservation, &[1]).await,
        Settled::Done(_)
    ));
    let released = kit.store.release(&second.reservation).await.unwrap();
    assert!(matches!(released, Settled::Done(_)));
    kit.store.abort(&one(&user("alice"), 5)).await.unwrap();
    assert_eq!(kit.read(&user("alice"), &[of_user()]).await, [(1, 0)]);
    kit.server.run::<String>("CONFIG SET maxmemory 0").await;
    kit.allowed(&one(&user("alice"), 5)).await;
}

#[tokio::test]
async fn a_replica_does_not_serve_until_it_is_a_master_again() {
    let kit = Kit::start().await;
    let made = kit.allowed(&one(&user("alice"), 5)).await;
    let master = Server::start(&[]).await;
    let follow = format!("REPLICAOF 127.0.0.1 {}", master.port);
    kit.server.run::<String>(&follow).await;
    let refused = kit
        .store
        .reserve(&one(&user("alice"), 5), Sends::Once)
        .await;
    assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::NotServing);
    let refused = kit.store.release(&made.reservation).await;
    assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::NotServing);
    kit.server.run::<String>("REPLICAOF NO ONE").await;
    until(async || kit.store.check().await.is_ok()).await;
    kit.allowed(&one(&user("alice"), 5)).await;
}

#[tokio::test]
async fn a_killed_server_comes_back_and_its_loss_is_seen() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    // On the thread of this test, which runs all its tasks.
    let _recording = metrics::set_default_local_recorder(&recorder);
    let mut server = Server::start(&[]).await;
    let store = connect(hasty(&server)).await;
    let lost = allowed(store.reserve(&one(&user("alice"), 5), Sends::Once).await);
    server.kill();
    until(async || {
        let refused = store.reserve(&one(&user("alice"), 5), Sends::Once).await;
        refused.unwrap_err().kind() == StoreErrorKind::Unreachable
    })
    .await;
    server.restart().await;
    until(async || store.check().await.is_ok()).await;
    let commit = quota_store::Commit {
        amounts: lost.reservation.reserved_amounts(),
        reservation: lost.reservation.clone(),
        attempt: None,
    };
    assert!(matches!(
        store.commit(&commit).await.unwrap(),
        Settled::Late(_)
    ));
    assert_eq!(store.commit(&commit).await.unwrap(), Settled::Already);
    let fresh = allowed(store.reserve(&one(&user("alice"), 5), Sends::Once).await);
    assert_ne!(fresh.reservation.epoch, lost.reservation.epoch);
    let changes = seen
        .snapshot()
        .into_vec()
        .into_iter()
        .find_map(|(key, _, _, value)| {
            (key.key().name() == "quota_store_epoch_changes_total").then_some(value)
        });
    assert_eq!(changes, Some(DebugValue::Counter(1)));
}

#[tokio::test]
async fn a_server_that_hangs_leaves_outcomes_unknown_and_then_goes_on() {
    let server = Server::start(&[]).await;
    let store = connect(hasty(&server)).await;
    store.check().await.unwrap();
    server.signal("-STOP");
    let request = one(&user("alice"), 5);
    let error = store.reserve(&request, Sends::Once).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unknown);
    server.signal("-CONT");
    until(async || store.abort(&request).await.is_ok()).await;
    until(async || {
        let read = store.read(&user("alice"), &[of_user()]).await;
        read.is_ok_and(|values| values[0].reserved.is_zero())
    })
    .await;
    allowed(store.reserve(&one(&user("alice"), 1), Sends::Once).await);
}

#[tokio::test]
async fn a_broken_connection_is_replaced_within_the_operation() {
    let kit = Kit::start().await;
    for _ in 0..20 {
        kit.server
            .run::<u32>("CLIENT KILL TYPE normal SKIPME yes")
            .await;
        // It goes out on the broken connection, or while there is none, or on the next one.
        let outcome = kit
            .store
            .reserve(&one(&user("alice"), 1_000), Sends::Once)
            .await;
        if let Err(error) = outcome {
            assert_eq!(error.kind(), StoreErrorKind::Unreachable);
        }
        until(async || kit.store.check().await.is_ok()).await;
    }
}

#[tokio::test]
async fn a_dropped_operation_runs_all_the_same() {
    let kit = Kit::start().await;
    let request = one(&user("alice"), 5);
    let asked = tokio::spawn({
        let (store, request) = (Arc::clone(&kit.store), Arc::clone(&request));
        async move { store.reserve(&request, Sends::Once).await }
    });
    tokio::task::yield_now().await;
    asked.abort();
    until(async || kit.read(&user("alice"), &[of_user()]).await == [(0, 1)]).await;
    kit.store.abort(&request).await.unwrap();
    assert_eq!(kit.read(&user("alice"), &[of_user()]).await, [(0, 0)]);
}

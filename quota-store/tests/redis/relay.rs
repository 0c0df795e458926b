//! Relays that fail, and ledgers that do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use quota_store::{
    Commit, CounterStore as _, RedisCounterStore, Requester, Sends, Settled, ledger::Ledger,
};

use crate::{
    faulty::Faulty,
    kit::{allowed, numbers, of_user, one, user},
    outbox::{Recording, drained, ledger, recording, used},
    server::{Server, until},
};

/// Reserves and commits one unit, or fails.
pub(crate) async fn charge(store: &RedisCounterStore, requester: &Requester) -> bool {
    let Ok(decision) = store.reserve(&one(requester, 1_000_000), Sends::Once).await else {
        return false;
    };
    let reservation = allowed(Ok(decision)).reservation;
    let commit = Commit {
        amounts: reservation.reserved_amounts(),
        reservation,
        attempt: None,
    };
    loop {
        match store.commit(&commit).await {
            Ok(settled) => return !matches!(settled, Settled::Already),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Charges from several tasks, and says how many units.
async fn charge_many(store: &Arc<RedisCounterStore>, users: usize, each: usize) {
    let tasks = (0..users).map(|number| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for _ in 0..each {
                assert!(charge(&store, &user(&format!("user-{number}"))).await);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn assert_sums(ledger: &Arc<dyn Ledger>, users: usize, each: u64) {
    for number in 0..users {
        let sum = used(ledger, &user(&format!("user-{number}"))).await;
        assert_eq!(sum, each, "of user {number}");
    }
}

#[tokio::test]
async fn two_relays_bring_everything_once() {
    let server = Server::start(&[]).await;
    let ledger = ledger(&server).await;
    let (one, two) = tokio::join!(recording(&server, &ledger), recording(&server, &ledger));
    tokio::join!(charge_many(&one, 8, 60), charge_many(&two, 8, 60));
    drained(&server).await;
    assert_sums(&ledger, 8, 120).await;
    let attempts = ledger.health().await.unwrap().attempts;
    assert_eq!(attempts, 8 * 120);
}

#[tokio::test]
async fn a_relay_that_dies_after_an_append_doubles_nothing() {
    let server = Server::start(&[]).await;
    let real = ledger(&server).await;
    let faulty = Arc::new(Faulty::new(Arc::clone(&real)));
    let doubled: Arc<dyn Ledger> = Arc::clone(&faulty) as _;
    faulty.hang_after_appends();
    for round in 1..=50 {
        let hung = faulty.hung();
        let store = recording(&server, &doubled).await;
        assert!(charge(&store, &user("alice")).await);
        // It is in the ledger, and in the stream; then the process is gone.
        until(async || faulty.hung() > hung).await;
        drop(store);
        assert!(used(&real, &user("alice")).await <= round);
    }
    faulty.work();
    let _store = recording(&server, &doubled).await;
    drained(&server).await;
    assert_eq!(used(&real, &user("alice")).await, 50);
    assert_eq!(real.health().await.unwrap().attempts, 50);
}

#[tokio::test]
async fn a_ledger_that_is_down_fails_no_request() {
    let server = Server::start(&[]).await;
    let real = ledger(&server).await;
    let faulty = Arc::new(Faulty::new(Arc::clone(&real)));
    let doubled: Arc<dyn Ledger> = Arc::clone(&faulty) as _;
    let store = recording(&server, &doubled).await;
    faulty.fail();
    charge_many(&store, 4, 50).await;
    until(async || store.backlog().records == 200).await;
    assert!(store.backlog().oldest.is_some());
    faulty.work();
    drained(&server).await;
    until(async || store.backlog().records == 0).await;
    assert_sums(&real, 4, 50).await;
}

#[tokio::test]
async fn what_can_not_be_read_is_kept_aside_and_blocks_nobody() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    for entry in ["c nonsense", "z {}", "a {} d x", "r short"] {
        kit.server
            .run::<String>(&format!("XADD quota:{{2b}}:s * {entry}"))
            .await;
    }
    assert!(charge(&kit.store, &user("alice")).await);
    recording.drained().await;
    assert_eq!(recording.used(&user("alice")).await, 1);
    let aside: u64 = kit.server.run("XLEN quota:{2b}:d").await;
    assert_eq!(aside, 4);
}

#[tokio::test]
async fn a_record_that_the_ledger_refuses_stops_no_other() {
    let server = Server::start(&[]).await;
    let real = ledger(&server).await;
    let faulty = Arc::new(Faulty::new(Arc::clone(&real)));
    let doubled: Arc<dyn Ledger> = Arc::clone(&faulty) as _;
    let store = recording(&server, &doubled).await;
    faulty.fail();
    faulty.refuse(&user("user-1").user);
    charge_many(&store, 3, 5).await;
    faulty.work();
    drained(&server).await;
    assert_eq!(used(&real, &user("user-0")).await, 5);
    assert_eq!(used(&real, &user("user-1")).await, 0);
    assert_eq!(used(&real, &user("user-2")).await, 5);
}

#[tokio::test]
async fn a_broken_connection_loses_and_doubles_nothing() {
    let recording = Recording::start().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let cuts = Arc::new(AtomicUsize::new(0));
    let cutting = async {
        while !is_over.load(Ordering::Relaxed) {
            let cut: u32 = recording
                .kit
                .server
                .run("CLIENT KILL TYPE normal SKIPME yes")
                .await;
            cuts.fetch_add(usize::try_from(cut).unwrap(), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let charging = async {
        let mut charged = 0;
        for _ in 0..100 {
            let sent = one(&user("alice"), 1_000_000);
            if let Ok(decision) = recording.kit.store.reserve(&sent, Sends::Once).await {
                let reservation = allowed(Ok(decision)).reservation;
                let commit = Commit {
                    amounts: reservation.reserved_amounts(),
                    reservation,
                    attempt: None,
                };
                while recording.kit.store.commit(&commit).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                charged += 1;
            } else {
                until(async || recording.kit.store.abort(&sent).await.is_ok()).await;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        charged
    };
    let (charged, ()) = tokio::join!(charging, cutting);
    recording.drained().await;
    assert!(cuts.load(Ordering::Relaxed) > 3);
    assert_eq!(recording.used(&user("alice")).await, charged);
    until(async || {
        let read = recording.kit.store.read(&user("alice"), &[of_user()]).await;
        read.is_ok_and(|values| numbers(&values) == [(charged, 0)])
    })
    .await;
}

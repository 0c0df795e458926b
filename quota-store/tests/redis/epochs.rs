//! Redis loses its data, and gets it back from the ledger.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use quota_store::{
    Act, BreakerState, Commit, CounterStore as _, Decision, GuardOptions, GuardedStore,
    OnStoreFailure, RedisCounterStore, Requester, Sends, Settled, StoreErrorKind, ledger::Ledger,
    reconcile::Repair,
};

use crate::{
    faulty::Faulty,
    kit::{Kit, allowed, amount, connect, numbers, of_user, one, options, user},
    outbox::{Recording, drained, ledger, recording, used},
    relay::charge,
    server::{Server, until},
};

const USERS: usize = 6;
const HARD: u64 = 120;

/// Waits until a counter says this.
async fn says(store: &RedisCounterStore, requester: &Requester, used: u64) {
    until(async || {
        let read = store.read(requester, &[of_user()]).await;
        read.is_ok_and(|values| values[0].used.get() == used)
    })
    .await;
}

#[tokio::test]
async fn a_flushed_server_admits_nothing_before_its_counters_are_back() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    let alice = user("alice");
    for _ in 0..6 {
        assert!(charge(&kit.store, &alice).await);
    }
    recording.drained().await;
    for round in 0..5 {
        kit.server.run::<String>("FLUSHALL").await;
        // Six are used, so of ten only four are left.
        let mut held = Vec::new();
        for _ in 0..200 {
            match kit.store.reserve(&one(&alice, 10), Sends::Once).await {
                Ok(Decision::Allowed(allowed)) => held.push(allowed.reservation),
                Ok(Decision::Denied(denied)) => assert_eq!(numbers(&denied.counters), [(6, 4)]),
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::NotServing),
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        assert_eq!(held.len(), 4, "in round {round}");
        for reservation in held {
            kit.store.release(&reservation).await.unwrap();
        }
        let loss = kit.store.last_loss().unwrap();
        assert_eq!(loss.partitions, 256);
        // It may not have looked since they were brought.
        assert!(loss.records_at_most <= 6, "{loss:?}");
    }
}

#[tokio::test]
async fn a_server_that_restarts_without_its_data_is_rebuilt_and_late_commits_count_once() {
    let server = Server::start(&[]).await;
    let ledger = ledger(&server).await;
    let store = recording(&server, &ledger).await;
    let alice = user("alice");
    for _ in 0..5 {
        assert!(charge(&store, &alice).await);
    }
    let lost = allowed(store.reserve(&one(&alice, 10), Sends::Once).await).reservation;
    drained(&server).await;
    let mut server = server;
    server.kill();
    server.restart().await;
    says(&store, &alice, 5).await;
    let commit = Commit {
        amounts: lost.reserved_amounts(),
        reservation: lost,
        attempt: None,
    };
    assert!(matches!(store.commit(&commit).await, Ok(Settled::Late(_))));
    assert!(matches!(store.commit(&commit).await, Ok(Settled::Already)));
    drained(&server).await;
    assert_eq!(used(&ledger, &alice).await, 6);
    assert_eq!(store.last_loss().unwrap().partitions, 256);
}

#[tokio::test]
async fn what_is_lost_is_no_more_than_what_is_told() {
    let server = Server::start(&[]).await;
    let real = ledger(&server).await;
    let faulty = Arc::new(Faulty::new(Arc::clone(&real)));
    let doubled: Arc<dyn Ledger> = Arc::clone(&faulty) as _;
    let store = recording(&server, &doubled).await;
    let alice = user("alice");
    assert!(charge(&store, &alice).await);
    drained(&server).await;
    faulty.fail();
    for _ in 0..7 {
        assert!(charge(&store, &alice).await);
    }
    server.run::<String>("FLUSHALL").await;
    faulty.work();
    until(async || store.last_loss().is_some()).await;
    let told = store.last_loss().unwrap().records_at_most;
    // The first may be counted twice where it is looked for while it is made.
    assert!((7..=9).contains(&told), "{told}");
    until(async || store.read(&alice, &[of_user()]).await.is_ok()).await;
    drained(&server).await;
    // What was on its way through this process is in the ledger all the same.
    store.reconcile(None, Repair::Raise).await.unwrap();
    let counted = store.read(&alice, &[of_user()]).await.unwrap()[0]
        .used
        .get();
    assert_eq!(counted, used(&real, &alice).await);
    assert!(counted + told >= 8, "{counted} and {told}");
}

#[tokio::test]
async fn two_processes_rebuild_once_and_both_go_on() {
    let server = Server::start(&[]).await;
    let ledger = ledger(&server).await;
    let stores = [
        recording(&server, &ledger).await,
        recording(&server, &ledger).await,
    ];
    let over = AtomicU64::new(0);
    let load = |store: Arc<RedisCounterStore>| {
        let over = &over;
        async move {
            for number in (0..USERS).cycle().take(USERS * 200) {
                let requester = user(&format!("user-{number}"));
                match store.reserve(&one(&requester, HARD), Sends::Once).await {
                    Ok(Decision::Allowed(allowed)) => {
                        let commit = Commit {
                            amounts: allowed.reservation.reserved_amounts(),
                            reservation: allowed.reservation,
                            attempt: None,
                        };
                        until(async || store.commit(&commit).await.is_ok()).await;
                        over.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(Decision::Denied(_)) => {}
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                }
            }
        }
    };
    let flush = async {
        for after in [200, 400] {
            until(async || over.load(Ordering::Relaxed) > after).await;
            server.run::<String>("FLUSHALL").await;
        }
    };
    tokio::join!(
        load(Arc::clone(&stores[0])),
        load(Arc::clone(&stores[1])),
        flush
    );
    drained(&server).await;
    let found = stores[0].reconcile(None, Repair::Raise).await.unwrap();
    assert_eq!(found.skipped, Vec::<u8>::new());
    for number in 0..USERS {
        let requester = user(&format!("user-{number}"));
        let read = stores[1].read(&requester, &[of_user()]).await.unwrap();
        let counted = read[0].used.get();
        assert_eq!(counted, used(&ledger, &requester).await);
        // A commit of lost data comes late, on top of what was admitted since.
        assert!((HARD..HARD + 10).contains(&counted), "{counted}");
    }
    for partition in [0x2b_u8, 0x81] {
        let key = format!("GET quota:{{{partition:02x}}}:e");
        let there: String = server.run(&key).await;
        let expected = ledger.epochs().await.unwrap()[usize::from(partition)].1;
        assert_eq!(there, format!("{:016x}", expected.0));
    }
    assert!(stores.iter().any(|store| store.last_loss().is_some()));
}

/// What this process charged last is lost too, whoever else brings the counters back.
#[tokio::test]
async fn what_another_process_repaired_is_told_too() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    let alice = user("alice");
    assert!(charge(&kit.store, &alice).await);
    recording.drained().await;
    assert_eq!(kit.store.last_loss(), None);
    kit.server
        .run::<String>("SET quota:{2b}:e 00000000000000aa")
        .await;
    let repaired = vec![(0x2b, quota_store::Epoch(0xaa))];
    recording.ledger.set_epochs(repaired).await.unwrap();
    until(async || charge(&kit.store, &alice).await).await;
    let loss = kit.store.last_loss().expect("it is told");
    assert_eq!(loss.partitions, 1);
}

#[tokio::test]
async fn a_ledger_that_is_new_takes_the_epochs_that_are_there() {
    let kit = Kit::start().await;
    let alice = user("alice");
    let made = kit.allowed(&one(&alice, 5)).await.reservation;
    kit.commit(&made, &[1]).await;
    let ledger = ledger(&kit.server).await;
    let store = recording(&kit.server, &ledger).await;
    says(&store, &alice, 1).await;
    let epochs = ledger.epochs().await.unwrap();
    assert_eq!(epochs.len(), 256);
    assert_eq!(epochs[0x2b], (0x2b, made.epoch));
    assert_eq!(store.last_loss(), None);
}

#[tokio::test]
async fn a_partition_of_another_time_is_raised_to_the_ledger() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    let alice = user("alice");
    for _ in 0..3 {
        assert!(charge(&kit.store, &alice).await);
    }
    recording.drained().await;
    kit.server.run::<u32>("DEL quota:{2b}:u::alice").await;
    kit.server
        .run::<String>("SET quota:{2b}:e 00000000000000aa")
        .await;
    let refused = kit.store.read(&alice, &[of_user()]).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::NotServing);
    assert!(refused.is_partial());
    says(&kit.store, &alice, 3).await;
    let made = kit.allowed(&one(&alice, 5)).await.reservation;
    assert_eq!(made.epoch.0, 0xaa);
    assert_eq!(kit.store.last_loss().unwrap().partitions, 1);
}

#[tokio::test]
async fn loss_without_a_trace_is_found_and_only_ever_raised() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    let (alice, bob) = (user("alice"), user("bob"));
    for _ in 0..3 {
        assert!(charge(&kit.store, &alice).await);
        assert!(charge(&kit.store, &bob).await);
    }
    kit.administer(&bob, Act::Raise(of_user(), amount(9))).await;
    recording.drained().await;
    kit.server.run::<u32>("DEL quota:{2b}:u::alice").await;

    let told = kit.store.reconcile(None, Repair::Report).await.unwrap();
    assert_eq!((told.counters, told.different, told.raised), (2, 2, 0));
    assert_eq!(kit.read(&alice, &[of_user()]).await, [(0, 0)]);
    let mended = kit.store.reconcile(None, Repair::Raise).await.unwrap();
    assert_eq!((mended.different, mended.raised), (2, 1));
    assert_eq!(kit.read(&alice, &[of_user()]).await, [(3, 0)]);
    assert_eq!(kit.read(&bob, &[of_user()]).await, [(9, 0)]);
}

#[tokio::test]
async fn what_is_on_its_way_to_the_ledger_is_not_mistaken_for_a_loss() {
    let server = Server::start(&[]).await;
    let real = ledger(&server).await;
    let faulty = Arc::new(Faulty::new(Arc::clone(&real)));
    let doubled: Arc<dyn Ledger> = Arc::clone(&faulty) as _;
    let store = recording(&server, &doubled).await;
    let kit = Kit { server, store };
    let alice = user("alice");
    assert!(charge(&kit.store, &alice).await);
    drained(&kit.server).await;
    faulty.hang_after_appends();
    kit.administer(&alice, Act::Reset(of_user())).await;
    let found = kit
        .store
        .reconcile(Some(0x2b), Repair::Raise)
        .await
        .unwrap();
    assert_eq!((found.skipped, found.raised), (vec![0x2b], 0));
    assert_eq!(kit.read(&alice, &[of_user()]).await, [(0, 0)]);
}

#[tokio::test]
async fn a_lost_partition_does_not_open_the_breaker() {
    let server = Server::start(&[]).await;
    let real = ledger(&server).await;
    let faulty = Arc::new(Faulty::new(Arc::clone(&real)));
    let doubled: Arc<dyn Ledger> = Arc::clone(&faulty) as _;
    let store = recording(&server, &doubled).await;
    let guarded = GuardedStore::new(Arc::clone(&store) as _, GuardOptions::default());
    faulty.fail();
    server.run::<String>("FLUSHALL").await;
    for _ in 0..20 {
        let asked = one(&user("alice"), 5);
        let admission = guarded.reserve(&asked, OnStoreFailure::Deny).await;
        assert!(
            matches!(&admission, quota_store::Admission::Unavailable(unavailable)
                if unavailable.kind == StoreErrorKind::NotServing),
            "{admission:?}"
        );
    }
    assert_eq!(guarded.breaker_state(), BreakerState::Closed);
    faulty.work();
    until(async || charge(&store, &user("alice")).await).await;
}

#[tokio::test]
async fn a_ledger_that_is_down_at_the_start_keeps_nobody_from_counters_that_are_there() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    assert!(charge(&kit.store, &user("alice")).await);
    recording.drained().await;
    let faulty = Arc::new(Faulty::new(Arc::clone(&recording.ledger)));
    faulty.fail();
    let mut options = options(&kit.server.url());
    options.ledger = Some(Arc::clone(&faulty) as _);
    options.connect_timeout = std::time::Duration::from_millis(300);
    let store = connect(options).await;
    assert!(charge(&store, &user("alice")).await);
}

#[tokio::test]
async fn what_relays_had_in_their_hands_is_counted_soon_after_a_loss() {
    let server = Server::start(&[]).await;
    let real = ledger(&server).await;
    let faulty = Arc::new(Faulty::new(Arc::clone(&real)));
    let doubled: Arc<dyn Ledger> = Arc::clone(&faulty) as _;
    let store = recording(&server, &doubled).await;
    let alice = user("alice");
    // A relay has read it, and can't append it before the counters are back.
    faulty.hold_appends();
    assert!(charge(&store, &alice).await);
    until(async || faulty.hung() > 0).await;
    server.run::<String>("FLUSHALL").await;
    until(async || store.last_loss().is_some()).await;
    says(&store, &alice, 0).await;
    faulty.work();
    says(&store, &alice, 1).await;
    assert_eq!(used(&real, &alice).await, 1);
}

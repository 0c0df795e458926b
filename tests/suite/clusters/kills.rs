//! Whole processes die with their relays, again and again.

use super::{Site, all_users, load::Load, report, setting};

/// Set to 50 for the full test.
const KILLS: &str = "QUOTA_TESTS_KILLS";
const CLIENTS: u64 = 12;

/// Of two processes now one is killed and now the other, while clients ask both.
async fn nothing_is_lost_or_doubled(site: Site) {
    let kills = usize::try_from(setting(KILLS, 4)).unwrap();
    let (first, second) = tokio::join!(site.node(), site.node());
    let load = Load::start(vec![first, second], CLIENTS);
    for kill in 0..kills {
        load.pass(40 + kill % 17).await;
        let dying = std::sync::Arc::clone(&load.nodes()[kill % 2]);
        dying.process.kill();
        let next = site.node().await;
        load.nodes()[kill % 2] = next;
    }
    load.pass(40).await;
    let seen = load.end().await;
    assert_eq!(
        load.refused(),
        0,
        "a process answers 503 although it counts"
    );

    let used = site.balances(&all_users()).await;
    let (requests, units) = site.records().await;
    for (user, used) in &used {
        let recorded = units.get(user).copied().unwrap_or_default();
        assert_eq!(recorded, *used, "what the records of {user} add up to");
    }
    for ask in &seen {
        assert_eq!(requests.get(&ask.id), Some(&1), "{ask:?}");
    }
    let doubled = requests.values().filter(|count| **count > 1).count();
    assert_eq!(doubled, 0);
    let used: u64 = used.values().sum();
    let unseen = used - u64::try_from(seen.len()).unwrap();
    let most = CLIENTS * u64::try_from(kills).unwrap();
    assert!(unseen <= most, "{unseen} were charged and not answered");
    report(&format!(
        "{kills} kills, {} answers, {unseen} charged without an answer",
        seen.len()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_lose_and_double_nothing_in_sqlite() {
    nothing_is_lost_or_doubled(Site::with_sqlite("").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_lose_and_double_nothing_in_postgres() {
    nothing_is_lost_or_doubled(Site::with_postgres("").await).await;
}

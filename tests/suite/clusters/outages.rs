//! Postgres is gone while requests come at a rate.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::{Ask, Site, USERS, at_rest, blocking, report, setting, user};
use crate::processes::Node;

/// Set to 60 for the full test.
const SECONDS: &str = "QUOTA_TESTS_OUTAGE_SECONDS";
/// Set to 300 for the full test.
const RATE: &str = "QUOTA_TESTS_OUTAGE_RATE";

/// Sends so many requests, a second's worth of `rate` at a time; the units of each user that were
/// answered with 200.
async fn send(nodes: &[Arc<Node>], rate: u64, requests: u64, newcomers: bool) -> BTreeSet<String> {
    let pause = Duration::from_nanos(1_000_000_000 / rate);
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut answers = JoinSet::new();
    for number in 0..requests {
        ticks.tick().await;
        let status = if number % 5 == 4 { 500 } else { 200 };
        let who = match number % 50 {
            // Somebody whom no process has seen before.
            0 if newcomers => format!("newcomer-{number}"),
            _ => user(number % USERS),
        };
        let ask = Ask::status(status, &who);
        let node = Arc::clone(&nodes[usize::try_from(number).unwrap() % nodes.len()]);
        answers.spawn(async move {
            let answer = node.ask(&ask).await;
            let told = || {
                node.process
                    .output()
                    .lines()
                    .rev()
                    .take(9)
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            assert_eq!(answer, Some(status), "{ask:?}: {}", told());
            (status == 200).then_some((ask.user, ask.id))
        });
    }
    let mut charged = BTreeSet::new();
    while let Some(answer) = answers.join_next().await {
        if let Some((user, id)) = answer.expect("no request fails") {
            charged.insert(format!("{user} {id}"));
        }
    }
    charged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_on_without_postgres_and_all_is_recorded_once() {
    let (seconds, rate) = (setting(SECONDS, 4), setting(RATE, 40));
    let site = Site::with_postgres("").await;
    let postgres = site.postgres.clone().expect("it has one");
    let (first, second) = tokio::join!(site.node(), site.node());
    let nodes = [first, second];
    let mut charged = send(&nodes, rate, rate, false).await;

    let dying = Arc::clone(&postgres);
    blocking(move || dying.kill()).await;
    charged.extend(send(&nodes, rate, rate * seconds, true).await);
    // It is visible, and what the layer records by itself does not hide it.
    for expected in [200, 200, 429, 429] {
        let cost = Ask::path("/demo/cost/10".to_owned(), "greedy");
        assert_eq!(nodes[0].ask(&cost).await, Some(expected));
    }
    let behind = || async {
        let gauge = nodes[0].gauge("quota_ledger_backlog").await;
        let health = nodes[0].health().await;
        let waiting = health["ledger"]["backlog"].as_u64().unwrap_or_default();
        let is_shown = gauge.parse::<u64>().is_ok_and(|shown| shown >= 100);
        (is_shown && waiting >= 100 && health["status"] == "degraded")
            .then_some(())
            .ok_or_else(|| format!("a gauge of {gauge:?}, {health}"))
    };
    at_rest(behind).await;

    let back = Arc::clone(&postgres);
    blocking(move || back.restart()).await;
    charged.extend(send(&nodes, rate, rate, false).await);
    let users: BTreeSet<String> = charged
        .iter()
        .map(|one| one.split(' ').next().unwrap().to_owned())
        .collect();
    let used = site.balances(&users).await;
    assert_eq!(
        used.values().sum::<u64>(),
        u64::try_from(charged.len()).unwrap()
    );
    let (requests, _) = site.records().await;
    for one in &charged {
        let id = one.split(' ').nth(1).unwrap();
        assert_eq!(requests.get(id), Some(&1), "{one}");
    }
    // And those two of the one who spent all.
    assert_eq!(requests.len(), charged.len() + 2);
    let caught_up = || async {
        let gauge = nodes[0].gauge("quota_ledger_backlog").await;
        (gauge == "0").then_some(()).ok_or(gauge)
    };
    at_rest(caught_up).await;
    report(&format!(
        "{seconds} s without Postgres at {rate}/s: {} charged, none failed",
        charged.len()
    ));
}

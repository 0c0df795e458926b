//! Redis loses everything while two processes are under load.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{Ask, Site, all_users, at_rest, blocking, load::Load, report};
use crate::processes::Node;

const CLIENTS: u64 = 8;
/// Flushes and restarts.
const LOSSES: usize = 4;

/// One who has spent all 20 units, and goes on asking for more until it is over. Nobody may give
/// them any, whatever was lost.
struct Spender {
    is_over: AtomicBool,
    /// How often each process said that nothing is left.
    denied: [AtomicU64; 2],
}

impl Spender {
    fn ask() -> Ask {
        Ask::path("/demo/cost/10".to_owned(), "spender")
    }

    async fn start(
        site: &Site,
        nodes: &[Arc<Node>; 2],
    ) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        for node in nodes {
            assert_eq!(node.ask(&Self::ask()).await, Some(200));
        }
        at_rest(|| async {
            let sums = site.balance("spender", "demo_units").await?;
            (sums == [20, 20])
                .then_some(())
                .ok_or_else(|| format!("{sums:?}"))
        })
        .await;
        let spender = Arc::new(Self {
            is_over: AtomicBool::new(false),
            denied: Default::default(),
        });
        let task = tokio::spawn(Arc::clone(&spender).keep_asking(nodes.clone()));
        (spender, task)
    }

    async fn keep_asking(self: Arc<Self>, nodes: [Arc<Node>; 2]) {
        while !self.is_over.load(Ordering::SeqCst) {
            for (node, denied) in nodes.iter().zip(&self.denied) {
                match node.ask(&Self::ask()).await {
                    Some(429) => {
                        denied.fetch_add(1, Ordering::SeqCst);
                    }
                    Some(503) => tokio::time::sleep(super::BETWEEN_LOOKS / 10).await,
                    other => panic!("{other:?} from an empty counter"),
                }
            }
        }
    }

    /// Waits until both processes count again.
    async fn is_denied_again(&self) {
        let numbers = || self.denied.each_ref().map(|one| one.load(Ordering::SeqCst));
        let before = numbers();
        at_rest(|| async {
            let now = numbers();
            let both = now
                .iter()
                .zip(before)
                .all(|(now, before)| *now > before + 1);
            both.then_some(())
                .ok_or_else(|| format!("{now:?} after {before:?}"))
        })
        .await;
    }
}

/// The figures that processes told, by process and when they noticed.
type Figures = BTreeMap<(usize, String), u64>;

/// The figure of each process' last loss, beside those before.
async fn figures(nodes: &[Arc<Node>; 2], mut known: Figures) -> Figures {
    for (place, node) in nodes.iter().enumerate() {
        let health = node.health().await;
        let loss = &health["store"]["last_loss"];
        if let Some(at) = loss["at"].as_str() {
            assert_eq!(health["status"], "degraded", "{health}");
            let partitions = loss["partitions"].as_u64().unwrap();
            assert!((1..=256).contains(&partitions), "{health}");
            let records = loss["records_at_most"].as_u64().unwrap();
            known.insert((place, at.to_owned()), records);
        }
    }
    known
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_redis_serves_nobody_from_empty_counters_and_is_rebuilt() {
    let site = Site::with_sqlite("").await;
    let (first, second) = tokio::join!(site.node(), site.node());
    let nodes = [first, second];
    assert!(nodes[0].health().await["store"]["last_loss"].is_null());
    let (spender, asking) = Spender::start(&site, &nodes).await;
    let load = Load::start(nodes.to_vec(), CLIENTS);
    let mut known = Figures::new();
    for loss in 0..LOSSES {
        load.pass(100).await;
        let redis = Arc::clone(&site.redis);
        blocking(move || {
            if loss % 2 == 0 {
                redis.cli(&["FLUSHALL"]);
            } else {
                redis.restart();
            }
        })
        .await;
        spender.is_denied_again().await;
        // Both tell what they charged last, whichever of them brings the counters back.
        at_rest(|| async {
            let now = figures(&nodes, known.clone()).await;
            (now.len() >= known.len() + nodes.len())
                .then_some(())
                .ok_or_else(|| format!("{now:?} after {known:?}"))
        })
        .await;
        known = figures(&nodes, known).await;
    }
    load.pass(100).await;
    let seen = u64::try_from(load.end().await.len()).unwrap();
    spender.is_over.store(true, Ordering::SeqCst);
    asking.await.expect("nothing was given away");

    let used: u64 = site.balances(&all_users()).await.values().sum();
    let told: u64 = known.values().sum();
    let forgotten = seen.saturating_sub(used);
    assert!(
        forgotten <= told,
        "{forgotten} forgotten, {told} told: {known:?}"
    );
    assert!(used <= seen, "{used} charged for {seen} answers");
    let sums = site.balance("spender", "demo_units").await.unwrap();
    assert_eq!(sums, [20, 20]);
    let told_in_logs = nodes
        .iter()
        .filter(|node| node.process.output().contains("records_at_most"))
        .count();
    assert_eq!(told_in_logs, 2, "{}", nodes[0].process.output());
    report(&format!(
        "{LOSSES} losses, {seen} answers, {forgotten} forgotten, at most {told} told, {} refused",
        load.refused()
    ));
}

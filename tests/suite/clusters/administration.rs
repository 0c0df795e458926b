//! Resets and adjustments through the admin API of one process, while requests come to two.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quota_store::ledger::{AuditQuery, Span};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::{Ask, Site, at_rest, report};
use crate::processes::Node;

const CLIENTS: usize = 12;
const ACTS: u64 = 120;
/// Twenty a second.
const BETWEEN_ACTS: Duration = Duration::from_millis(50);
const USER: &str = "alice";

/// What no sample may be above, and how often that changed.
#[derive(Default)]
struct Bound(Mutex<(u64, u64)>);

impl Bound {
    fn get(&self) -> (u64, u64) {
        *self.0.lock().unwrap()
    }

    fn set(&self, most: u64) {
        let mut bound = self.0.lock().unwrap();
        *bound = (most, bound.1 + 1);
    }
}

/// What was done to the counter.
struct Acts<'a> {
    site: &'a Site,
    node: &'a Node,
    bound: &'a Bound,
    limit: u64,
    /// What resets and settings took away, less what they gave.
    taken: i64,
}

impl Acts<'_> {
    async fn act(&self, method: &str, what: &str, body: Value) -> Value {
        let path = format!("/users/{USER}/{what}?tenant=-");
        let (status, answer) = self.node.admin(method, &path, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn total(&self) -> u64 {
        let value = self.site.counter(USER).await;
        value.used.get() + value.reserved.get()
    }

    async fn reset(&mut self) {
        let body = json!({ "reason": "under load" });
        let answer = self.act("POST", "reset", body).await;
        for change in answer["changes"].as_array().unwrap() {
            self.taken += change["used_before"].as_i64().unwrap();
        }
        self.settle().await;
    }

    async fn set_used(&mut self, used: u64) {
        // What is in flight stays.
        self.bound.set(self.bound.get().0 + used);
        let body = json!({ "quota": "demo_calls", "window": "lifetime", "used": used,
            "reason": "under load" });
        let change = self.act("PUT", "used", body).await;
        let units = |field: &str| change[field].as_i64().unwrap();
        self.taken += units("used_before") - units("used_after");
        self.settle().await;
    }

    /// From its answer on nobody passes it, or the level at which it was lowered.
    async fn limit(&mut self, limit: u64) {
        self.bound.set(self.bound.get().0.max(limit));
        let body = json!({ "quota": "demo_calls", "window": "lifetime", "limit": limit,
            "reason": "under load" });
        self.act("PUT", "adjust", body).await;
        self.limit = limit;
        self.settle().await;
    }

    /// Nothing is admitted above the limit any more, so the total only falls to it.
    async fn settle(&self) {
        self.bound.set(self.total().await.max(self.limit));
    }
}

/// Asks in turn until it is over; how many were answered with 200, and how many at all.
async fn keep_asking(nodes: [Arc<Node>; 2], client: usize, is_over: Arc<AtomicBool>) -> (u64, u64) {
    let (mut charged, mut asked) = (0, 0);
    while !is_over.load(Ordering::SeqCst) {
        let turn = client + usize::try_from(asked).unwrap();
        let status = if turn.is_multiple_of(4) { 500 } else { 200 };
        let answer = nodes[turn % 2].ask(&Ask::status(status, USER)).await;
        match answer {
            Some(200) => charged += 1,
            Some(429) => tokio::time::sleep(Duration::from_millis(2)).await,
            Some(500) => {}
            other => panic!("{other:?}"),
        }
        asked += 1;
    }
    (charged, asked)
}

async fn keep_sampling(site: &Site, bound: &Bound, is_over: &AtomicBool) -> u64 {
    let mut samples = 0;
    while !is_over.load(Ordering::SeqCst) {
        let (before, change) = bound.get();
        let value = site.counter(USER).await;
        let total = value.used.get() + value.reserved.get();
        let (after, changes) = bound.get();
        // Beyond one change nobody knows which was in force.
        if changes <= change + 1 {
            let most = before.max(after);
            assert!(total <= most, "{value:?} above {most}");
            samples += 1;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    samples
}

async fn sums_match(site: Site) {
    let (first, second) = tokio::join!(site.node(), site.node());
    let nodes = [first, second];
    let bound = Bound::default();
    let mut acts = Acts {
        site: &site,
        node: &nodes[0],
        bound: &bound,
        limit: 0,
        taken: 0,
    };
    acts.limit(50).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(keep_asking(nodes.clone(), client, Arc::clone(&is_over)));
    }
    let acting = async {
        let mut ticks = tokio::time::interval(BETWEEN_ACTS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for act in 0..ACTS {
            ticks.tick().await;
            match act % 4 {
                0 | 2 => acts.reset().await,
                1 => {
                    let limit = [80, 10, 40, 5][usize::try_from(act / 4 % 4).unwrap()];
                    acts.limit(limit).await;
                }
                _ => acts.set_used(act % 7).await,
            }
        }
        is_over.store(true, Ordering::SeqCst);
        acts.taken
    };
    let (taken, samples) = tokio::join!(acting, keep_sampling(&site, &bound, &is_over));
    let (mut charged, mut asked) = (0, 0);
    while let Some(client) = clients.join_next().await {
        let (some, all) = client.expect("no request fails");
        (charged, asked) = (charged + some, asked + all);
    }
    let used = site.balances(&[USER.to_owned()].into()).await[USER];
    assert_eq!(
        i64::try_from(used).unwrap(),
        i64::try_from(charged).unwrap() - taken
    );
    let (requests, units) = site.records().await;
    assert_eq!(units[USER], charged);
    assert_eq!(u64::try_from(requests.len()).unwrap(), charged);
    at_rest(|| async { audited(&site).await }).await;
    report(&format!(
        "{ACTS} acts, {asked} requests, {charged} charged, {samples} samples"
    ));
}

/// One audit for each act, and one for the limit at the beginning.
async fn audited(site: &Site) -> Result<(), String> {
    let mut query = AuditQuery {
        tenant: None,
        target: None,
        actor: None,
        action: None,
        span: Span::ALL,
        after: None,
        limit: 500,
    };
    let mut audits = 0;
    loop {
        let page = site
            .ledger
            .audits(&query)
            .await
            .map_err(|error| error.to_string())?;
        audits += page.rows.len();
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    (u64::try_from(audits).unwrap() == ACTS + 1)
        .then_some(())
        .ok_or_else(|| format!("{audits} audits of {ACTS} acts"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_match_while_administrators_act_with_sqlite() {
    sums_match(Site::with_sqlite("").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_match_while_administrators_act_with_postgres() {
    sums_match(Site::with_postgres("").await).await;
}

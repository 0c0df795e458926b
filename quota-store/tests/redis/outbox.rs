//! What was charged reaches the ledger, once.

use std::{sync::Arc, time::Duration};

use quota_store::{
    Act, Administered, Amount, Commit, Correction, CounterStore as _, Operation, OperationId,
    Orphans, RedisCounterStore, Requester, ReservationId, Settled,
    ledger::{
        Attempt, Charged, Ledger, LogQuery, Outcome, PostingKind, SqliteLedger, SqliteOptions,
    },
    reconcile::Repair,
};
use uuid::Uuid;

use crate::{
    kit::{
        Kit, amount, brief, connect, done, hold, member, of_tenant, of_user, one, options, request,
        user,
    },
    relay::charge,
    server::{Server, until},
};

/// A ledger beside the server's data.
pub(crate) async fn ledger(server: &Server) -> Arc<dyn Ledger> {
    let path = server.folder.path().join("quota.db");
    Arc::new(SqliteLedger::open(SqliteOptions::new(path)).await.unwrap())
}

/// A store that brings what it charges to this ledger.
pub(crate) async fn recording(server: &Server, ledger: &Arc<dyn Ledger>) -> Arc<RedisCounterStore> {
    let mut options = options(&server.url());
    options.ledger = Some(Arc::clone(ledger));
    // So long it waits for all partitions to be served.
    options.connect_timeout = Duration::from_secs(10);
    connect(options).await
}

pub(crate) struct Recording {
    pub(crate) kit: Kit,
    pub(crate) ledger: Arc<dyn Ledger>,
}

impl Recording {
    pub(crate) async fn start() -> Self {
        let server = Server::start(&[]).await;
        let ledger = ledger(&server).await;
        let store = recording(&server, &ledger).await;
        Self {
            kit: Kit { server, store },
            ledger,
        }
    }

    /// Waits until nothing is on its way to the ledger.
    pub(crate) async fn drained(&self) {
        drained(&self.kit.server).await;
    }

    pub(crate) async fn used(&self, requester: &Requester) -> u64 {
        used(&self.ledger, requester).await
    }

    async fn log(&self) -> Vec<Attempt> {
        let query = LogQuery::of(None, 100);
        self.ledger.log(&query).await.unwrap().rows
    }
}

pub(crate) async fn used(ledger: &Arc<dyn Ledger>, requester: &Requester) -> u64 {
    ledger.used(requester, &[of_user()]).await.unwrap()[0].get()
}

pub(crate) async fn drained(server: &Server) {
    let redis = server.connection().await;
    until(|| {
        let mut pipeline = redis::pipe();
        for partition in 0..=u8::MAX {
            pipeline
                .cmd("XLEN")
                .arg(format!("quota:{{{partition:02x}}}:s"));
        }
        let mut redis = redis.clone();
        async move {
            let lengths: Vec<u64> = pipeline.query_async(&mut redis).await.unwrap();
            lengths.iter().sum::<u64>() == 0
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_committed_is_in_the_ledger_with_all_that_is_known_of_it() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    assert!(kit.store.writes_ledger());
    let alice = user("alice \"'<é");
    let made = kit.allowed(&one(&alice, 9)).await.reservation;
    let attempt = Attempt {
        id: made.request.id,
        outcome: Outcome::Committed,
        at: made.reserved_at,
        tenant: None,
        user: Some(alice.user.clone()),
        plan: Some(quota_store::ledger::PlanAtTheTime {
            plan: "free".parse().unwrap(),
            source: quota_store::ledger::PlanSource::Default,
        }),
        rule: Some("POST /messages".to_owned()),
        charges: vec![Charged {
            quota: "messages".parse().unwrap(),
            reserved: Amount::ONE,
            charged: 3,
        }],
        status: Some(201),
        cause: None,
        latency: Some(Duration::from_micros(1_234)),
        tags: [("model".to_owned(), "x".to_owned())].into(),
        metadata: serde_json::from_str(r#"{"cost":0.25,"deep":[1,null]}"#).unwrap(),
        request_id: Some("r-1".to_owned()),
        client_ip: Some("::1".parse().unwrap()),
        user_agent: Some("curl\n".to_owned()),
        revision: "abcdef".to_owned(),
        denial: None,
        count: std::num::NonZeroU32::MIN,
    };
    let commit = Commit {
        reservation: made,
        amounts: [amount(3)].into_iter().collect(),
        attempt: Some(Arc::new(attempt.clone())),
    };
    assert_eq!(done(&kit.store.commit(&commit).await.unwrap()), [(3, 0)]);
    assert_eq!(kit.store.commit(&commit).await.unwrap(), Settled::Already);
    recording.drained().await;
    assert_eq!(recording.log().await, [attempt]);
    assert_eq!(recording.used(&alice).await, 3);
}

#[tokio::test]
async fn corrections_late_commits_and_failures_are_told_apart() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    let alice = member("acme", "alice");
    let holds = [hold(of_user(), 99, 5), hold(of_tenant(), 99, 5)];
    let made = kit
        .allowed(&Arc::new(request(&alice, &holds)))
        .await
        .reservation;
    kit.commit(&made, &[5, 5]).await;
    let correction = Correction {
        reservation: made.clone(),
        differences: [-2, 7].into_iter().collect(),
        attempt: None,
    };
    for _ in 0..2 {
        kit.store.correct(&correction).await.unwrap();
    }
    let released = kit.allowed(&Arc::new(request(&alice, &holds))).await;
    kit.store.release(&released.reservation).await.unwrap();
    let mut brief = request(&alice, &holds);
    brief.ttl = Duration::from_millis(1);
    let expired = kit.allowed(&Arc::new(brief)).await.reservation;
    until(async || kit.read(&alice, &[of_user()]).await == [(3, 0)]).await;
    assert!(matches!(
        kit.commit(&expired, &[1, 0]).await,
        Settled::Late(_)
    ));
    recording.drained().await;
    let counters = [of_user(), of_tenant()];
    let sums = recording.ledger.used(&alice, &counters).await.unwrap();
    assert_eq!(sums, [amount(4), amount(12)]);
    assert_eq!(kit.read(&alice, &counters).await, [(4, 0), (12, 0)]);

    let history = async |id: ReservationId| {
        let tenant = alice.tenant.as_ref();
        let found = recording.ledger.attempt(tenant, id).await.unwrap();
        found.map(|found| {
            let outcomes: Vec<Outcome> = found.records.iter().map(|one| one.outcome).collect();
            let kinds: Vec<PostingKind> = found.postings.iter().map(|one| one.kind).collect();
            (outcomes, kinds)
        })
    };
    let (outcomes, kinds) = history(made.request.id).await.unwrap();
    assert_eq!(outcomes, [Outcome::Committed, Outcome::Correction]);
    assert_eq!(kinds, [PostingKind::Commit, PostingKind::Correction]);
    let (outcomes, kinds) = history(expired.request.id).await.unwrap();
    assert_eq!(outcomes, [Outcome::Expired, Outcome::Late]);
    assert_eq!(kinds, [PostingKind::Late]);
    assert_eq!(history(released.reservation.request.id).await, None);
}

#[tokio::test]
async fn a_correction_is_posted_as_what_it_changed() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    let alice = member("acme", "alice");
    let holds = [hold(of_tenant(), 99, 5), hold(of_user(), 99, 5)];
    let made = kit.allowed(&Arc::new(request(&alice, &holds))).await;
    kit.commit(&made.reservation, &[5, 5]).await;
    kit.administer(&alice, Act::SetUsed(of_user(), amount(1)))
        .await;
    let correction = Correction {
        reservation: made.reservation,
        differences: [-2, -3].into_iter().collect(),
        attempt: None,
    };
    kit.store.correct(&correction).await.unwrap();
    let counters = [of_user(), of_tenant()];
    assert_eq!(kit.read(&alice, &counters).await, [(0, 0), (3, 0)]);
    let again = kit.allowed(&Arc::new(request(&alice, &holds))).await;
    kit.commit(&again.reservation, &[0, 4]).await;
    recording.drained().await;
    let sums = recording.ledger.used(&alice, &counters).await.unwrap();
    assert_eq!(sums, [amount(4), amount(3)]);
}

#[tokio::test]
async fn an_acl_user_needs_some_rights_more() {
    let server = Server::start(&[]).await;
    let rights = "+evalsha +eval +info +time +@string +@hash +@sortedset +exists +pttl +pexpireat +persist +@stream +del";
    let rule = format!("ACL SETUSER quota on >pass ~quota:* resetchannels {rights}");
    server.run::<String>(&rule).await;
    let ledger = ledger(&server).await;
    let mut options = options(&server.url());
    options.password = Some("pass".into());
    options.username = Some("quota".to_owned());
    options.ledger = Some(Arc::clone(&ledger));
    options.connect_timeout = Duration::from_secs(10);
    let store = connect(options).await;
    assert!(charge(&store, &user("alice")).await);
    drained(&server).await;
    assert_eq!(used(&ledger, &user("alice")).await, 1);
    server.run::<String>("FLUSHALL").await;
    until(async || charge(&store, &user("alice")).await).await;
    drained(&server).await;
    let found = store.reconcile(None, Repair::Raise).await.unwrap();
    assert_eq!((found.counters, found.raised), (1, 0));
}

#[tokio::test]
async fn orphans_that_are_charged_are_in_the_ledger_too() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    for name in ["bob", "{} :}é\n%"] {
        let bob = user(name);
        let mut orphan = request(&bob, &[hold(of_user(), 9, 4)]);
        orphan.ttl = Duration::from_millis(1);
        orphan.orphans = Orphans::Charge;
        kit.allowed(&Arc::new(orphan)).await;
        until(async || kit.read(&bob, &[of_user()]).await == [(4, 0)]).await;
        recording.drained().await;
        assert_eq!(recording.used(&bob).await, 4);
    }
    let log = recording.log().await;
    assert!(log.iter().all(|one| one.outcome == Outcome::Expired));
    assert_eq!(log[0].charges[0].charged, 4);
}

#[tokio::test]
async fn an_orphan_with_an_unreadable_counter_ends_in_the_others_and_in_the_ledger() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    let bob = member("acme", "bob");
    let holds = [hold(of_user(), 9, 4), hold(of_tenant(), 9, 4)];
    let mut orphan = request(&bob, &holds);
    orphan.ttl = Duration::from_millis(200);
    orphan.orphans = Orphans::Charge;
    kit.allowed(&Arc::new(orphan)).await;
    let hashes: Vec<String> = kit.server.run("KEYS quota:*:t:acme").await;
    let fields: Vec<String> = kit.server.run(&format!("HKEYS {}", hashes[0])).await;
    let spoil = format!("HSET {} {} spoilt", hashes[0], fields[0]);
    kit.server.run::<u64>(&spoil).await;
    until(async || kit.read(&bob, &[of_user()]).await == [(4, 0)]).await;
    recording.drained().await;
    let counters = [of_user(), of_tenant()];
    let sums = recording.ledger.used(&bob, &counters).await.unwrap();
    assert_eq!(sums, [amount(4), amount(4)]);
}

#[tokio::test]
async fn an_orphan_that_can_not_end_is_not_in_the_ledger_either() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    let bob = member("acme", "bob");
    let holds = [hold(of_user(), 9, 4), hold(of_tenant(), 9, 4)];
    let mut orphan = request(&bob, &holds);
    orphan.ttl = Duration::from_millis(200);
    orphan.orphans = Orphans::Charge;
    kit.allowed(&Arc::new(orphan)).await;
    let hashes: Vec<String> = kit.server.run("KEYS quota:*:t:acme").await;
    kit.server.run::<u64>(&format!("DEL {}", hashes[0])).await;
    kit.server
        .run::<String>(&format!("SET {} spoilt", hashes[0]))
        .await;
    let live = async || kit.server.run::<Vec<String>>("KEYS quota:*:x").await;
    until(async || live().await.is_empty()).await;
    recording.drained().await;
    assert_eq!(kit.read(&bob, &[of_user()]).await, [(0, 4)]);
    assert_eq!(recording.log().await, []);
    assert_eq!(recording.used(&bob).await, 0);
}

#[tokio::test]
async fn acts_of_administration_are_posted_as_the_difference_they_made() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    let alice = member("acme", "alice");
    kit.administer(&alice, Act::SetUsed(of_user(), amount(7)))
        .await;
    kit.administer(&alice, Act::AddUsed(of_user(), -9)).await;
    kit.administer(&alice, Act::AddUsed(of_user(), 5)).await;
    kit.administer(&alice, Act::Reset(of_user())).await;
    kit.administer(&alice, Act::Reset(of_user())).await;
    kit.administer(&alice, Act::AddUsed(of_tenant(), 3)).await;
    kit.administer(&alice, Act::Raise(of_tenant(), amount(2)))
        .await;
    let operation = Operation {
        id: OperationId(Uuid::from_u128(1)),
        requester: alice.clone(),
        act: Act::AddUsed(of_user(), 2),
    };
    kit.store.administer(&operation).await.unwrap();
    let again = kit.store.administer(&operation).await.unwrap();
    let (before, after) = (amount(0), amount(2));
    assert_eq!(again, Administered::Already { before, after });
    recording.drained().await;
    let sums = recording
        .ledger
        .used(&alice, &[of_user(), of_tenant()])
        .await;
    assert_eq!(sums.unwrap(), [amount(2), amount(3)]);
    // What the ledger said itself is not told to it.
    kit.administer(&alice, Act::Raise(of_user(), amount(6)))
        .await;
    recording.drained().await;
    assert_eq!(recording.used(&alice).await, 2);
    assert_eq!(kit.read(&alice, &[of_user()]).await, [(6, 0)]);
}

#[tokio::test]
async fn a_full_server_loses_no_commit() {
    let recording = Recording::start().await;
    let kit = &recording.kit;
    let made = kit.allowed(&one(&user("alice"), 5)).await.reservation;
    let orphan = kit
        .allowed(&brief(&user("alice"), 5, 300))
        .await
        .reservation;
    kit.server.run::<String>("CONFIG SET maxmemory 1mb").await;
    assert_eq!(done(&kit.commit(&made, &[1]).await), [(1, 1)]);
    until(async || kit.read(&user("alice"), &[of_user()]).await == [(1, 0)]).await;
    assert!(matches!(kit.commit(&orphan, &[1]).await, Settled::Late(_)));
    recording.drained().await;
    assert_eq!(recording.used(&user("alice")).await, 2);
}

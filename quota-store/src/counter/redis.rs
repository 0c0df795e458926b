//! Counters in Redis, shared by several processes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::TryFutureExt as _;
use tokio::{sync::oneshot, task::AbortHandle};

use crate::{
    Administered, Clock, Commit, Correction, CounterKey, CounterStore, CounterValue, Decision,
    Epoch, Generation, Loss, Operation, Renewed, Requester, Reservation, Reserve, Scope, Sends,
    Settled, StoreError, UnixMillis,
    ledger::Backlog,
    reconcile::{ReconcileError, Reconciliation, Repair},
};

mod connector;
mod failure;
mod gather;
mod items;
mod keys;
mod link;
mod members;
mod operations;
mod options;
mod outbox;
mod rebuild;
mod reconcile;
mod relay;
mod replies;
mod script;
mod sweep;

pub use options::{Eviction, RedisOptions, RedisStartError, RedisUrl};

use connector::Connector;
use failure::Failure;
use gather::{Answer, Claim, Gatherer};
use items::Ending;
use keys::{Address, Partitions};
use link::Link;
use operations::invalid;
use outbox::Outbox;
use rebuild::Keeper;
use relay::Relay;
use script::{Item, LedgerScripts, Script, Scripts, Words};

/// More counters in one operation than any plan has.
const MOST_COUNTERS: usize = 1_000;
/// The most reservations that one call renews.
const MOST_RENEWED: usize = 512;
/// How many partitions hear of new plans in one call.
const PLANS_AT_ONCE: usize = 64;

/// Counters in Redis 7.0 or newer; any number of processes may share them.
///
/// Every operation is one call of a script, which Redis runs as one step by its own clock.
/// Operations that wait at the same time go out in one call. The connection comes back by itself;
/// until then operations fail at once with [`StoreErrorKind::Unreachable`](crate::StoreErrorKind::Unreachable).
///
/// An ACL user needs the keys that start with the prefix, and these rights: `+evalsha +eval +info
/// +time +@string +@hash +@sortedset +exists +pttl +pexpireat +persist`, and with a ledger `+@stream
/// +del`.
///
/// With a ledger ([`RedisOptions::ledger`]) the scripts write what they charge into streams, in the
/// same step; every process helps to move them to the ledger. Counters that Redis lost are brought
/// back from it: until then operations on them fail with
/// [`StoreErrorKind::NotServing`](crate::StoreErrorKind::NotServing).
///
/// It needs a tokio runtime, and its tasks end when it is dropped.
#[derive(Debug)]
pub struct RedisCounterStore {
    link: Arc<Link>,
    reserves: Gatherer,
    endings: Gatherer,
    scripts: Scripts,
    outbox: Option<Arc<Outbox>>,
    keeper: Option<Arc<Keeper>>,
    clock: Arc<dyn Clock>,
    /// The store's time minus the clock's, in milliseconds.
    offset: AtomicI64,
    /// The epoch of each partition; 0 where it is not known.
    epochs: Box<[AtomicU64]>,
    partitions: Partitions,
    timeout: Duration,
    memory: Duration,
    _tasks: Tasks,
}

/// Tasks that end with the store.
#[derive(Debug)]
struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl RedisCounterStore {
    /// Makes the store, and tries once to reach Redis.
    ///
    /// Where Redis can't be reached the store says so in the log and goes on trying.
    ///
    /// # Errors
    ///
    /// Where waiting would not help: see [`RedisStartError`].
    pub async fn connect(
        options: RedisOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RedisStartError> {
        let (prefix, timeout, memory) = (options.prefix.clone(), options.timeout, options.memory());
        let outbox = options.ledger.clone().map(Outbox::new).map(Arc::new);
        let connector = Connector::new(options.clone())?;
        let link = Link::new();
        let (sender, first) = oneshot::channel();
        let keep_up = tokio::spawn(Arc::clone(&link).keep_up(connector, sender));
        let mut tasks = Tasks(vec![keep_up.abort_handle()]);
        first.await.unwrap_or(Ok(()))?;

        let sweep_all = sweep::sweep_all(
            Arc::downgrade(&link),
            scripts(outbox.as_ref()).sweep,
            prefix.clone(),
            memory,
        );
        tasks.0.push(tokio::spawn(sweep_all).abort_handle());
        let keeper = match &outbox {
            Some(outbox) => Some(bring_to_ledger(&link, outbox, options, &mut tasks).await?),
            None => None,
        };
        let gather = |script: Script| {
            Gatherer::start(Arc::clone(&link), script, move |count| {
                let mut head = items::head(memory);
                head.push(count);
                head
            })
        };
        Ok(Self {
            reserves: gather(scripts(outbox.as_ref()).reserve),
            endings: gather(scripts(outbox.as_ref()).settle),
            scripts: scripts(outbox.as_ref()),
            outbox,
            keeper,
            link,
            clock,
            offset: AtomicI64::new(0),
            epochs: (0..keys::PARTITIONS).map(|_| AtomicU64::new(0)).collect(),
            partitions: Partitions::new(&prefix),
            timeout,
            memory,
            _tasks: tasks,
        })
    }

    /// Compares the counters of one partition, or of all, with the ledger.
    ///
    /// # Errors
    ///
    /// Where there is no ledger, or Redis or the ledger could not be asked; what was raised before
    /// stays.
    pub async fn reconcile(
        &self,
        partition: Option<u8>,
        repair: Repair,
    ) -> Result<Reconciliation, ReconcileError> {
        let Some(keeper) = &self.keeper else {
            return Err(ReconcileError::NoLedger);
        };
        let mut found = Reconciliation::default();
        for partition in partition.map_or(0..=u8::MAX, |one| one..=one) {
            keeper.compare(partition, repair, &mut found).await?;
        }
        Ok(found)
    }

    fn address<'a>(&'a self, requester: &'a Requester) -> Address<'a> {
        Address::of(&self.partitions, requester)
    }

    /// Keeps the difference of the clocks.
    fn learn_time(&self, now: u64) {
        let offset = i64::try_from(now).unwrap_or(i64::MAX)
            - i64::try_from(self.clock.now().get()).unwrap_or(i64::MAX);
        // Relaxed: the newest of several is as good as any.
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// The epoch that a partition should have, where a ledger says it.
    fn expected(&self, partition: u8) -> Option<Epoch> {
        let outbox = self.outbox.as_ref()?;
        Some(outbox.expected(partition))
    }

    /// Counts what is in a stream now.
    fn note_charge(&self, ending: &Ending<'_>, settled: &Settled) {
        if let Some(outbox) = &self.outbox
            && matches!(ending, Ending::Commit(_) | Ending::Correct(_))
            && matches!(settled, Settled::Done(_) | Settled::Late(_))
        {
            outbox.charge();
        }
    }

    /// Notices that the data of a partition was lost, where no ledger keeps its epoch.
    fn learn_epoch(&self, partition: u8, epoch: u64) {
        if self.outbox.is_some() {
            return;
        }
        // Relaxed: a number by itself; a change is reported once, by who swaps it.
        let before = self.epochs[usize::from(partition)].swap(epoch, Ordering::Relaxed);
        if before != 0 && before != epoch {
            metrics::counter!("quota_store_epoch_changes_total").increment(1);
            tracing::error!(target: "quota::redis", partition,
                "the counters of a partition were lost: Redis restarted without its data, or was flushed; they start again from zero"
            );
        }
    }

    /// Runs a script for one operation that is not gathered.
    async fn ask(&self, script: &Script, head: &Words, item: &Item) -> Result<Answer, Failure> {
        let answer = self.link.run(script, head, std::iter::once(item)).await?;
        let answer = Answer::one(&answer)?;
        self.learn_time(answer.now);
        Ok(answer)
    }

    /// Does the work in the time that one operation has.
    fn bounded<T>(
        &self,
        claim: &Claim,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let outcome = claim.within(self.timeout, work);
        outcome.map_err(|failure| {
            if let (true, Some(outbox)) = (failure.is_partial, &self.outbox) {
                outbox.alarm.notify_one();
            }
            failure.into()
        })
    }
}

fn scripts(outbox: Option<&Arc<Outbox>>) -> Scripts {
    outbox.map_or_else(Scripts::counting, |_| Scripts::recording())
}

/// Starts what moves the streams to the ledger and looks after the epochs, and waits a while for
/// all partitions to be served.
async fn bring_to_ledger(
    link: &Arc<Link>,
    outbox: &Arc<Outbox>,
    options: RedisOptions,
    tasks: &mut Tasks,
) -> Result<Arc<Keeper>, RedisStartError> {
    let (prefix, memory) = (options.prefix.clone(), options.memory());
    let patience = options.connect_timeout;
    let relay = Relay::new(Connector::new(options)?, Arc::clone(outbox), &prefix);
    tasks.0.push(tokio::spawn(relay.run()).abort_handle());
    let keeper = Arc::new(Keeper {
        link: Arc::clone(link),
        outbox: Arc::clone(outbox),
        scripts: LedgerScripts::new(),
        partitions: Partitions::new(&prefix),
        memory,
        token: format!("{:016x}", rand::random::<u64>()),
    });
    let (sender, ready) = oneshot::channel();
    tasks
        .0
        .push(tokio::spawn(Arc::clone(&keeper).run(sender)).abort_handle());
    // It goes on in the background: until then what is not ready says so.
    drop(tokio::time::timeout(patience, ready).await);
    Ok(keeper)
}

impl CounterStore for RedisCounterStore {
    fn now(&self) -> UnixMillis {
        let now = self.clock.now().get();
        UnixMillis::new(now.saturating_add_signed(self.offset.load(Ordering::Relaxed)))
    }

    fn writes_ledger(&self) -> bool {
        self.outbox.is_some()
    }

    fn backlog(&self) -> Backlog {
        self.outbox
            .as_ref()
            .map_or_else(Backlog::default, |outbox| outbox.backlog())
    }

    fn last_loss(&self) -> Option<Loss> {
        self.outbox.as_ref()?.last_loss()
    }

    async fn advance_plans(&self, generation: Generation) -> Result<(), StoreError> {
        let work = async {
            let mut head = items::head(self.memory);
            head.push(generation.0);
            let keys: Vec<String> = self.partitions.each('g').collect();
            // Each call is short, so that requests get in between.
            for some in keys.chunks(PLANS_AT_ONCE) {
                let mut item = Item::new();
                for key in some {
                    item.keys.push(key);
                }
                self.ask(&self.scripts.plans, &head, &item).await?;
            }
            Ok(())
        };
        self.bounded(&Claim::sent(), work).await
    }

    async fn reserve(&self, request: &Arc<Reserve>, sends: Sends) -> Result<Decision, StoreError> {
        let claim = Claim::default();
        self.bounded(&claim, self.decide(request, sends, &claim))
            .await
    }

    async fn commit(&self, commit: &Commit) -> Result<Settled, StoreError> {
        self.end(Ending::Commit(commit)).await
    }

    async fn release(&self, reservation: &Reservation) -> Result<Settled, StoreError> {
        self.end(Ending::Release(reservation)).await
    }

    async fn abort(&self, request: &Arc<Reserve>) -> Result<Settled, StoreError> {
        self.end(Ending::Abort(request)).await
    }

    async fn correct(&self, correction: &Correction) -> Result<Settled, StoreError> {
        self.end(Ending::Correct(correction)).await
    }

    async fn renew(&self, reservations: &[Reservation]) -> Result<Vec<Renewed>, StoreError> {
        let mut renewed = Vec::with_capacity(reservations.len());
        for some in reservations.chunks(MOST_RENEWED) {
            let work = self.renew_some(some, &mut renewed);
            self.bounded(&Claim::sent(), work).await?;
        }
        Ok(renewed)
    }

    async fn read(
        &self,
        requester: &Requester,
        counters: &[CounterKey],
    ) -> Result<Vec<CounterValue>, StoreError> {
        let work = self.read_all(requester, counters);
        self.bounded(&Claim::sent(), work).await
    }

    async fn administer(&self, operation: &Operation) -> Result<Administered, StoreError> {
        let work = async {
            if items::scope(&operation.act) == Scope::Tenant && operation.requester.tenant.is_none()
            {
                return Err(invalid("an act on a tenant needs a tenant"));
            }
            let address = self.address(&operation.requester);
            let expected = self.expected(address.partition);
            let item = items::administration(operation, &address, expected);
            let head = items::head(self.memory);
            let answer = self.ask(&self.scripts.administer, &head, &item).await?;
            replies::administered(&answer)
        };
        self.bounded(&Claim::sent(), work).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let work = async {
            // A reserve of nothing fails where any reserve would.
            let mut head = items::head(self.memory);
            head.push(0);
            let nothing = std::iter::empty();
            let answer = self.link.run(&self.scripts.reserve, &head, nothing).await?;
            Answer::all(&answer).map(|_| ())
        };
        self.bounded(&Claim::sent(), work).await
    }
}

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
    Generation, Operation, Renewed, Requester, Reservation, Reserve, Scope, Sends, Settled,
    StoreError, StoreErrorKind, UnixMillis,
};

mod connector;
mod failure;
mod gather;
mod items;
mod keys;
mod link;
mod options;
mod replies;
mod script;
mod sweep;

pub use options::{Eviction, RedisOptions, RedisStartError, RedisUrl};

use connector::Connector;
use failure::Failure;
use gather::{Answer, Claim, Gatherer};
use items::{Ending, Order};
use keys::{Address, Partitions};
use link::Link;
use replies::Outcome;
use script::{Item, Script, Scripts, Words};

/// More counters in one operation than any plan has.
const MOST_COUNTERS: usize = 1_000;
/// The most reservations that one call renews.
const MOST_RENEWED: usize = 512;

/// Counters in Redis 7.0 or newer; any number of processes may share them.
///
/// Every operation is one call of a script, which Redis runs as one step by its own clock.
/// Operations that wait at the same time go out in one call. The connection comes back by itself;
/// until then operations fail at once with [`StoreErrorKind::Unreachable`].
///
/// An ACL user needs the keys that start with the prefix, and these rights: `+evalsha +eval +info
/// +time +@string +@hash +@sortedset +exists +pttl +pexpireat +persist`.
///
/// It needs a tokio runtime, and its tasks end when it is dropped.
#[derive(Debug)]
pub struct RedisCounterStore {
    link: Arc<Link>,
    reserves: Gatherer,
    endings: Gatherer,
    scripts: Scripts,
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
        let connector = Connector::new(options)?;
        let link = Link::new();
        let (sender, first) = oneshot::channel();
        let keep_up = tokio::spawn(Arc::clone(&link).keep_up(connector, sender));
        let mut tasks = Tasks(vec![keep_up.abort_handle()]);
        first.await.unwrap_or(Ok(()))?;

        let sweep_all = sweep::sweep_all(
            Arc::downgrade(&link),
            Scripts::new().sweep,
            prefix.clone(),
            memory,
        );
        tasks.0.push(tokio::spawn(sweep_all).abort_handle());
        let gather = |script: Script| {
            Gatherer::start(Arc::clone(&link), script, move |count| {
                let mut head = items::head(memory);
                head.push(count);
                head
            })
        };
        Ok(Self {
            reserves: gather(Scripts::new().reserve),
            endings: gather(Scripts::new().settle),
            scripts: Scripts::new(),
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

    /// Notices that the data of a partition was lost.
    fn learn_epoch(&self, partition: u8, epoch: u64) {
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
        outcome.map_err(StoreError::from)
    }

    async fn decide(
        &self,
        request: &Arc<Reserve>,
        mut sends: Sends,
        claim: &Claim,
    ) -> Result<Decision, Failure> {
        let address = self.address(&request.requester);
        let counters = request.holds.iter().map(|hold| &*hold.counter);
        check_counters(&request.requester, &counters)?;
        let order = Order::of(&counters);
        let mut is_second = false;
        loop {
            // Sent before it is waited for, so that it is no part of the future.
            let reply = self
                .reserves
                .send(items::reserve(request, &address, &order), claim);
            let answer = match reply.wait().await {
                Err(failure) if failure.is_broken() && !is_second => {
                    // It may have run: the claim stays as sent until it goes out again.
                    is_second = true;
                    sends = Sends::Repeated;
                    Box::pin(self.link.ready()).await;
                    claim.repeat();
                    continue;
                }
                Err(failure) if is_second => return Err(failure.after_a_send()),
                outcome => outcome?,
            };
            self.learn_time(answer.now);
            match replies::outcome(&answer, request, &order, sends)? {
                Outcome::Decided(decision) => {
                    if let Decision::Allowed(allowed) = &decision {
                        self.learn_epoch(address.partition, allowed.reservation.epoch.0);
                    } else if is_second {
                        // The first copy may be on its way, and fit when it arrives.
                        let abort = items::ending(&Ending::Abort(request), &address, &order);
                        let aborted = self.endings.send(abort, &Claim::default()).wait().await;
                        aborted.map_err(Failure::after_a_send)?;
                    }
                    return Ok(decision);
                }
                Outcome::ReapMore if is_second => claim.repeat(),
                Outcome::ReapMore => claim.renew(),
            }
        }
    }

    async fn end(&self, ending: Ending<'_>) -> Result<Settled, StoreError> {
        let claim = Claim::default();
        let work = async {
            let request = ending.request();
            let counters = request.holds.iter().map(|hold| &*hold.counter);
            check_counters(&request.requester, &counters)?;
            if ending.length() != request.holds.len() {
                return Err(invalid("it has another number of amounts than of holds"));
            }
            let order = Order::of(&counters);
            let item = items::ending(&ending, &self.address(&request.requester), &order);
            let answer = self.endings.send(item, &claim).wait().await?;
            self.learn_time(answer.now);
            replies::settled(&answer, &order)
        };
        self.bounded(&claim, work).await
    }

    async fn renew_some(
        &self,
        reservations: &[Reservation],
        renewed: &mut Vec<Renewed>,
    ) -> Result<(), Failure> {
        let items: Vec<Item> = reservations
            .iter()
            .map(|reservation| {
                let address = self.address(&reservation.request.requester);
                items::renewal(&reservation.request, &address)
            })
            .collect();
        let mut head = Words::default();
        head.push(items::duration_millis(self.memory))
            .push(items.len());
        let answers = self
            .link
            .run(&self.scripts.renew, &head, items.iter())
            .await?;
        for answer in Answer::all(&answers)? {
            let answer = answer?;
            self.learn_time(answer.now);
            renewed.push(replies::renewed(&answer)?);
        }
        Ok(())
    }

    async fn read_all(
        &self,
        requester: &Requester,
        counters: &[CounterKey],
    ) -> Result<Vec<CounterValue>, Failure> {
        check_counters(requester, &counters.iter())?;
        let address = self.address(requester);
        let order = Order::of(&counters.iter());
        let item = items::read(&address, counters, &order);
        loop {
            let answer = self
                .ask(&self.scripts.read, &Words::default(), &item)
                .await?;
            if let Some(values) = replies::read(&answer, &order)? {
                return Ok(values);
            }
            sweep::sweep_partition(&self.link, &self.scripts.sweep, &address, self.memory).await?;
        }
    }
}

/// Refuses what would have no meaning.
fn check_counters<'a>(
    requester: &Requester,
    counters: &(impl ExactSizeIterator<Item = &'a CounterKey> + Clone),
) -> Result<(), Failure> {
    if counters.len() > MOST_COUNTERS {
        return Err(invalid("it has more than 1000 counters"));
    }
    for (place, counter) in counters.clone().enumerate() {
        if counter.scope == Scope::Tenant && requester.tenant.is_none() {
            return Err(invalid("a counter of the tenant needs a tenant"));
        }
        if counters.clone().take(place).any(|other| other == counter) {
            return Err(invalid("one counter is there twice"));
        }
    }
    Ok(())
}

fn invalid(text: &'static str) -> Failure {
    Failure::new(StoreErrorKind::Invalid, text)
}

impl CounterStore for RedisCounterStore {
    fn now(&self) -> UnixMillis {
        let now = self.clock.now().get();
        UnixMillis::new(now.saturating_add_signed(self.offset.load(Ordering::Relaxed)))
    }

    async fn advance_plans(&self, _generation: Generation) -> Result<(), StoreError> {
        Ok(())
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
            let item = items::administration(operation, &self.address(&operation.requester));
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

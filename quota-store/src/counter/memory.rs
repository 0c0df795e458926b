//! Counters in the memory of one process.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::sync::mpsc::UnboundedSender;

use self::{
    room::Pool,
    shard::{Common, Shard, Step},
    subjects::{Asker, Hashes},
};
use crate::{
    Administered, Clock, Commit, Correction, CounterKey, CounterStore, CounterValue, Decision,
    Epoch, Generation, Operation, Renewed, Requester, Reservation, Reserve, Sends, Settled,
    StoreError, SystemClock, UnixMillis, ledger::Balance,
};

mod administer;
mod counters;
mod keep;
mod live;
mod markers;
mod room;
mod settle;
mod shard;
mod subjects;

/// How many parts are locked by themselves. All of one owner is in one part.
const SHARDS: usize = 64;
/// What the store remembers beyond the longest reservation.
const MEMORY_MARGIN: Duration = Duration::from_mins(10);
/// Clients without a token may be one in so many of the subjects.
const ANONYMOUS_SHARE: usize = 10;
/// How often the sweeper comes by.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How much one sweep does in one shard before it lets others go on.
const SWEPT_AT_ONCE: usize = 256;
/// How many subjects of each shard one sweep looks at.
const SUBJECTS_SWEPT: usize = 1024;

/// How much a [`MemoryCounterStore`] keeps, and how long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// How many users and tenants have counters at once, a tenth of them clients without a token
    /// at most. At the limit new ones get
    /// [`StoreErrorKind::Full`](crate::StoreErrorKind::Full); a counter in use is never dropped.
    pub max_subjects: usize,
    /// How many counters there are at once, those of windows that ended not long ago included.
    pub max_counters: usize,
    /// How many live reservations and markers there are at once.
    pub max_records: usize,
    /// How long a reservation is renewed at most.
    pub max_reservation: Duration,
    /// Where reservations go that expired, so that a ledger hears of them. Those whose request says
    /// [`Orphans::Charge`](crate::Orphans::Charge) were charged what they held.
    pub expired: Option<UnboundedSender<Reservation>>,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            max_subjects: 1_000_000,
            max_counters: 16_000_000,
            max_records: 4_000_000,
            max_reservation: Duration::from_mins(15),
            expired: None,
        }
    }
}

impl MemoryOptions {
    /// With this many users and tenants at once.
    #[must_use]
    pub fn with_max_subjects(self, max_subjects: usize) -> Self {
        Self {
            max_subjects,
            ..self
        }
    }

    /// With this many counters at once.
    #[must_use]
    pub fn with_max_counters(self, max_counters: usize) -> Self {
        Self {
            max_counters,
            ..self
        }
    }

    /// With this many live reservations and markers at once.
    #[must_use]
    pub fn with_max_records(self, max_records: usize) -> Self {
        Self {
            max_records,
            ..self
        }
    }

    /// With reservations that are renewed for this long at most.
    #[must_use]
    pub fn with_max_reservation(self, max_reservation: Duration) -> Self {
        Self {
            max_reservation,
            ..self
        }
    }

    /// With somebody who hears of each reservation that expired.
    #[must_use]
    pub fn with_expired(self, expired: UnboundedSender<Reservation>) -> Self {
        Self {
            expired: Some(expired),
            ..self
        }
    }
}

/// Keeps counters in this process; they are lost with it.
///
/// A step locks the one shard in which its owner lies, and never waits within it.
pub struct MemoryCounterStore<C = SystemClock> {
    clock: C,
    hasher: RandomState,
    common: Common,
    shards: Box<[Part]>,
}

/// A shard on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Part(Mutex<Shard>);

impl<C: Clock> MemoryCounterStore<C> {
    /// An empty store, whose time is that of `clock`.
    #[must_use]
    pub fn new(options: &MemoryOptions, clock: C) -> Self {
        // Small stores are shared out one by one, so that none of the room lies idle.
        let block = |most: usize| (most / (SHARDS * 64)).clamp(1, 256);
        let pool = |most: usize| Pool::new(most, block(most));
        Self {
            clock,
            hasher: RandomState::default(),
            common: Common {
                memory: options.max_reservation.saturating_add(MEMORY_MARGIN),
                epoch: Epoch(rand::random()),
                plans: Mutex::default(),
                expired: options.expired.clone(),
                subjects: Pool::new(options.max_subjects, 1),
                anonymous: Pool::new(options.max_subjects / ANONYMOUS_SHARE, 1),
                counters: pool(options.max_counters),
                records: pool(options.max_records),
            },
            shards: (0..SHARDS).map(|_| Part::default()).collect(),
        }
    }

    /// Drops what nobody can miss: expired reservations, old markers, the counters of past
    /// windows, idle subjects.
    ///
    /// It never holds a lock for long. One call frees every expired reservation, and looks at
    /// some of the subjects; the next call goes on from there.
    pub fn sweep(&self) {
        let now = self.clock.now();
        for part in &self.shards {
            loop {
                // Locked anew for each portion, so that requests get in between.
                let mut shard = part.lock();
                shard.reap(&self.common, now, SWEPT_AT_ONCE);
                shard.prune_markers(&self.common, now, SWEPT_AT_ONCE);
                if !shard.live.has_expired(now) && !shard.markers.is_stale(now) {
                    shard.live.shrink();
                    shard.markers.shrink();
                    break;
                }
            }
            for _ in 0..SUBJECTS_SWEPT / SWEPT_AT_ONCE {
                part.lock().prune_subjects(&self.common, now, SWEPT_AT_ONCE);
            }
        }
    }

    /// Brings counters back from a ledger, which says what was used before this process began. A
    /// counter that says more already stays as it is.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Full`](crate::StoreErrorKind::Full) where there is no room for a counter;
    /// those before it are back.
    pub fn restore(&self, balances: &[Balance]) -> Result<(), StoreError> {
        for balance in balances {
            let requester = balance.subject.requester();
            let (mut shard, step) = self.step(&requester);
            shard.restore(step, &balance.counter, balance.used)?;
        }
        Ok(())
    }

    /// Sweeps once a second from now on, until the store is dropped.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start_sweeper(self: &Arc<Self>) {
        let store = Arc::downgrade(self);
        drop(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(SWEEP_EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(store) = store.upgrade() else {
                    break;
                };
                store.sweep();
            }
        }));
    }

    /// Locks the shard of the requester's owner, for one step.
    fn step<'a>(&'a self, requester: &'a Requester) -> (MutexGuard<'a, Shard>, Step<'a>) {
        let asker = self.asker(requester);
        (
            self.shards[asker.hashes.shard()].lock(),
            self.step_of(asker),
        )
    }

    fn asker<'a>(&self, requester: &'a Requester) -> Asker<'a> {
        let hashes = Hashes::of(requester, &self.hasher);
        Asker { requester, hashes }
    }

    fn step_of<'a>(&'a self, asker: Asker<'a>) -> Step<'a> {
        Step {
            common: &self.common,
            now: self.clock.now(),
            asker,
        }
    }

    /// Locks the shard of a reservation's owner.
    fn lock_of(&self, reservation: &Reservation) -> MutexGuard<'_, Shard> {
        let shard = match reservation.place {
            Some(place) if reservation.epoch == self.common.epoch => place.shard(),
            // Made by nobody, or in the data of another store.
            _ => self.asker(&reservation.request.requester).hashes.shard(),
        };
        self.shards[shard].lock()
    }
}

impl Part {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Shard> {
        // A step changes nothing before it is sure to succeed, so a panic leaves no half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> fmt::Debug for MemoryCounterStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCounterStore").finish_non_exhaustive()
    }
}

impl<C: Clock> CounterStore for MemoryCounterStore<C> {
    const NEVER_WAITS: bool = true;

    fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    async fn advance_plans(&self, generation: Generation) -> Result<(), StoreError> {
        self.common.advance_plans(generation);
        Ok(())
    }

    async fn reserve(&self, request: &Arc<Reserve>, sends: Sends) -> Result<Decision, StoreError> {
        let (mut shard, step) = self.step(&request.requester);
        shard.reserve(step, request, sends)
    }

    async fn commit(&self, commit: &Commit) -> Result<Settled, StoreError> {
        let reservation = &commit.reservation;
        let step = || self.step_of(self.asker(&reservation.request.requester));
        self.lock_of(reservation).commit(step, &self.common, commit)
    }

    async fn release(&self, reservation: &Reservation) -> Result<Settled, StoreError> {
        let now = || self.clock.now();
        let mut shard = self.lock_of(reservation);
        Ok(shard.release(now, &self.common, reservation))
    }

    async fn abort(&self, request: &Arc<Reserve>) -> Result<Settled, StoreError> {
        let (mut shard, step) = self.step(&request.requester);
        shard.abort(step, request)
    }

    async fn correct(&self, correction: &Correction) -> Result<Settled, StoreError> {
        let (mut shard, step) = self.step(&correction.reservation.request.requester);
        shard.correct(step, correction)
    }

    async fn renew(&self, reservations: &[Reservation]) -> Result<Vec<Renewed>, StoreError> {
        let renew = |reservation| {
            let mut shard = self.lock_of(reservation);
            shard.renew(self.clock.now(), reservation)
        };
        Ok(reservations.iter().map(renew).collect())
    }

    async fn read(
        &self,
        requester: &Requester,
        counters: &[CounterKey],
    ) -> Result<Vec<CounterValue>, StoreError> {
        let (mut shard, step) = self.step(requester);
        shard.read(step, counters)
    }

    async fn administer(&self, operation: &Operation) -> Result<Administered, StoreError> {
        let (mut shard, step) = self.step(&operation.requester);
        shard.administer(step, operation)
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;

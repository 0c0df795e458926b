//! The contract of counter stores, and the stores that keep it.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};

use crate::{
    Administered, Commit, Correction, CounterKey, CounterValue, Decision, Generation, Operation,
    Renewed, Requester, Reservation, Reserve, Sends, Settled, StoreError, UnixMillis,
    ledger::Backlog,
};

/// Data that a counter store lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When it was noticed, by the store's time.
    pub at: UnixMillis,
    /// How many of the 256 partitions were lost, whichever process brings them back.
    pub partitions: usize,
    /// How many records at most this process knows of that are in no ledger: what waited when it
    /// last looked, and what it charged since. With what the other processes tell of the same loss,
    /// so many charges may have been forgotten.
    pub records_at_most: u64,
}

pub mod guarded;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;

/// Keeps counters, and holds units for requests in flight.
///
/// The implementor's duties:
///
/// - `reserve` checks and holds in one atomic step over all its counters, user and tenant: nothing
///   is held unless `used + reserved + amount <= hard` on each of them. A hold of zero is never
///   denied.
/// - A reservation ends in exactly one of commit, release and expiry. An expiry may be followed by
///   one late commit.
/// - A commit or release of a live reservation takes its units out of `reserved` at once; what is
///   charged goes to the window in which it was reserved, whenever that is.
/// - Every operation is idempotent by its id: sent twice, or arriving late, it takes effect once.
/// - Units of a reservation that nobody renews are free again within a second of their expiry,
///   and never before it.
/// - One clock decides: the store's.
///
/// The suite in `contract` (feature `test-util`) tries to break each of these.
///
/// Every store is a [`DynCounterStore`] too, with methods of the same names: import one of the two
/// traits, or calls on a store are ambiguous.
///
/// # Cancel safety
///
/// A future that is dropped may have taken effect, and may still. After a dropped or failed
/// `reserve` the caller aborts the reservation; the other operations are sent again.
pub trait CounterStore: Send + Sync + 'static {
    /// Whether every future of this store is ready when it is first polled.
    ///
    /// Then nothing is allocated for one, and nobody prepares to wait. A store that says so keeps
    /// it: a future that waits all the same is dropped, which may have taken effect, and the store
    /// is asked again.
    const NEVER_WAITS: bool = false;

    /// The store's present time, as far as it is known without asking it.
    fn now(&self) -> UnixMillis;

    /// Whether the store itself brings what it charged to the ledger, in the order of its own
    /// steps; else whoever commits does.
    fn writes_ledger(&self) -> bool {
        false
    }

    /// What the store has charged and the ledger does not have yet, as far as it is known.
    fn backlog(&self) -> Backlog {
        Backlog::default()
    }

    /// The last time that the store was found to have lost data, since this process began.
    fn last_loss(&self) -> Option<Loss> {
        None
    }

    /// Says that the plans which a database keeps changed: reserves that were worked out from
    /// older ones are stale from now on. It never goes back.
    fn advance_plans(
        &self,
        generation: Generation,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Holds all units of the request, or none.
    ///
    /// `sends` is [`Sends::Repeated`] from the second send of the same request on.
    fn reserve(
        &self,
        request: &Arc<Reserve>,
        sends: Sends,
    ) -> impl Future<Output = Result<Decision, StoreError>> + Send;

    /// Charges a reservation and frees what it held.
    fn commit(&self, commit: &Commit) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// Frees what a reservation held, and charges nothing.
    fn release(
        &self,
        reservation: &Reservation,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// Ends a reserve whose outcome is not known: frees what it held, and keeps it from taking
    /// effect if it arrives later.
    fn abort(
        &self,
        request: &Arc<Reserve>,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// Corrects what was committed, once.
    fn correct(
        &self,
        correction: &Correction,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// Holds these reservations for another time to live from now.
    fn renew(
        &self,
        reservations: &[Reservation],
    ) -> impl Future<Output = Result<Vec<Renewed>, StoreError>> + Send;

    /// Reads counters; one that was never touched is zero.
    fn read(
        &self,
        requester: &Requester,
        counters: &[CounterKey],
    ) -> impl Future<Output = Result<Vec<CounterValue>, StoreError>> + Send;

    /// Does one act of administration.
    fn administer(
        &self,
        operation: &Operation,
    ) -> impl Future<Output = Result<Administered, StoreError>> + Send;

    /// Asks whether the store can serve.
    fn check(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Any [`CounterStore`], behind a pointer; every one of them implements it.
///
/// Import it where stores are behind pointers only: beside [`CounterStore`] calls on a store are
/// ambiguous.
pub trait DynCounterStore: Send + Sync + 'static {
    /// See [`CounterStore::NEVER_WAITS`].
    fn never_waits(&self) -> bool;
    /// See [`CounterStore::now`].
    fn now(&self) -> UnixMillis;
    /// See [`CounterStore::writes_ledger`].
    fn writes_ledger(&self) -> bool;
    /// See [`CounterStore::backlog`].
    fn backlog(&self) -> Backlog;
    /// See [`CounterStore::last_loss`].
    fn last_loss(&self) -> Option<Loss>;
    /// See [`CounterStore::advance_plans`].
    fn advance_plans(&self, generation: Generation) -> BoxFuture<'_, Result<(), StoreError>>;
    /// See [`CounterStore::reserve`].
    fn reserve<'a>(
        &'a self,
        request: &'a Arc<Reserve>,
        sends: Sends,
    ) -> BoxFuture<'a, Result<Decision, StoreError>>;
    /// See [`CounterStore::commit`].
    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<Settled, StoreError>>;
    /// See [`CounterStore::release`].
    fn release<'a>(
        &'a self,
        reservation: &'a Reservation,
    ) -> BoxFuture<'a, Result<Settled, StoreError>>;
    /// See [`CounterStore::abort`].
    fn abort<'a>(&'a self, request: &'a Arc<Reserve>)
    -> BoxFuture<'a, Result<Settled, StoreError>>;
    /// See [`CounterStore::correct`].
    fn correct<'a>(
        &'a self,
        correction: &'a Correction,
    ) -> BoxFuture<'a, Result<Settled, StoreError>>;
    /// See [`CounterStore::renew`].
    fn renew<'a>(
        &'a self,
        reservations: &'a [Reservation],
    ) -> BoxFuture<'a, Result<Vec<Renewed>, StoreError>>;
    /// See [`CounterStore::read`].
    fn read<'a>(
        &'a self,
        requester: &'a Requester,
        counters: &'a [CounterKey],
    ) -> BoxFuture<'a, Result<Vec<CounterValue>, StoreError>>;
    /// See [`CounterStore::administer`].
    fn administer<'a>(
        &'a self,
        operation: &'a Operation,
    ) -> BoxFuture<'a, Result<Administered, StoreError>>;
    /// See [`CounterStore::check`].
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// [`reserve`](Self::reserve) of a store that never waits; `None` where it was not asked.
    fn reserve_now(
        &self,
        request: &Arc<Reserve>,
        sends: Sends,
    ) -> Option<Result<Decision, StoreError>>;
    /// [`commit`](Self::commit) of a store that never waits; `None` where it was not asked.
    fn commit_now(&self, commit: &Commit) -> Option<Result<Settled, StoreError>>;
    /// [`release`](Self::release) of a store that never waits; `None` where it was not asked.
    fn release_now(&self, reservation: &Reservation) -> Option<Result<Settled, StoreError>>;
}

/// The answer of a store that never waits.
fn now<C: CounterStore, F: Future>(call: impl FnOnce() -> F) -> Option<F::Output> {
    if C::NEVER_WAITS {
        call().now_or_never()
    } else {
        None
    }
}

impl<C: CounterStore> DynCounterStore for C {
    fn never_waits(&self) -> bool {
        C::NEVER_WAITS
    }

    fn now(&self) -> UnixMillis {
        CounterStore::now(self)
    }

    fn writes_ledger(&self) -> bool {
        CounterStore::writes_ledger(self)
    }

    fn backlog(&self) -> Backlog {
        CounterStore::backlog(self)
    }

    fn last_loss(&self) -> Option<Loss> {
        CounterStore::last_loss(self)
    }

    fn advance_plans(&self, generation: Generation) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(CounterStore::advance_plans(self, generation))
    }

    fn reserve<'a>(
        &'a self,
        request: &'a Arc<Reserve>,
        sends: Sends,
    ) -> BoxFuture<'a, Result<Decision, StoreError>> {
        Box::pin(CounterStore::reserve(self, request, sends))
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<Settled, StoreError>> {
        Box::pin(CounterStore::commit(self, commit))
    }

    fn release<'a>(
        &'a self,
        reservation: &'a Reservation,
    ) -> BoxFuture<'a, Result<Settled, StoreError>> {
        Box::pin(CounterStore::release(self, reservation))
    }

    fn abort<'a>(
        &'a self,
        request: &'a Arc<Reserve>,
    ) -> BoxFuture<'a, Result<Settled, StoreError>> {
        Box::pin(CounterStore::abort(self, request))
    }

    fn correct<'a>(
        &'a self,
        correction: &'a Correction,
    ) -> BoxFuture<'a, Result<Settled, StoreError>> {
        Box::pin(CounterStore::correct(self, correction))
    }

    fn renew<'a>(
        &'a self,
        reservations: &'a [Reservation],
    ) -> BoxFuture<'a, Result<Vec<Renewed>, StoreError>> {
        Box::pin(CounterStore::renew(self, reservations))
    }

    fn read<'a>(
        &'a self,
        requester: &'a Requester,
        counters: &'a [CounterKey],
    ) -> BoxFuture<'a, Result<Vec<CounterValue>, StoreError>> {
        Box::pin(CounterStore::read(self, requester, counters))
    }

    fn administer<'a>(
        &'a self,
        operation: &'a Operation,
    ) -> BoxFuture<'a, Result<Administered, StoreError>> {
        Box::pin(CounterStore::administer(self, operation))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(CounterStore::check(self))
    }

    fn reserve_now(
        &self,
        request: &Arc<Reserve>,
        sends: Sends,
    ) -> Option<Result<Decision, StoreError>> {
        now::<C, _>(|| CounterStore::reserve(self, request, sends))
    }

    fn commit_now(&self, commit: &Commit) -> Option<Result<Settled, StoreError>> {
        now::<C, _>(|| CounterStore::commit(self, commit))
    }

    fn release_now(&self, reservation: &Reservation) -> Option<Result<Settled, StoreError>> {
        now::<C, _>(|| CounterStore::release(self, reservation))
    }
}

//! One wrapper around any store: time-outs, a breaker, and what happens while the store is down.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    Administered, Amount, Commit, Correction, CounterKey, CounterValue, Decision, DynCounterStore,
    Generation, Loss, Operation, Percent, Renewed, Requester, Reservation, Reserve, Sends, Settled,
    StoreError, StoreErrorKind, UnixMillis, ledger::Backlog,
};

mod ask;
mod breaker;
mod local;
#[cfg(test)]
mod tests;

use breaker::Breaker;
use local::{Budget, Wanted};

pub use breaker::BreakerState;
pub use local::LocalTicket;

/// What becomes of a request while the counter store can't be asked.
///
/// Failing open loses money, failing closed loses requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnStoreFailure {
    /// It is refused as unavailable, which is not a denial.
    #[default]
    Deny,
    /// It is let through uncounted, up to [`GuardOptions::allow_max`].
    Allow,
    /// It is let through within this process's share of its limits,
    /// [`GuardOptions::local_share`].
    Local,
}

/// How a [`GuardedStore`] treats its store.
#[derive(Clone, Debug)]
pub struct GuardOptions {
    /// How long one operation may take before its outcome counts as unknown.
    pub timeout: Duration,
    /// [`OnStoreFailure::Allow`]: how many units of one counter are let through in one outage.
    ///
    /// An outage ends when the breaker closes, or after ten seconds without a failure.
    pub allow_max: Amount,
    /// [`OnStoreFailure::Local`]: the part of a hard limit that this process may spend by itself
    /// in one window, over all outages together; rounded down, so that a limit can be too small
    /// for a share.
    pub local_share: Percent,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(50),
            allow_max: Amount::saturating(100),
            local_share: Percent::new(10),
        }
    }
}

/// Whether a reserve must be aborted because it may have taken effect, or still may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// Nothing is or will be held.
    NotNeeded,
    /// Its outcome is not known: abort it until that is acknowledged.
    Required,
}

/// The answer to a reserve through a [`GuardedStore`].
#[must_use = "an unused admission admits every request"]
#[derive(Debug)]
pub enum Admission {
    /// The store decided.
    Decided(Decision),
    /// The store did not, and the request may pass all the same.
    LetThrough(LetThrough),
    /// The store did not, and the request may not pass. This is not a denial.
    Unavailable(Unavailable),
}

/// A request that passes although the store did not decide. No reservation stands for it.
#[must_use = "a dropped ticket gives its units back"]
#[derive(Debug)]
pub struct LetThrough {
    /// Why the store did not decide.
    pub kind: StoreErrorKind,
    /// Whether the reserve must be aborted.
    pub abort: Abort,
    /// With [`OnStoreFailure::Local`]: the units it took of this process's share.
    pub ticket: Option<LocalTicket>,
}

/// A request that may not pass because the store did not decide.
#[derive(Clone, Copy, Debug)]
pub struct Unavailable {
    /// Why the store did not decide.
    pub kind: StoreErrorKind,
    /// When it is worth while to try again.
    pub retry_after: Duration,
    /// Whether the reserve must be aborted.
    pub abort: Abort,
}

/// A counter store with time-outs, a breaker and a policy for its failures.
///
/// Five failures in a row open the breaker, or fewer that have gone on for a quarter of a second.
/// While it is open every operation fails at once with [`StoreErrorKind::BreakerOpen`]. After a
/// pause of 100 ms, which doubles up to 2 s, the next operation of any kind tries the store, one
/// at a time, and the first that is answered closes the breaker. So a process without traffic
/// finds out that its store is back by [`check`](Self::check).
///
/// That a store is full, calls an operation malformed or holds something unreadable is an answer:
/// it does not open the breaker, or one subject's broken counter would harm all others.
///
/// # Metrics
///
/// `quota_store_seconds{op}`, from the moment an operation has to wait (one that is answered at
/// once, by a store in memory, is not measured), `quota_store_errors_total{kind}` and
/// `quota_breaker_state` (0 closed, 1 half open, 2 open).
///
/// # Cancel safety
///
/// As with [`CounterStore`](crate::CounterStore): after a dropped `reserve` the caller aborts, the
/// other operations are sent again. A dropped probe leaves its turn to the next operation.
pub struct GuardedStore {
    store: Arc<dyn DynCounterStore>,
    options: GuardOptions,
    breaker: Breaker,
    /// What `allow` let through in this outage.
    allowed: Arc<Budget>,
    /// What `local` spent in each window.
    local: Arc<Budget>,
}

impl fmt::Debug for GuardedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedStore")
            .field("options", &self.options)
            .field("breaker", &self.breaker.state())
            .finish_non_exhaustive()
    }
}

impl GuardedStore {
    /// Guards a store.
    #[must_use]
    pub fn new(store: Arc<dyn DynCounterStore>, options: GuardOptions) -> Self {
        Self {
            store,
            breaker: Breaker::new(options.timeout),
            options,
            allowed: Arc::new(Budget::new()),
            local: Arc::new(Budget::new()),
        }
    }

    /// Whether the store is being asked.
    #[must_use]
    pub fn breaker_state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Whether every answer is there at once. See
    /// [`CounterStore::NEVER_WAITS`](crate::CounterStore::NEVER_WAITS).
    #[must_use]
    pub fn never_waits(&self) -> bool {
        self.store.never_waits()
    }

    /// The store's present time, as far as it is known without asking it.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.store.now()
    }

    /// See [`CounterStore::writes_ledger`](crate::CounterStore::writes_ledger).
    #[must_use]
    pub fn writes_ledger(&self) -> bool {
        self.store.writes_ledger()
    }

    /// See [`CounterStore::backlog`](crate::CounterStore::backlog).
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.store.backlog()
    }

    /// See [`CounterStore::last_loss`](crate::CounterStore::last_loss).
    #[must_use]
    pub fn last_loss(&self) -> Option<Loss> {
        self.store.last_loss()
    }

    /// Holds all units of the request, or says what becomes of it without the store.
    ///
    /// A failure of the store never becomes a denial. A malformed request is never let through,
    /// and `allow` lets nothing through that is more than the hard limit by itself.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have taken effect, and may still: abort the request.
    pub async fn reserve(&self, request: &Arc<Reserve>, on_failure: OnStoreFailure) -> Admission {
        let asked = self.ask_at_once(
            "reserve",
            |store| store.reserve_now(request, Sends::Once),
            |store| store.reserve(request, Sends::Once),
        );
        match asked.await {
            Ok(decision) => Admission::Decided(decision),
            Err(error) => self.without_store(request, on_failure, &error),
        }
    }

    fn without_store(
        &self,
        request: &Reserve,
        on_failure: OnStoreFailure,
        error: &StoreError,
    ) -> Admission {
        let kind = error.kind();
        let abort = if error.outcome_is_unknown() {
            Abort::Required
        } else {
            Abort::NotNeeded
        };
        let let_through = match on_failure {
            _ if kind == StoreErrorKind::Invalid => None,
            OnStoreFailure::Deny => None,
            OnStoreFailure::Allow => self.allow(request).then_some(None),
            OnStoreFailure::Local => self.spend_locally(request).map(Some),
        };
        match let_through {
            Some(ticket) => Admission::LetThrough(LetThrough {
                kind,
                abort,
                ticket,
            }),
            None => Admission::Unavailable(Unavailable {
                kind,
                retry_after: self.breaker.retry_after(),
                abort,
            }),
        }
    }

    /// Whether `allow` lets the request through; its units count however it ends.
    fn allow(&self, request: &Reserve) -> bool {
        let allow_max = self.options.allow_max;
        let wanted = Wanted::of(request, |hold| {
            let hard = hold.hard.amount().unwrap_or(Amount::MAX);
            Some(if hard < allow_max { hard } else { allow_max })
        });
        let taken = self.allowed.take(wanted, self.now());
        taken.map(LocalTicket::keep).is_some()
    }

    /// Takes the request's units from this process's share; unlimited counters have no share.
    fn spend_locally(&self, request: &Reserve) -> Option<LocalTicket> {
        let wanted = Wanted::of(request, |hold| {
            let hard = hold.hard.amount()?;
            Some(self.options.local_share.of(hard))
        });
        self.local.take(wanted, self.now())
    }
}

/// The other operations: through the breaker, within the time-out.
///
/// # Errors
///
/// Those of the store; [`StoreErrorKind::Unknown`] after the time-out;
/// [`StoreErrorKind::BreakerOpen`] where the store was not asked.
#[expect(
    clippy::missing_errors_doc,
    reason = "the errors are the same for all and stand above"
)]
impl GuardedStore {
    /// See [`CounterStore::commit`](crate::CounterStore::commit).
    pub async fn commit(&self, commit: &Commit) -> Result<Settled, StoreError> {
        self.ask_at_once(
            "commit",
            |store| store.commit_now(commit),
            |store| store.commit(commit),
        )
        .await
    }

    /// See [`CounterStore::release`](crate::CounterStore::release).
    pub async fn release(&self, reservation: &Reservation) -> Result<Settled, StoreError> {
        self.ask_at_once(
            "release",
            |store| store.release_now(reservation),
            |store| store.release(reservation),
        )
        .await
    }

    /// See [`CounterStore::abort`](crate::CounterStore::abort).
    pub async fn abort(&self, request: &Arc<Reserve>) -> Result<Settled, StoreError> {
        self.ask("abort", |store| store.abort(request)).await
    }

    /// See [`CounterStore::correct`](crate::CounterStore::correct).
    pub async fn correct(&self, correction: &Correction) -> Result<Settled, StoreError> {
        self.ask("correct", |store| store.correct(correction)).await
    }

    /// See [`CounterStore::renew`](crate::CounterStore::renew).
    pub async fn renew(&self, reservations: &[Reservation]) -> Result<Vec<Renewed>, StoreError> {
        self.ask("renew", |store| store.renew(reservations)).await
    }

    /// See [`CounterStore::read`](crate::CounterStore::read).
    pub async fn read(
        &self,
        requester: &Requester,
        counters: &[CounterKey],
    ) -> Result<Vec<CounterValue>, StoreError> {
        self.ask("read", |store| store.read(requester, counters))
            .await
    }

    /// See [`CounterStore::administer`](crate::CounterStore::administer).
    pub async fn administer(&self, operation: &Operation) -> Result<Administered, StoreError> {
        self.ask("administer", |store| store.administer(operation))
            .await
    }

    /// See [`CounterStore::advance_plans`](crate::CounterStore::advance_plans).
    pub async fn advance_plans(&self, generation: Generation) -> Result<(), StoreError> {
        self.ask("administer", |store| store.advance_plans(generation))
            .await
    }

    /// See [`CounterStore::check`](crate::CounterStore::check).
    pub async fn check(&self) -> Result<(), StoreError> {
        self.ask("check", |store| store.check()).await
    }
}

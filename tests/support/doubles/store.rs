//! A store that counts its calls and loses answers when it is told to.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quota_store::{
    Administered, Commit, Correction, CounterKey, CounterStore, CounterValue, Decision,
    DynCounterStore, Generation, Operation, Renewed, Requester, Reservation, Reserve, Sends,
    Settled, StoreError, StoreErrorKind, UnixMillis, ledger::Backlog,
};
use tokio::sync::watch;

/// What becomes of commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commits {
    /// They run and are acknowledged.
    #[default]
    Pass,
    /// They neither run nor answer, until they pass again.
    Wait,
    /// They run, and their acknowledgement never comes.
    Lost,
    /// The store does not know any more whether they ran, and frees what they held.
    TooOld,
    /// They do not run, and never will: their counters are unreadable.
    Unreadable,
}

/// Any store, watched; clones of the [`Watch`] see every call.
pub struct WatchedStore {
    inner: Arc<dyn DynCounterStore>,
    watch: Watch,
}

/// The calls of a [`WatchedStore`].
#[derive(Clone, Debug)]
pub struct Watch {
    calls: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    commits: watch::Sender<Commits>,
}

impl WatchedStore {
    /// Watches over `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn DynCounterStore>) -> Self {
        let watch = Watch {
            calls: Arc::default(),
            commits: watch::Sender::new(Commits::Pass),
        };
        Self { inner, watch }
    }

    /// Sees the calls.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }
}

impl std::fmt::Debug for WatchedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchedStore")
            .field("watch", &self.watch)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// How often this operation was called.
    #[must_use]
    pub fn calls(&self, operation: &str) -> u64 {
        self.counts().get(operation).copied().unwrap_or(0)
    }

    /// How often any operation was called that a request may cause.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.counts().values().sum()
    }

    /// Decides about commits from now on; those that wait go by it too.
    pub fn set_commits(&self, commits: Commits) {
        self.commits.send_replace(commits);
    }

    fn count(&self, operation: &'static str) {
        *self.counts().entry(operation).or_default() += 1;
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn commits(&self) -> Commits {
        let mut commits = self.commits.subscribe();
        let decided = commits.wait_for(|commits| *commits != Commits::Wait).await;
        decided.map_or(Commits::Pass, |commits| *commits)
    }
}

impl CounterStore for WatchedStore {
    fn now(&self) -> UnixMillis {
        self.inner.now()
    }

    fn writes_ledger(&self) -> bool {
        self.inner.writes_ledger()
    }

    fn backlog(&self) -> Backlog {
        self.inner.backlog()
    }

    async fn advance_plans(&self, generation: Generation) -> Result<(), StoreError> {
        self.inner.advance_plans(generation).await
    }

    async fn reserve(&self, request: &Arc<Reserve>, sends: Sends) -> Result<Decision, StoreError> {
        self.watch.count("reserve");
        self.inner.reserve(request, sends).await
    }

    async fn commit(&self, commit: &Commit) -> Result<Settled, StoreError> {
        self.watch.count("commit");
        let commits = self.watch.commits().await;
        if commits == Commits::TooOld {
            self.inner.release(&commit.reservation).await?;
            return Ok(Settled::TooOld);
        }
        if commits == Commits::Unreadable {
            return Err(StoreError::new(StoreErrorKind::Corrupt, "unreadable"));
        }
        let settled = self.inner.commit(commit).await;
        if commits == Commits::Lost {
            pending::<()>().await;
        }
        settled
    }

    async fn release(&self, reservation: &Reservation) -> Result<Settled, StoreError> {
        self.watch.count("release");
        self.inner.release(reservation).await
    }

    async fn abort(&self, request: &Arc<Reserve>) -> Result<Settled, StoreError> {
        self.watch.count("abort");
        self.inner.abort(request).await
    }

    async fn correct(&self, correction: &Correction) -> Result<Settled, StoreError> {
        self.watch.count("correct");
        self.inner.correct(correction).await
    }

    async fn renew(&self, reservations: &[Reservation]) -> Result<Vec<Renewed>, StoreError> {
        self.watch.count("renew");
        self.inner.renew(reservations).await
    }

    async fn read(
        &self,
        requester: &Requester,
        counters: &[CounterKey],
    ) -> Result<Vec<CounterValue>, StoreError> {
        // Tests read; no request does.
        self.inner.read(requester, counters).await
    }

    async fn administer(&self, operation: &Operation) -> Result<Administered, StoreError> {
        self.watch.count("administer");
        self.inner.administer(operation).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.watch.count("check");
        self.inner.check().await
    }
}

//! A ledger that fails on demand.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use futures_util::future::BoxFuture;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    Amount, CounterKey, Epoch, QuotaName, Requester, ReservationId, Subject, TenantId, UnixMillis,
    UserId,
    ledger::{
        Appended, Attempt, AuditPage, AuditQuery, Balance, Batch, History, HolderCursor,
        HoldersQuery, LastSeen, Ledger, LedgerError, LedgerErrorKind, LedgerHealth, LogPage,
        LogQuery, Page, Posting, Pruned, RollUp, RolledUp, Span, Statistics, StatisticsQuery,
        StreamPosition, Usage, UsageQuery,
    },
};

/// Keeps what is appended as a real one does, or hands it to one.
pub(super) struct Double {
    state: Mutex<State>,
    behind: Option<Arc<dyn Ledger>>,
    /// Each append takes one.
    pub(super) gate: Semaphore,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) attempts: Vec<Attempt>,
    pub(super) postings: Vec<Posting>,
    /// The keys of what is there.
    keys: HashSet<(ReservationId, &'static str)>,
    posted: HashSet<(ReservationId, &'static str)>,
    /// The sizes of all batches, in their order, those that failed included.
    pub(super) batches: Vec<usize>,
    pub(super) times: Vec<Instant>,
    /// How the next appends fail.
    pub(super) failures: VecDeque<Failure>,
    /// Records that are refused.
    pub(super) poisoned: HashSet<ReservationId>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// Nothing was appended.
    Before(LedgerErrorKind),
    /// It was appended all the same.
    After(LedgerErrorKind),
    Panic,
}

impl Double {
    pub(super) fn new() -> Arc<Self> {
        Self::before(None)
    }

    /// One that hands everything that does not fail to another.
    pub(super) fn before(behind: Option<Arc<dyn Ledger>>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            behind,
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    /// One that appends nothing before permits are added to its gate.
    pub(super) fn closed() -> Arc<Self> {
        let double = Self::new();
        double.gate.forget_permits(Semaphore::MAX_PERMITS);
        double
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn fail(&self, failures: impl IntoIterator<Item = Failure>) {
        self.state().failures.extend(failures);
    }

    async fn keep(&self, batch: Arc<Batch>) -> Result<Appended, LedgerError> {
        if let Some(behind) = &self.behind {
            return behind.append(batch).await;
        }
        let mut state = self.state();
        for new in &batch.attempts {
            let is_new = state.keys.insert((new.id, new.outcome.as_str()));
            state.attempts.extend(is_new.then(|| new.clone()));
        }
        for new in &batch.postings {
            let is_new = state.posted.insert((new.reservation, new.kind.as_str()));
            state.postings.extend(is_new.then(|| new.clone()));
        }
        Ok(Appended::default())
    }
}

fn failed<T>(kind: LedgerErrorKind) -> Result<T, LedgerError> {
    Err(LedgerError::new(kind, "as the test wants"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time that tests pause is noted"
)]
fn now() -> Instant {
    Instant::now()
}

/// What no recorder asks for.
fn unasked<T: Send + 'static>() -> BoxFuture<'static, Result<T, LedgerError>> {
    Box::pin(async { failed(LedgerErrorKind::Invalid) })
}

impl Ledger for Double {
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Appended, LedgerError>> {
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            let (failure, is_poisoned) = {
                let mut state = self.state();
                state.batches.push(batch.attempts.len());
                state.times.push(now());
                let mut attempts = batch.attempts.iter();
                let is_poisoned = attempts.any(|attempt| state.poisoned.contains(&attempt.id));
                (state.failures.pop_front(), is_poisoned)
            };
            match failure {
                Some(Failure::Before(kind)) => failed(kind),
                Some(Failure::After(kind)) => {
                    self.keep(batch).await?;
                    failed(kind)
                }
                Some(Failure::Panic) => panic!("as the test wants"),
                None if is_poisoned => failed(LedgerErrorKind::Invalid),
                None => self.keep(batch).await,
            }
        })
    }

    fn mark<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<StreamPosition>, LedgerError>> {
        unasked()
    }

    fn used<'a>(
        &'a self,
        _: &'a Requester,
        _: &'a [CounterKey],
    ) -> BoxFuture<'a, Result<Vec<Amount>, LedgerError>> {
        unasked()
    }

    fn charged<'a>(
        &'a self,
        _: &'a Subject,
        _: &'a QuotaName,
        _: Span,
    ) -> BoxFuture<'a, Result<Amount, LedgerError>> {
        unasked()
    }

    fn balances<'a>(
        &'a self,
        _: u8,
        _: UnixMillis,
        _: Option<&'a Balance>,
        _: u32,
    ) -> BoxFuture<'a, Result<Vec<Balance>, LedgerError>> {
        unasked()
    }

    fn recount<'a>(
        &'a self,
        _: &'a Requester,
        _: &'a CounterKey,
    ) -> BoxFuture<'a, Result<Amount, LedgerError>> {
        unasked()
    }

    fn log<'a>(&'a self, _: &'a LogQuery) -> BoxFuture<'a, Result<LogPage, LedgerError>> {
        unasked()
    }

    fn attempt<'a>(
        &'a self,
        _: Option<&'a TenantId>,
        _: ReservationId,
    ) -> BoxFuture<'a, Result<Option<History>, LedgerError>> {
        unasked()
    }

    fn statistics<'a>(
        &'a self,
        _: &'a StatisticsQuery,
    ) -> BoxFuture<'a, Result<Statistics, LedgerError>> {
        unasked()
    }

    fn usage<'a>(&'a self, _: &'a UsageQuery) -> BoxFuture<'a, Result<Vec<Usage>, LedgerError>> {
        unasked()
    }

    fn holders<'a>(
        &'a self,
        _: &'a HoldersQuery,
    ) -> BoxFuture<'a, Result<Page<Balance, HolderCursor>, LedgerError>> {
        unasked()
    }

    fn last_seen<'a>(
        &'a self,
        _: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<LastSeen>, LedgerError>> {
        unasked()
    }

    fn seen<'a>(
        &'a self,
        _: Option<&'a TenantId>,
        _: Option<&'a UserId>,
        _: u32,
    ) -> BoxFuture<'a, Result<Page<UserId, UserId>, LedgerError>> {
        unasked()
    }

    fn audits<'a>(&'a self, _: &'a AuditQuery) -> BoxFuture<'a, Result<AuditPage, LedgerError>> {
        unasked()
    }

    fn prune(&self, _: UnixMillis, _: u32) -> BoxFuture<'_, Result<Pruned, LedgerError>> {
        unasked()
    }

    fn roll_up<'a>(&'a self, _: &'a RollUp) -> BoxFuture<'a, Result<RolledUp, LedgerError>> {
        unasked()
    }

    fn forget<'a>(
        &'a self,
        _: &'a Requester,
        _: &'a UserId,
        _: u32,
    ) -> BoxFuture<'a, Result<u64, LedgerError>> {
        unasked()
    }

    fn is_posted(
        &self,
        _: ReservationId,
        _: crate::ledger::PostingKind,
    ) -> BoxFuture<'_, Result<bool, LedgerError>> {
        unasked()
    }

    fn epochs(&self) -> BoxFuture<'_, Result<Vec<(u8, Epoch)>, LedgerError>> {
        unasked()
    }

    fn set_epochs(&self, _: Vec<(u8, Epoch)>) -> BoxFuture<'_, Result<(), LedgerError>> {
        unasked()
    }

    fn health(&self) -> BoxFuture<'_, Result<LedgerHealth, LedgerError>> {
        unasked()
    }
}

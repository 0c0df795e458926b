//! A ledger that fails on demand.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;
use quota_store::{
    Amount, CounterKey, Epoch, QuotaName, Requester, ReservationId, Subject, TenantId, UnixMillis,
    UserId,
    ledger::{
        Appended, AuditPage, AuditQuery, Balance, Batch, History, HolderCursor, HoldersQuery,
        LastSeen, Ledger, LedgerError, LedgerErrorKind, LedgerHealth, LogPage, LogQuery, Page,
        PostingKind, Pruned, RollUp, RolledUp, Span, Statistics, StatisticsQuery, StreamPosition,
        Usage, UsageQuery,
    },
};

use crate::server::until;

const WORKS: u8 = 0;
const FAILS: u8 = 1;
const HANGS_AFTERWARDS: u8 = 2;
const HOLDS: u8 = 3;

/// Hands everything to another ledger, unless it is told to fail.
pub(crate) struct Faulty {
    behind: Arc<dyn Ledger>,
    mode: AtomicU8,
    hung: AtomicUsize,
    refused: Mutex<HashSet<String>>,
}

impl Faulty {
    pub(crate) fn new(behind: Arc<dyn Ledger>) -> Self {
        Self {
            behind,
            mode: AtomicU8::new(WORKS),
            hung: AtomicUsize::new(0),
            refused: Mutex::default(),
        }
    }

    pub(crate) fn work(&self) {
        self.mode.store(WORKS, Ordering::Relaxed);
    }

    /// Is down.
    pub(crate) fn fail(&self) {
        self.mode.store(FAILS, Ordering::Relaxed);
    }

    /// Appends, and never answers.
    pub(crate) fn hang_after_appends(&self) {
        self.mode.store(HANGS_AFTERWARDS, Ordering::Relaxed);
    }

    /// Appends only when it works again.
    pub(crate) fn hold_appends(&self) {
        self.mode.store(HOLDS, Ordering::Relaxed);
    }

    /// How many appends were held, or never answered.
    pub(crate) fn hung(&self) -> usize {
        self.hung.load(Ordering::Relaxed)
    }

    /// Calls records of this user invalid.
    pub(crate) fn refuse(&self, user: &UserId) {
        self.refused
            .lock()
            .unwrap()
            .insert(user.as_str().to_owned());
    }

    fn check(&self, batch: &Batch) -> Result<(), LedgerError> {
        let refused = self.refused.lock().unwrap();
        let is_refused = |user: &Option<UserId>| {
            user.as_ref()
                .is_some_and(|user| refused.contains(user.as_str()))
        };
        if batch
            .postings
            .iter()
            .any(|posting| is_refused(&posting.user))
        {
            return Err(LedgerError::new(
                LedgerErrorKind::Invalid,
                "as the test wants",
            ));
        }
        Ok(())
    }
}

fn unreachable() -> LedgerError {
    LedgerError::new(LedgerErrorKind::Unreachable, "as the test wants")
}

impl Ledger for Faulty {
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Appended, LedgerError>> {
        Box::pin(async move {
            self.check(&batch)?;
            match self.mode.load(Ordering::Relaxed) {
                FAILS => Err(unreachable()),
                HANGS_AFTERWARDS => {
                    self.behind.append(batch).await?;
                    self.hung.fetch_add(1, Ordering::Relaxed);
                    std::future::pending().await
                }
                HOLDS => {
                    self.hung.fetch_add(1, Ordering::Relaxed);
                    until(async || self.mode.load(Ordering::Relaxed) == WORKS).await;
                    self.behind.append(batch).await
                }
                _ => self.behind.append(batch).await,
            }
        })
    }

    fn mark<'a>(
        &'a self,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<Option<StreamPosition>, LedgerError>> {
        self.behind.mark(stream)
    }

    fn used<'a>(
        &'a self,
        requester: &'a Requester,
        counters: &'a [CounterKey],
    ) -> BoxFuture<'a, Result<Vec<Amount>, LedgerError>> {
        self.behind.used(requester, counters)
    }

    fn charged<'a>(
        &'a self,
        subject: &'a Subject,
        quota: &'a QuotaName,
        span: Span,
    ) -> BoxFuture<'a, Result<Amount, LedgerError>> {
        self.behind.charged(subject, quota, span)
    }

    fn balances<'a>(
        &'a self,
        partition: u8,
        now: UnixMillis,
        after: Option<&'a Balance>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Balance>, LedgerError>> {
        if self.mode.load(Ordering::Relaxed) == FAILS {
            return Box::pin(async { Err(unreachable()) });
        }
        self.behind.balances(partition, now, after, limit)
    }

    fn recount<'a>(
        &'a self,
        requester: &'a Requester,
        counter: &'a CounterKey,
    ) -> BoxFuture<'a, Result<Amount, LedgerError>> {
        self.behind.recount(requester, counter)
    }

    fn log<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, Result<LogPage, LedgerError>> {
        self.behind.log(query)
    }

    fn attempt<'a>(
        &'a self,
        tenant: Option<&'a TenantId>,
        id: ReservationId,
    ) -> BoxFuture<'a, Result<Option<History>, LedgerError>> {
        self.behind.attempt(tenant, id)
    }

    fn statistics<'a>(
        &'a self,
        query: &'a StatisticsQuery,
    ) -> BoxFuture<'a, Result<Statistics, LedgerError>> {
        self.behind.statistics(query)
    }

    fn usage<'a>(
        &'a self,
        query: &'a UsageQuery,
    ) -> BoxFuture<'a, Result<Vec<Usage>, LedgerError>> {
        self.behind.usage(query)
    }

    fn audits<'a>(
        &'a self,
        query: &'a AuditQuery,
    ) -> BoxFuture<'a, Result<AuditPage, LedgerError>> {
        self.behind.audits(query)
    }

    fn prune(&self, before: UnixMillis, limit: u32) -> BoxFuture<'_, Result<Pruned, LedgerError>> {
        self.behind.prune(before, limit)
    }

    fn roll_up<'a>(&'a self, roll_up: &'a RollUp) -> BoxFuture<'a, Result<RolledUp, LedgerError>> {
        self.behind.roll_up(roll_up)
    }

    fn forget<'a>(
        &'a self,
        requester: &'a Requester,
        pseudonym: &'a UserId,
        limit: u32,
    ) -> BoxFuture<'a, Result<u64, LedgerError>> {
        self.behind.forget(requester, pseudonym, limit)
    }

    fn is_posted(
        &self,
        id: ReservationId,
        kind: PostingKind,
    ) -> BoxFuture<'_, Result<bool, LedgerError>> {
        self.behind.is_posted(id, kind)
    }

    fn epochs(&self) -> BoxFuture<'_, Result<Vec<(u8, Epoch)>, LedgerError>> {
        if self.mode.load(Ordering::Relaxed) == FAILS {
            return Box::pin(async { Err(unreachable()) });
        }
        self.behind.epochs()
    }

    fn set_epochs(&self, epochs: Vec<(u8, Epoch)>) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.behind.set_epochs(epochs)
    }

    fn holders<'a>(
        &'a self,
        query: &'a HoldersQuery,
    ) -> BoxFuture<'a, Result<Page<Balance, HolderCursor>, LedgerError>> {
        self.behind.holders(query)
    }

    fn last_seen<'a>(
        &'a self,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<LastSeen>, LedgerError>> {
        self.behind.last_seen(subject)
    }

    fn seen<'a>(
        &'a self,
        tenant: Option<&'a TenantId>,
        after: Option<&'a UserId>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Page<UserId, UserId>, LedgerError>> {
        self.behind.seen(tenant, after, limit)
    }

    fn health(&self) -> BoxFuture<'_, Result<LedgerHealth, LedgerError>> {
        self.behind.health()
    }
}

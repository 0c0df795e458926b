//! A ledger on any database that runs operations.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    LedgerError, LedgerErrorKind, Session,
    append::Append,
    balances::{Balances, ChargedWithin, IsPosted, Recount, Used},
    epochs::{Epochs, SetEpochs},
    forget::Forget,
    log::OneAttempt,
    migrations::Health,
    people::{LastSeenOf, Seen},
    prune::Prune,
    text,
};
use crate::{
    Amount, CounterKey, Epoch, QuotaName, Requester, ReservationId, Subject, TenantId, UnixMillis,
    UserId,
    ledger::{
        Appended, AuditPage, AuditQuery, Balance, Batch, History, HolderCursor, HoldersQuery,
        LastSeen, Ledger, LedgerHealth, LogPage, LogQuery, Page, PostingKind, Pruned, RollUp,
        RolledUp, Span, Statistics, StatisticsQuery, StreamPosition, Usage, UsageQuery,
    },
};

/// So many records are made into rows at once; more would keep the caller's thread for too long.
const FEW: usize = 32;

/// One thing that is asked of a database, in as many statements as it takes.
pub(in crate::ledger) trait Operation: Send + Sync + 'static {
    type Answer: Send + 'static;

    fn run<S: Session>(
        &self,
        session: &mut S,
    ) -> impl Future<Output = Result<Self::Answer, LedgerError>> + Send;
}

/// A database that runs operations.
pub(in crate::ledger) trait Database: Send + Sync + 'static {
    /// Runs an operation that changes nothing.
    fn read<O: Operation>(&self, operation: O) -> BoxFuture<'_, Result<O::Answer, LedgerError>>;

    /// Runs an operation in a transaction: all of it or nothing.
    fn write<O: Operation>(&self, operation: O) -> BoxFuture<'_, Result<O::Answer, LedgerError>>;
}

impl<D: Database> Ledger for D {
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Appended, LedgerError>> {
        Box::pin(async move {
            let append = if batch.attempts.len() + batch.postings.len() <= FEW {
                Append::new(batch)?
            } else {
                let making = tokio::task::spawn_blocking(|| Append::new(batch)).await;
                making.map_err(|error| LedgerError::new(LedgerErrorKind::Unknown, error))??
            };
            // What the writer lets go of is freed here.
            let append = Arc::new(append);
            self.write(Arc::clone(&append)).await
        })
    }

    fn mark<'a>(
        &'a self,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<Option<StreamPosition>, LedgerError>> {
        self.read(Mark(stream.to_owned()))
    }

    fn used<'a>(
        &'a self,
        requester: &'a Requester,
        counters: &'a [CounterKey],
    ) -> BoxFuture<'a, Result<Vec<Amount>, LedgerError>> {
        self.read(Used(requester.clone(), counters.to_vec()))
    }

    fn charged<'a>(
        &'a self,
        subject: &'a Subject,
        quota: &'a QuotaName,
        span: Span,
    ) -> BoxFuture<'a, Result<Amount, LedgerError>> {
        self.read(ChargedWithin(subject.clone(), quota.clone(), span))
    }

    fn balances<'a>(
        &'a self,
        partition: u8,
        now: UnixMillis,
        after: Option<&'a Balance>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Balance>, LedgerError>> {
        self.read(Balances {
            partition,
            now,
            after: after.cloned(),
            limit,
        })
    }

    fn recount<'a>(
        &'a self,
        requester: &'a Requester,
        counter: &'a CounterKey,
    ) -> BoxFuture<'a, Result<Amount, LedgerError>> {
        self.read(Recount(requester.clone(), counter.clone()))
    }

    fn is_posted(
        &self,
        id: ReservationId,
        kind: PostingKind,
    ) -> BoxFuture<'_, Result<bool, LedgerError>> {
        self.read(IsPosted(id, kind))
    }

    fn log<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, Result<LogPage, LedgerError>> {
        self.read(query.clone())
    }

    fn attempt<'a>(
        &'a self,
        tenant: Option<&'a TenantId>,
        id: ReservationId,
    ) -> BoxFuture<'a, Result<Option<History>, LedgerError>> {
        self.read(OneAttempt(tenant.cloned(), id))
    }

    fn statistics<'a>(
        &'a self,
        query: &'a StatisticsQuery,
    ) -> BoxFuture<'a, Result<Statistics, LedgerError>> {
        self.read(query.clone())
    }

    fn usage<'a>(
        &'a self,
        query: &'a UsageQuery,
    ) -> BoxFuture<'a, Result<Vec<Usage>, LedgerError>> {
        self.read(query.clone())
    }

    fn holders<'a>(
        &'a self,
        query: &'a HoldersQuery,
    ) -> BoxFuture<'a, Result<Page<Balance, HolderCursor>, LedgerError>> {
        self.read(query.clone())
    }

    fn last_seen<'a>(
        &'a self,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<LastSeen>, LedgerError>> {
        self.read(LastSeenOf(subject.clone()))
    }

    fn seen<'a>(
        &'a self,
        tenant: Option<&'a TenantId>,
        after: Option<&'a UserId>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Page<UserId, UserId>, LedgerError>> {
        self.read(Seen {
            tenant: tenant.cloned(),
            after: after.cloned(),
            limit,
        })
    }

    fn audits<'a>(
        &'a self,
        query: &'a AuditQuery,
    ) -> BoxFuture<'a, Result<AuditPage, LedgerError>> {
        self.read(query.clone())
    }

    fn prune(&self, before: UnixMillis, limit: u32) -> BoxFuture<'_, Result<Pruned, LedgerError>> {
        self.write(Prune { before, limit })
    }

    fn roll_up<'a>(&'a self, roll_up: &'a RollUp) -> BoxFuture<'a, Result<RolledUp, LedgerError>> {
        self.write(roll_up.clone())
    }

    fn forget<'a>(
        &'a self,
        requester: &'a Requester,
        pseudonym: &'a UserId,
        limit: u32,
    ) -> BoxFuture<'a, Result<u64, LedgerError>> {
        self.write(Forget {
            requester: requester.clone(),
            pseudonym: pseudonym.clone(),
            limit,
        })
    }

    fn epochs(&self) -> BoxFuture<'_, Result<Vec<(u8, Epoch)>, LedgerError>> {
        self.read(Epochs)
    }

    fn set_epochs(&self, mut epochs: Vec<(u8, Epoch)>) -> BoxFuture<'_, Result<(), LedgerError>> {
        // In one order everywhere, so that two transactions never wait for each other in a circle.
        epochs.sort_unstable_by_key(|(partition, _)| *partition);
        self.write(SetEpochs(epochs))
    }

    fn health(&self) -> BoxFuture<'_, Result<LedgerHealth, LedgerError>> {
        self.read(Health)
    }
}

/// How far a stream was moved.
struct Mark(String);

impl Operation for Mark {
    type Answer = Option<StreamPosition>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Self::Answer, LedgerError> {
        let statement = super::Statement::new(
            "SELECT millis, sequence FROM streams WHERE stream = ?1",
            vec![text::bind(&self.0)],
        );
        let positions = session.rows(&statement, |row| {
            Ok(StreamPosition {
                millis: row.count(0)?,
                sequence: row.count(1)?,
            })
        });
        Ok(positions.await?.pop())
    }
}

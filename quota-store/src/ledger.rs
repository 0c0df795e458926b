//! The ledger: the durable, append-only record of what was charged.
//!
//! Counters are fast and may be lost; the ledger is what they are rebuilt from. It keeps the usage
//! log (an [`Attempt`] for each charge that was tried), the [`Posting`]s that change counters with
//! the balance of each counter, and what administrators did ([`Audit`]).

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{
    Amount, CounterKey, Epoch, QuotaName, Requester, ReservationId, Subject, TenantId, UnixMillis,
    UserId,
};

mod attempt;
mod audit;
mod batch;
mod error;
#[cfg(feature = "redis")]
pub(crate) mod event;
#[cfg(feature = "postgres")]
mod postgres;
mod posting;
mod query;
mod recorder;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

pub(crate) use self::attempt::words;
#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresLedger, PostgresOptions};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{Claim, Durability, SqliteLedger, SqliteOptions};
pub use self::{
    attempt::{Attempt, Charged, DeniedBy, Outcome, PlanAtTheTime, PlanSource, UnknownWord},
    audit::{Audit, Target},
    batch::{Appended, Batch, StreamMark, StreamPosition},
    error::{LedgerError, LedgerErrorKind, LedgerStartError},
    posting::{Entry, Posting, PostingKind},
    query::{
        AuditCursor, AuditPage, AuditQuery, Balance, Bucket, By, Figures, History, HolderCursor,
        HoldersOrder, HoldersQuery, LastSeen, LedgerHealth, LogCursor, LogPage, LogQuery, Page,
        Part, Pruned, RollUp, RolledUp, Sizes, Span, Statistics, StatisticsQuery, Usage,
        UsageQuery,
    },
    recorder::{Backlog, Denials, Gauges, Recorder, RecorderOptions, Recording},
};

/// Keeps what was charged, for good.
///
/// The implementor's duties:
///
/// - A batch is in the ledger as a whole or not at all, and stays there once `append` has answered.
/// - Each (id, outcome) of an attempt, each (reservation, kind) of a posting and each id of an audit
///   is taken once, in whatever batches and however often it comes; only a posting that is new
///   changes balances.
/// - Pruning and rolling up change no balance.
/// - An attempt that was committed or late is known by its posting in the same batch: where that was
///   there already, so was the attempt, even if it was rolled up since.
/// - A read of one tenant never shows anything of another.
///
/// The suite in `contract::ledger` (feature `test-util`) tries to break each of these.
///
/// # Cancel safety
///
/// A dropped future of a write may have taken effect, and may still; sending it again is safe.
pub trait Ledger: Send + Sync + 'static {
    /// Appends a batch in one step.
    ///
    /// # Errors
    ///
    /// [`LedgerErrorKind::Invalid`] for a batch that no ledger would take; for other kinds see
    /// [`LedgerError::is_worth_repeating`].
    fn append(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<Appended, LedgerError>>;

    /// How far a stream was moved.
    fn mark<'a>(
        &'a self,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<Option<StreamPosition>, LedgerError>>;

    /// What counters of one requester should say, in the order asked for; one that was never
    /// touched is zero.
    fn used<'a>(
        &'a self,
        requester: &'a Requester,
        counters: &'a [CounterKey],
    ) -> BoxFuture<'a, Result<Vec<Amount>, LedgerError>>;

    /// What the attempts of a subject were charged within any time, for a counter that comes into
    /// being by a change of plan, zone or configuration.
    ///
    /// Acts of administration are not in it, and nothing that was pruned is.
    fn charged<'a>(
        &'a self,
        subject: &'a Subject,
        quota: &'a QuotaName,
        span: Span,
    ) -> BoxFuture<'a, Result<Amount, LedgerError>>;

    /// The counters of one partition whose windows end after `now`, at most `limit` of them, for
    /// rebuilding and verifying; `after` is the last one of the page before.
    fn balances<'a>(
        &'a self,
        partition: u8,
        now: UnixMillis,
        after: Option<&'a Balance>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Balance>, LedgerError>>;

    /// Opening balance and postings of one counter, added up anew: what [`used`](Self::used) must
    /// say. It reads all postings of the subject that are left.
    fn recount<'a>(
        &'a self,
        requester: &'a Requester,
        counter: &'a CounterKey,
    ) -> BoxFuture<'a, Result<Amount, LedgerError>>;

    /// Whether a change of counters is there. One that was pruned is not.
    fn is_posted(
        &self,
        id: ReservationId,
        kind: PostingKind,
    ) -> BoxFuture<'_, Result<bool, LedgerError>>;

    /// A page of the usage log.
    fn log<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, Result<LogPage, LedgerError>>;

    /// One attempt of a tenant with what it changed; `None` where the tenant has no such attempt.
    fn attempt<'a>(
        &'a self,
        tenant: Option<&'a TenantId>,
        id: ReservationId,
    ) -> BoxFuture<'a, Result<Option<History>, LedgerError>>;

    /// Figures about one quota.
    fn statistics<'a>(
        &'a self,
        query: &'a StatisticsQuery,
    ) -> BoxFuture<'a, Result<Statistics, LedgerError>>;

    /// What one user used, by quota, then by time.
    fn usage<'a>(&'a self, query: &'a UsageQuery)
    -> BoxFuture<'a, Result<Vec<Usage>, LedgerError>>;

    /// A page of who uses how much.
    ///
    /// By name it is read from an index in its order. By what was used, the counters of all open
    /// windows that it is about are read and sorted for each page, which takes a tenth of a second
    /// for some 80 000.
    fn holders<'a>(
        &'a self,
        query: &'a HoldersQuery,
    ) -> BoxFuture<'a, Result<Page<Balance, HolderCursor>, LedgerError>>;

    /// The last attempt of a user, or of any user of a tenant; `None` where there is none.
    fn last_seen<'a>(
        &'a self,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<LastSeen>, LedgerError>>;

    /// The users of a tenant, or those without one, that have any counter or attempt, by name;
    /// `after` is the last one of the page before.
    fn seen<'a>(
        &'a self,
        tenant: Option<&'a TenantId>,
        after: Option<&'a UserId>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Page<UserId, UserId>, LedgerError>>;

    /// A page of what administrators did.
    fn audits<'a>(&'a self, query: &'a AuditQuery)
    -> BoxFuture<'a, Result<AuditPage, LedgerError>>;

    /// Removes at most `limit` rows from before an instant, and folds what they changed into
    /// opening balances in the same step. Called until it removes fewer than `limit`.
    ///
    /// `before` lies at least as far back as anything may still be appended again; what is
    /// appended again after it was pruned counts as new. Audits are never pruned.
    fn prune(&self, before: UnixMillis, limit: u32) -> BoxFuture<'_, Result<Pruned, LedgerError>>;

    /// Makes one record of the committed attempts of a tenant, user and minute that are alike: in
    /// rule, plan, revision, status, cause, tags and quotas. Called until it answers no next step.
    ///
    /// Only attempts whose quotas are all among the given ones, and that came with a posting, which
    /// stays and by which they are known should they come again. The record stands at the start of
    /// the minute, under the id of one of them; its `count` says how many they are, its charges are
    /// their sums, and it has no latency, metadata, request id, address and program. Balances and
    /// figures stay.
    fn roll_up<'a>(&'a self, roll_up: &'a RollUp) -> BoxFuture<'a, Result<RolledUp, LedgerError>>;

    /// Puts a pseudonym in the place of a user in at most `limit` records of each kind, and removes
    /// what else tells who it was: address, program, metadata and request id. Sums stay, under the
    /// pseudonym. Called with the same pseudonym until it answers 0.
    fn forget<'a>(
        &'a self,
        requester: &'a Requester,
        pseudonym: &'a UserId,
        limit: u32,
    ) -> BoxFuture<'a, Result<u64, LedgerError>>;

    /// Which epoch the counters of each partition should have, where a shared store keeps them; a
    /// partition that never had one is left out.
    fn epochs(&self) -> BoxFuture<'_, Result<Vec<(u8, Epoch)>, LedgerError>>;

    /// Says which epochs partitions have from now on; others stay as they are.
    fn set_epochs(&self, epochs: Vec<(u8, Epoch)>) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Asks whether the ledger can serve, and how large it is.
    fn health(&self) -> BoxFuture<'_, Result<LedgerHealth, LedgerError>>;
}

//! What can be asked of a ledger, and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Attempt, Audit, Outcome, PlanAtTheTime, Posting, Target};
use crate::{
    Amount, CounterKey, QuotaName, Requester, ReservationId, Subject, TenantId, UnixMillis, UserId,
    Window,
};

/// Part of a list, and where it goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T, C> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<C>,
}

/// From `from`, included, to `to`, excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first instant in it.
    pub from: UnixMillis,
    /// The first instant after it.
    pub to: UnixMillis,
}

impl Span {
    /// All of time.
    pub const ALL: Self = Self {
        from: UnixMillis::new(0),
        to: UnixMillis::new(i64::MAX.unsigned_abs()),
    };
}

/// Asks for a page of the usage log, the latest first.
#[derive(Clone, Debug, PartialEq)]
pub struct LogQuery {
    /// Whose log: that of a tenant, or of the users without one.
    pub tenant: Option<TenantId>,
    /// Only this user's.
    pub user: Option<UserId>,
    /// Only what asked for this quota.
    pub quota: Option<QuotaName>,
    /// Only with this outcome.
    pub outcome: Option<Outcome>,
    /// Only of this rule.
    pub rule: Option<String>,
    /// Only with all of these tags.
    pub tags: BTreeMap<String, String>,
    /// Only of this time.
    pub span: Span,
    /// Where the page before ended.
    pub after: Option<LogCursor>,
    /// How many rows at most.
    pub limit: u32,
}

impl LogQuery {
    /// The whole log of a tenant, or of the users without one.
    #[must_use]
    pub const fn of(tenant: Option<TenantId>, limit: u32) -> Self {
        Self {
            tenant,
            user: None,
            quota: None,
            outcome: None,
            rule: None,
            tags: BTreeMap::new(),
            span: Span::ALL,
            after: None,
            limit,
        }
    }
}

/// A place in the usage log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCursor {
    /// When the attempt was.
    pub at: UnixMillis,
    /// Its id.
    pub id: ReservationId,
    /// Its outcome.
    pub outcome: Outcome,
}

/// Everything that the ledger knows of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Its records, the earliest outcome first; usually one. What was committed and rolled up is
    /// the record of its minute, which counts others too: `postings` says what is of this attempt.
    pub records: Vec<Attempt>,
    /// What it changed.
    pub postings: Vec<Posting>,
}

/// The length of the parts that figures are given for, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// Hours.
    Hour,
    /// Days.
    Day,
    /// Calendar months.
    Month,
}

/// What figures are split by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The plan at the time.
    Plan,
    /// The rule.
    Rule,
    /// The value of the tag of this name; attempts without it are left out.
    Tag(String),
}

/// Asks for figures about one quota of a tenant.
///
/// By the hour `span` is widened to whole hours of UTC, by the day and month to whole days; users
/// and sizes are kept by the day alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsQuery {
    /// Whose: of a tenant, or of the users without one.
    pub tenant: Option<TenantId>,
    /// The quota.
    pub quota: QuotaName,
    /// The time.
    pub span: Span,
    /// The parts of it.
    pub bucket: Bucket,
    /// What the parts are split by.
    pub by: Option<By>,
}

/// Figures about one quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Of the whole time.
    pub total: Figures,
    /// How many users tried to use it.
    pub users: u64,
    /// How large the charges were.
    pub sizes: Sizes,
    /// Of each part in which anything happened, the earliest first, and by group within it.
    pub parts: Vec<Part>,
}

/// Sums over attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many attempts ended how.
    pub attempts: BTreeMap<Outcome, u64>,
    /// The units charged, less those given back.
    pub charged: i64,
}

/// How large the charges of single attempts were.
///
/// Exact up to 64; above, rounded down by less than 1/32. Charges of zero and below don't count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Half of the charges are at most this.
    pub p50: Amount,
    /// Nine of ten.
    pub p90: Amount,
    /// 99 of 100.
    pub p99: Amount,
    /// The largest.
    pub largest: Amount,
}

/// Figures of one part of the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub from: UnixMillis,
    /// The plan, rule or value of the tag; empty where it is not split, or there is none.
    pub group: String,
    /// The figures.
    pub figures: Figures,
}

/// Asks what one user used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    /// The user.
    pub requester: Requester,
    /// Only this quota.
    pub quota: Option<QuotaName>,
    /// The time; by the day and month it is widened to whole days of UTC.
    pub span: Span,
    /// The parts of it.
    pub bucket: Bucket,
    /// The name of the tag that the parts are split by.
    pub by_tag: Option<String>,
}

/// What one user used of one quota in one part of the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The quota.
    pub quota: QuotaName,
    /// Where the part begins.
    pub from: UnixMillis,
    /// The value of the tag; empty where it is not split.
    pub group: String,
    /// How many attempts there were, however they ended.
    pub attempts: u64,
    /// How many of them were denied.
    pub denied: u64,
    /// The units charged, less those given back.
    pub charged: i64,
}

/// What a counter should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Whose it is.
    pub subject: Subject,
    /// The counter.
    pub counter: CounterKey,
    /// The opening balance and all postings since.
    pub used: Amount,
}

/// Asks who uses how much: the users of a tenant, or those without one, with their counters of the
/// windows that are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldersQuery {
    /// Whose users.
    pub tenant: Option<TenantId>,
    /// Only counters of this quota.
    pub quota: Option<QuotaName>,
    /// Only counters of this window.
    pub window: Option<Window>,
    /// The instant at which the windows are open.
    pub now: UnixMillis,
    /// Which come first.
    pub order: HoldersOrder,
    /// Where the page before ended.
    pub after: Option<HolderCursor>,
    /// How many counters at most.
    pub limit: u32,
}

/// The order of counters. Pages by what was used follow counters that change: one that moves in
/// between may be on two pages, or on none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HoldersOrder {
    /// Of which most was used.
    #[default]
    MostUsed,
    /// By user, quota and window.
    Name,
}

/// A place in the list of who uses how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderCursor {
    /// What was used.
    pub used: Amount,
    /// Whose counter.
    pub user: UserId,
    /// The counter.
    pub counter: CounterKey,
}

/// The last attempt of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSeen {
    /// When it was.
    pub at: UnixMillis,
    /// The plan at the time, if one was known.
    pub plan: Option<PlanAtTheTime>,
}

/// Asks for a page of what administrators did, the latest first.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditQuery {
    /// Whose: what is about a tenant, or what is about none.
    pub tenant: Option<TenantId>,
    /// Only what changed this.
    pub target: Option<Target>,
    /// Only by this administrator.
    pub actor: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only of this time.
    pub span: Span,
    /// Where the page before ended.
    pub after: Option<AuditCursor>,
    /// How many rows at most.
    pub limit: u32,
}

/// A place in the list of audits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditCursor {
    /// When it was.
    pub at: UnixMillis,
    /// Its id.
    pub id: Uuid,
}

/// A page of the usage log.
pub type LogPage = Page<Attempt, LogCursor>;

/// A page of what administrators did.
pub type AuditPage = Page<Audit, AuditCursor>;

/// What one step of pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many rows it removed; fewer than it might have means that nothing is left to remove. A
    /// record that attempts were rolled up into counts as they do and goes as a whole, so these may
    /// be more.
    pub rows: u64,
}

/// Asks for a step of rolling up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollUp {
    /// What was asked for in this time, whole minutes of it. None of it is still under way.
    pub span: Span,
    /// Where the step before ended.
    pub after: Option<LogCursor>,
    /// The quotas that are recorded by the minute.
    pub quotas: BTreeSet<QuotaName>,
    /// How many records are looked at, at most.
    pub limit: u32,
}

/// What one step of rolling up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolledUp {
    /// By how many records the log is shorter.
    pub rows: u64,
    /// Where the next step begins; `None` after the last one.
    pub next: Option<LogCursor>,
}

/// How a ledger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerHealth {
    /// About how many records the usage log has.
    pub attempts: u64,
    /// How much room the ledger takes, in bytes.
    pub bytes: u64,
    /// The migration that its tables are at.
    pub migration: i64,
}

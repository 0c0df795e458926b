//! What is asked of administration, and what it answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quota_store::{
    Amount, Bound, Plan, PlanName, QuotaName, TenantId, UnixMillis, UserId, Window,
    directory::{Assignment, Override, Status},
    ledger::PlanSource,
};
use secrecy::SecretString;

use crate::{QuotaState, QuotaStatus, Unauthenticated};

/// What could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is nothing of that name, or nothing that the caller may know of.
    #[error("there is no {what}")]
    NotFound {
        /// What was looked for, such as ``plan `gold` ``.
        what: String,
    },
    /// What was asked for contradicts itself or the configuration.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field or parameter at fault.
        field: String,
        /// What is wrong with it, and how to mend it.
        problem: String,
    },
    /// It contradicts what is there: a plan of the file, a plan that users have.
    #[error("{0}")]
    Conflict(String),
    /// `[ledger] url` is `none`, and this needs a ledger.
    #[error("this needs a ledger: give [ledger] a url in quota.toml")]
    NoLedger,
    /// The counter store could not be asked. What was done of it is in no doubt: doing it again
    /// with the same operation completes it.
    #[error("the counter store can't be asked: {0}")]
    Store(#[source] quota_store::StoreError),
    /// The ledger's database could not be asked.
    #[error("the ledger can't be asked: {0}")]
    Ledger(#[source] quota_store::ledger::LedgerError),
}

/// Why nobody is known to send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotIdentified {
    /// It has no token, or none that is good.
    #[error("{0}")]
    Unauthenticated(Unauthenticated),
    /// The keys that its token could be verified with can't be fetched.
    #[error("the token can't be verified at the moment; try again later")]
    Unavailable {
        /// After how many seconds.
        retry_after_seconds: u64,
    },
}

/// Who does something, and why; it is audited.
#[derive(Clone, Debug)]
pub struct Doing {
    /// Names what is done: done again under the same id, it takes effect once.
    pub id: uuid::Uuid,
    /// Who: the subject of a token, or the name of an admin token.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The `Idempotency-Key` that it came with.
    pub idempotency_key: Option<String>,
}

/// What of the configuration those who serve people need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether tokens may name a tenant, so that administrators must.
    pub has_tenants: bool,
    /// Where users go for more.
    pub upgrade_url: Option<String>,
    /// The names that tags may have.
    pub tags: Vec<String>,
    /// The languages of texts, the preferred one first.
    pub locales: Vec<String>,
    /// Who may administer.
    pub access: AdminAccess,
    /// How long an id may be.
    pub max_id_bytes: usize,
    /// Revision of the configuration in force.
    pub revision: String,
}

/// Who may administer.
#[derive(Clone, Debug, Default)]
pub struct AdminAccess {
    /// Tokens that may do everything.
    pub tokens: Vec<SecretString>,
    /// Tokens that may see everything.
    pub read_only_tokens: Vec<SecretString>,
    /// Tokens that may do everything to one tenant.
    pub tenant_tokens: BTreeMap<TenantId, Vec<SecretString>>,
    /// Roles whose bearers may do everything to their own tenant, or everything where tokens name
    /// no tenant.
    pub roles: Vec<String>,
}

impl AdminAccess {
    /// Whether nobody may, so that there is no admin API.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
            && self.read_only_tokens.is_empty()
            && self.tenant_tokens.is_empty()
            && self.roles.is_empty()
    }
}

/// How a user or a tenant as a whole stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The plan in force.
    pub plan: PlanStanding,
    /// Its own limits in force.
    pub overrides: Vec<Override>,
    /// By quota, in the order of the file, those of the tenant after those of the user.
    pub quotas: Vec<QuotaStanding>,
    /// The last attempt, for administrators; `None` where there was none.
    pub last_seen_at: Option<UnixMillis>,
}

/// Which plan is in force, and why.
#[derive(Clone, Debug)]
pub struct PlanStanding {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Where it comes from.
    pub source: PlanSource,
    /// How the subscription stands.
    pub status: Status,
    /// Since when it is assigned.
    pub since: Option<UnixMillis>,
    /// Until when it is assigned.
    pub until: Option<UnixMillis>,
    /// Where the billing periods of its assignment begin.
    pub anchor: Option<UnixMillis>,
    /// What is assigned for later, the earliest first.
    pub next: Vec<Assignment>,
    /// The time zone whose calendar the windows follow.
    pub timezone: String,
}

/// How one quota stands.
#[derive(Clone, Debug)]
pub struct QuotaStanding {
    /// The quota.
    pub quota: QuotaName,
    /// Its title.
    pub title: String,
    /// What one of it is called.
    pub unit: String,
    /// `flow` or `stock`.
    pub kind: &'static str,
    /// How the counter closest to its limit stands.
    pub state: QuotaState,
    /// Whether one more unit would be admitted.
    pub allowed: bool,
    /// The least that is left of any limit; `None` where there is none.
    pub remaining: Option<u64>,
    /// Every counter.
    pub counters: Vec<QuotaStatus>,
}

/// Asks who uses how much.
#[derive(Clone, Debug)]
pub struct UsersQuery {
    /// Of which tenant, or of the users without one.
    pub tenant: Option<TenantId>,
    /// The quota; `None` for every one.
    pub quota: Option<QuotaName>,
    /// Its window; `None` for every one.
    pub window: Option<Window>,
    /// Only users with this plan.
    pub plan: Option<PlanName>,
    /// Only counters of which at least this much of the limit is used.
    pub near_limit: Option<u16>,
    /// The order.
    pub sort: UsersSort,
    /// How many rows at most.
    pub limit: u32,
    /// Where the page before ended, as it said.
    pub after: Option<String>,
}

/// The order of users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsersSort {
    /// Who used most comes first.
    #[default]
    MostUsed,
    /// By name.
    Name,
}

/// One counter of one user.
#[derive(Clone, Debug)]
pub struct UserRow {
    /// The user.
    pub user: UserId,
    /// Its plan.
    pub plan: PlanName,
    /// How the counter stands.
    pub status: QuotaStatus,
}

/// What one change did to one counter.
#[derive(Clone, Debug)]
pub struct CounterChange {
    /// The quota.
    pub quota: QuotaName,
    /// The window.
    pub window: Window,
    /// Whose: the user's, or the tenant's.
    pub scope: quota_store::Scope,
    /// Before.
    pub used_before: Amount,
    /// After.
    pub used_after: Amount,
}

/// Another limit for one subject.
#[derive(Clone, Debug)]
pub struct Adjustment {
    /// The quota.
    pub quota: QuotaName,
    /// The window.
    pub window: Window,
    /// The limit.
    pub to: AdjustTo,
    /// Until when.
    pub expires: Expires,
}

/// What a limit becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdjustTo {
    /// This.
    Limit(Bound),
    /// That much more, or less, than it is now.
    Add(i64),
    /// What the plan says again.
    Plan,
}

/// Until when something holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expires {
    /// For good.
    #[default]
    Never,
    /// Until the present window ends.
    WindowEnd,
    /// Until then.
    At(UnixMillis),
}

/// Another plan for one subject.
#[derive(Clone, Debug)]
pub struct PlanChange {
    /// The plan.
    pub plan: PlanName,
    /// What becomes of what was used.
    pub rule: ChangeRule,
    /// When.
    pub at: ChangeAt,
    /// Where billing periods begin.
    pub anchor: Option<UnixMillis>,
    /// The IANA time zone of its windows.
    pub timezone: Option<String>,
    /// From when on, instead of now.
    pub starts_at: Option<UnixMillis>,
    /// Until when.
    pub ends_at: Option<UnixMillis>,
    /// The plan that follows then; `None` for what would hold without an assignment.
    pub then: Option<PlanName>,
    /// How the subscription stands.
    pub status: Status,
}

/// What a change of plan does to what was used in the windows that are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangeRule {
    /// It stays.
    #[default]
    Carry,
    /// It begins at zero.
    Reset,
    /// It stays, and the limit is each plan's share of the window by time.
    Prorate,
    /// It stays, and what was left of the old limit is added to the new one.
    Additive,
}

/// When a change of plan takes effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangeAt {
    /// At once.
    #[default]
    Now,
    /// When the present billing period (a calendar month, or one from the anchor) ends.
    PeriodEnd,
}

/// Whom a change of many is about.
#[derive(Clone, Debug)]
pub enum Whom {
    /// These users.
    Users(Vec<UserId>),
    /// Every user to whom this plan is assigned now.
    WithPlan(PlanName),
    /// Every user that the ledger has seen.
    Everyone,
}

/// A plan as it is in force.
#[derive(Clone, Debug)]
pub struct PlanView {
    /// The plan, with everything it extends.
    pub plan: Arc<Plan>,
    /// Whether it is the default plan.
    pub is_default: bool,
    /// Whether it stands in the configuration file, so that it can't be changed here.
    pub is_from_file: bool,
    /// What was written of it, as JSON, where the database keeps it.
    pub written: Option<serde_json::Value>,
}

/// How the whole does.
#[derive(Clone, Debug)]
pub struct Health {
    /// The worst of the others.
    pub status: HealthStatus,
    /// The counter store: how it does, and why not.
    pub store: Result<(), String>,
    /// `closed`, `half_open` or `open`.
    pub breaker: &'static str,
    /// The last time that the store was found to have lost data, since this process began.
    pub last_loss: Option<quota_store::Loss>,
    /// The ledger, `None` where there is none.
    pub ledger: Option<Result<quota_store::ledger::LedgerHealth, String>>,
    /// Records of what was charged that the ledger does not have yet.
    pub backlog: usize,
    /// How long the oldest of them has been waiting.
    pub lag: Option<Duration>,
    /// Whether requests are refused because too many records wait.
    pub is_refusing: bool,
    /// `refused` where the store did not start if it could evict counters, `accepted` where that
    /// is accepted; `None` where the store evicts nothing.
    pub eviction: Option<&'static str>,
    /// Revision of the configuration in force.
    pub revision: String,
    /// Why the last reload failed, where it did.
    pub reload_error: Option<String>,
    /// Rules that no request has matched.
    pub unmatched_rules: Vec<String>,
    /// Routes that no rule names.
    pub unruled_routes: Vec<String>,
}

/// How well something does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthStatus {
    /// As it should.
    Ok,
    /// Requests are served, and something is wrong.
    Degraded,
    /// Requests are not served.
    Down,
}

/// Whether a plan must be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutPlan {
    /// It must not be there yet.
    Create,
    /// It must be there.
    Replace,
}

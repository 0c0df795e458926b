//! The directory: which plans the database keeps, who has which, and whose limits were changed.
//!
//! It lies in the same database as the ledger. Plans of the configuration file are not in it.

use futures_util::future::BoxFuture;

use crate::{
    Bound, Generation, PlanName, QuotaName, Requester, Scope, Subject, TenantId, UnixMillis,
    Window,
    ledger::{Audit, LedgerError, Page},
};

/// Keeps what administrators said of plans, users and tenants.
///
/// The implementor's duties:
///
/// - Each change is one step with the audit that tells of it.
/// - A change of a subject raises its generation by one, a change of plans raises theirs; none ever
///   goes back, also when the entry is removed and made anew.
/// - A change that was worked out from an older generation takes no effect.
///
/// # Cancel safety
///
/// A dropped future of a change may have taken effect, and may still.
pub trait Directory: Send + Sync + 'static {
    /// What is known of a user and of its tenant, in one step. A subject that nothing was said of
    /// has the default entry.
    fn entries<'a>(
        &'a self,
        requester: &'a Requester,
    ) -> BoxFuture<'a, Result<Entries, LedgerError>>;

    /// What is known of a subject.
    fn entry<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Entry, LedgerError>>;

    /// Replaces what is known of a subject, if it is still at the generation of `change.entry`.
    ///
    /// A change whose audit was taken before takes no effect, and is answered what it made then.
    ///
    /// # Errors
    ///
    /// [`LedgerErrorKind::Invalid`](crate::ledger::LedgerErrorKind::Invalid) for assignments out of
    /// order, and for an audit whose id is that of another act.
    fn replace<'a>(
        &'a self,
        change: &'a EntryChange,
    ) -> BoxFuture<'a, Result<Replaced, LedgerError>>;

    /// The subjects of a tenant to which a plan is assigned now or will be, by name: of all tenants
    /// where `tenant` is `None`, by tenant and then by user, each tenant before its users.
    fn assigned<'a>(
        &'a self,
        query: &'a AssignedQuery,
    ) -> BoxFuture<'a, Result<Page<Subject, Subject>, LedgerError>>;

    /// All plans that the database keeps.
    fn plans(&self) -> BoxFuture<'_, Result<StoredPlans, LedgerError>>;

    /// Changes the plans, if they are still at `change.generation`; otherwise as
    /// [`replace`](Self::replace).
    fn change_plans<'a>(
        &'a self,
        change: &'a PlansChange,
    ) -> BoxFuture<'a, Result<Replaced, LedgerError>>;

    /// Says in which windows plans limit quotas from now on, and answers since when each of them is
    /// in force, in the order asked for.
    ///
    /// A window that is new to its plan is in force since `now`, and the windows of a plan that was
    /// not known have always been. Those that are not named any more are forgotten. Of several that
    /// say the same at once all are answered the same.
    fn put_in_force(
        &self,
        windows: Vec<WindowInForce>,
        now: UnixMillis,
    ) -> BoxFuture<'_, Result<Vec<UnixMillis>, LedgerError>>;

    /// Begins what comes with an `Idempotency-Key`, unless it began before. Of several at once one
    /// is answered [`Begun::New`].
    fn begin<'a>(&'a self, claim: &'a KeyClaim) -> BoxFuture<'a, Result<Begun, LedgerError>>;

    /// Keeps the answer to what began with a key, so that it is given again. The first answer to
    /// a request stays.
    fn finish<'a>(
        &'a self,
        claim: &'a KeyClaim,
        answer: &'a KeptAnswer,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Lets a key go that led to nothing, so that it can be used again. It is left alone where
    /// another claim has taken it over, and where it has an answer.
    fn abandon<'a>(&'a self, claim: &'a KeyClaim) -> BoxFuture<'a, Result<(), LedgerError>>;
}

/// What is known of one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Counts its changes; 0 where there was none.
    pub generation: Generation,
    /// Its plans over time, the earliest first; the one in force is the last that has begun.
    pub assignments: Vec<Assignment>,
    /// Its own limits, which win over those of its plan.
    pub overrides: Vec<Override>,
}

/// What is known of a user and of its tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Of the user.
    pub user: Entry,
    /// Of the tenant; `None` where there is none.
    pub tenant: Option<Entry>,
}

/// That a subject has a plan, from an instant on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The plan.
    pub plan: PlanName,
    /// From when on.
    pub since: UnixMillis,
    /// Until when; what follows is the next assignment, or else none.
    pub until: Option<UnixMillis>,
    /// Where billing periods begin, for plans whose windows follow the subscription.
    pub anchor: Option<UnixMillis>,
    /// The IANA time zone whose calendar the windows follow, instead of the plan's.
    pub timezone: Option<String>,
    /// How the subscription stands.
    pub status: Status,
}

crate::ledger::words! {
    /// How a subscription stands. It is shown, and changes no limit.
    Status {
        /// It is paid.
        Active = "active",
        /// It is tried out.
        Trialing = "trialing",
        /// A payment is missing.
        PastDue = "past_due",
        /// It was ended.
        Cancelled = "cancelled",
    }
}

/// One subject's own limit on a quota in a window, in the place of its plan's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The quota.
    pub quota: QuotaName,
    /// The window.
    pub window: Window,
    /// The limit; grace and warnings are those of the plan's limit on it.
    pub limit: Bound,
    /// Until when; `None` for good.
    pub until: Option<UnixMillis>,
}

impl Entry {
    /// The assignment in force.
    #[must_use]
    pub fn assignment_at(&self, now: UnixMillis) -> Option<&Assignment> {
        let begun = self.assignments.iter().rfind(|one| one.since <= now)?;
        begun.until.is_none_or(|until| now < until).then_some(begun)
    }

    /// The overrides in force.
    pub fn overrides_at(&self, now: UnixMillis) -> impl Iterator<Item = &Override> {
        let is_in_force = move |one: &&Override| one.until.is_none_or(|until| now < until);
        self.overrides.iter().filter(is_in_force)
    }

    /// The next instant at which what is in force changes by itself.
    #[must_use]
    pub fn changes_after(&self, now: UnixMillis) -> Option<UnixMillis> {
        let begins = self.assignments.iter().map(|one| one.since);
        let ends = self.assignments.iter().filter_map(|one| one.until);
        let overridden = self.overrides.iter().filter_map(|one| one.until);
        begins
            .chain(ends)
            .chain(overridden)
            .filter(|at| *at > now)
            .min()
    }
}

/// Replaces what is known of a subject.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryChange {
    /// Whose.
    pub subject: Subject,
    /// What is to be known, with the generation that it was worked out from.
    pub entry: Entry,
    /// Who changes it, and why.
    pub audit: Audit,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It took effect, and this is the generation now.
    Done(Generation),
    /// It was worked out from another generation than this, and nothing happened.
    Outdated(Generation),
}

/// Asks who has a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedQuery {
    /// The plan.
    pub plan: PlanName,
    /// Of which tenant, itself included; `None` for all, and for users without one.
    pub tenant: Option<TenantId>,
    /// What is over by then does not count.
    pub now: UnixMillis,
    /// The last one of the page before.
    pub after: Option<Subject>,
    /// How many at most.
    pub limit: u32,
}

/// The plans that the database keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredPlans {
    /// Counts their changes; 0 where there was none.
    pub generation: Generation,
    /// The default plan, if the database names one; it wins over the file's.
    pub default: Option<PlanName>,
    /// By name.
    pub plans: Vec<StoredPlan>,
}

/// One plan that the database keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPlan {
    /// Its name.
    pub name: PlanName,
    /// What the file would say in `[plans.NAME]`, as JSON.
    pub body: serde_json::Value,
    /// When it was changed last.
    pub changed_at: UnixMillis,
}

/// Changes the plans that the database keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct PlansChange {
    /// What it was worked out from.
    pub generation: Generation,
    /// What changes.
    pub edit: PlansEdit,
    /// Who changes it, and why.
    pub audit: Audit,
}

/// One change of the plans.
#[derive(Clone, Debug, PartialEq)]
pub enum PlansEdit {
    /// Adds a plan, or puts it in the place of the one of its name.
    Put(StoredPlan),
    /// Removes a plan.
    Remove(PlanName),
    /// Names the default plan; `None` for that of the file.
    Default(Option<PlanName>),
}

/// That a plan limits a quota in a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowInForce {
    /// The plan; `None` for whatever the default plan is.
    pub plan: Option<PlanName>,
    /// Whether it limits users or tenants.
    pub scope: Scope,
    /// The quota.
    pub quota: QuotaName,
    /// The window.
    pub window: Window,
    /// What the window follows: the plan's time zone, and where its periods begin.
    pub calendar: String,
}

/// What an administrator's `Idempotency-Key` is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyClaim {
    /// Who uses it: keys of others are other keys.
    pub actor: String,
    /// The key.
    pub key: String,
    /// A digest of the request: another one with the same key is a mistake.
    pub fingerprint: [u8; 32],
    /// When. Keys are forgotten after 24 hours; one that began and was not finished can be begun
    /// again after a minute.
    pub at: UnixMillis,
}

/// Whether something may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It may.
    New,
    /// It is under way.
    Running,
    /// It was done, and this was the answer.
    Finished(KeptAnswer),
    /// The key was used for another request.
    OtherRequest,
}

/// An answer that is given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

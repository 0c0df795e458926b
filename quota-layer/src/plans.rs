//! Which plan a request falls under.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use quota_store::{
    Generation, KnownGeneration, Periods, PlanName, Requester, Scope, Stale, UnixMillis,
    ledger::{PlanAtTheTime, PlanSource},
};

use crate::{
    charge::PlanIndex,
    config::{Anonymous, Config, PlanFrom, UnknownPlan},
    refusal::Refusal,
};

mod cached;
mod holding;
mod keeper;

pub(crate) use self::{
    cached::{CachedDirectory, LOAD_TIMEOUT, PAUSE, answer_of},
    holding::{Holding, billing_anchor},
    keeper::{PlansKeeper, watch},
};

/// How many missing plans are named in the log, each once.
const MAX_MISSING: usize = 1_000;

/// Missing plans that the log named. Held for a look-up, never across an await.
static MISSING: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// Knows which plans users and tenants were assigned.
///
/// An implementor answers from a cache where it may ([`Lookup::Cached`]), and looks again where
/// the counter store said that something changed ([`Lookup::Fresh`]).
pub trait PlanDirectory: fmt::Debug + Send + Sync + 'static {
    /// What was assigned to the requester and to its tenant.
    ///
    /// A directory that can't look answers with the last it knew.
    fn assigned<'a>(&'a self, requester: &'a Requester, lookup: Lookup) -> BoxFuture<'a, Assigned>;
}

/// How current an answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The last that is known will do.
    Cached,
    /// It was looked up for this call.
    Fresh,
}

/// What was assigned.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// The user's plan.
    pub user: Option<PlanName>,
    /// The tenant's plan.
    pub tenant: Option<PlanName>,
    /// How current the user's is.
    pub user_generation: KnownGeneration,
    /// How current the tenant's is.
    pub tenant_generation: KnownGeneration,
}

impl Default for Assigned {
    fn default() -> Self {
        Self {
            user: None,
            tenant: None,
            user_generation: KnownGeneration::Untracked,
            tenant_generation: KnownGeneration::Untracked,
        }
    }
}

/// Where assignments are looked up.
#[derive(Debug)]
pub(crate) enum Assignments {
    /// Nowhere: there are none.
    Nowhere,
    /// In a directory that the application brings, which knows no limits of single subjects.
    Own(Arc<dyn PlanDirectory>),
    /// In the database, through a cache.
    Stored(CachedDirectory),
}

/// What was looked up.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    /// `None` where nothing was given to anybody.
    pub(crate) holding: Option<Arc<Holding>>,
    pub(crate) user_generation: KnownGeneration,
    pub(crate) tenant_generation: KnownGeneration,
}

impl Assignments {
    /// What is known without waiting.
    pub(crate) fn now(&self, requester: &Requester, now: UnixMillis) -> Option<Looked> {
        match self {
            Self::Nowhere => Some(Looked::nothing()),
            Self::Own(_) => None,
            Self::Stored(cached) => cached.get(requester, now),
        }
    }

    /// What is known, as current as it has to be.
    pub(crate) async fn look(
        &self,
        requester: &Requester,
        now: UnixMillis,
        lookup: Lookup,
    ) -> Looked {
        match self {
            Self::Nowhere => Looked::nothing(),
            Self::Own(directory) => Looked::of(directory.assigned(requester, lookup).await),
            Self::Stored(cached) => {
                if lookup == Lookup::Cached
                    && let Some(looked) = cached.get(requester, now)
                {
                    return looked;
                }
                cached.load(requester, now).await
            }
        }
    }
}

impl Looked {
    /// That nothing is assigned, as far as anybody can know.
    pub(crate) fn nothing() -> Self {
        Self {
            holding: None,
            user_generation: KnownGeneration::Untracked,
            tenant_generation: KnownGeneration::Untracked,
        }
    }

    /// What was given, which may be nothing.
    pub(crate) fn known(&self) -> &Holding {
        self.holding.as_deref().unwrap_or(Holding::nothing())
    }

    fn of(assigned: Assigned) -> Self {
        Self {
            holding: Some(Holding::of_plans(assigned.user, assigned.tenant).into()),
            user_generation: assigned.user_generation,
            tenant_generation: assigned.tenant_generation,
        }
    }
}

/// The plans of one request.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) user: PlanIndex,
    /// Where the user's plan comes from.
    pub(crate) source: PlanSource,
    /// `None` where there is no tenant.
    pub(crate) tenant: Option<PlanIndex>,
    /// Where the tenant's plan comes from.
    pub(crate) tenant_source: PlanSource,
    pub(crate) user_generation: KnownGeneration,
    pub(crate) tenant_generation: KnownGeneration,
    /// What the plans of the database are known to be.
    pub(crate) plans_generation: KnownGeneration,
    /// What holds for these subjects alone; `None` where nothing does.
    pub(crate) own: Option<Arc<Holding>>,
}

/// Finds the plans of a requester, in the order that the configuration gives.
pub(crate) fn resolve(
    config: &Config,
    claim: Option<&str>,
    requester: &Requester,
    looked: Looked,
) -> Result<Resolved, Refusal> {
    let holding = looked.known();
    let (user, source) = user_plan(config, claim, requester, holding)?;
    let tenant = requester.tenant.as_ref();
    let tenant = tenant.map(|_| tenant_plan(config, holding));
    let follows_subscription = |plan: PlanIndex| {
        config.plans[plan.0].periods == Periods::Subscription && holding.has_anchor()
    };
    let has_own = !holding.is_plain()
        || follows_subscription(user)
        || tenant.is_some_and(follows_subscription);
    Ok(Resolved {
        user,
        source,
        tenant,
        tenant_source: tenant_source(config, holding),
        user_generation: looked.user_generation,
        tenant_generation: looked.tenant_generation,
        plans_generation: KnownGeneration::Untracked,
        own: looked.holding.filter(|_| has_own),
    })
}

/// The same with the default plan, where the configuration gives a user no other one.
pub(crate) fn resolve_default(config: &Config, requester: &Requester, looked: Looked) -> Resolved {
    let holding = looked.known();
    let has_own = !holding.is_plain();
    let tenant = requester.tenant.as_ref();
    Resolved {
        user: default_plan(config),
        source: PlanSource::Default,
        tenant: tenant.map(|_| tenant_plan(config, holding)),
        tenant_source: tenant_source(config, holding),
        user_generation: looked.user_generation,
        tenant_generation: looked.tenant_generation,
        plans_generation: KnownGeneration::Untracked,
        own: looked.holding.filter(|_| has_own),
    }
}

impl Resolved {
    /// What everybody has under a plan who was given nothing else.
    pub(crate) const fn plain(user: PlanIndex, tenant: Option<PlanIndex>) -> Self {
        Self {
            user,
            source: PlanSource::Default,
            tenant,
            tenant_source: PlanSource::Default,
            user_generation: KnownGeneration::Untracked,
            tenant_generation: KnownGeneration::Untracked,
            plans_generation: KnownGeneration::Untracked,
            own: None,
        }
    }

    /// Where the plan of one scope comes from.
    pub(crate) const fn source_of(&self, scope: Scope) -> PlanSource {
        match scope {
            Scope::User => self.source,
            Scope::Tenant => self.tenant_source,
        }
    }

    /// The user's plan, as the ledger tells it.
    pub(crate) fn at_the_time(&self, config: &Config) -> PlanAtTheTime {
        PlanAtTheTime {
            plan: config.plans[self.user.0].name.clone(),
            source: self.source,
        }
    }

    /// Goes on with what is known although the store knows of a later change, where the database
    /// knows none: it was put back to an older state, and asking again would not help.
    pub(crate) fn accept_older(&mut self, floor: &Floor) {
        for (known, floor) in [
            (&mut self.user_generation, floor.user),
            (&mut self.tenant_generation, floor.tenant),
            (&mut self.plans_generation, floor.plans),
        ] {
            if let KnownGeneration::Fresh(loaded) = known
                && floor.is_some_and(|floor| *loaded < floor)
            {
                tracing::error!(
                    target: "quota::plan",
                    "the counter store knows of changes to plans or limits that the database does \
                     not have; what the database says goes on"
                );
                *known = KnownGeneration::Untracked;
            }
        }
    }
}

/// What the store is known to know of a requester.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor {
    user: Option<Generation>,
    tenant: Option<Generation>,
    plans: Option<Generation>,
}

impl Floor {
    /// Takes what the store answered.
    pub(crate) fn note(&mut self, stale: &Stale) {
        let (known, current) = match stale {
            Stale::Plan { scope, current } => match scope {
                Scope::User => (&mut self.user, current),
                Scope::Tenant => (&mut self.tenant, current),
            },
            Stale::Plans { current } => (&mut self.plans, current),
            Stale::Window { .. } => return,
        };
        *known = (*known).max(*current);
    }
}

fn user_plan(
    config: &Config,
    claim: Option<&str>,
    requester: &Requester,
    holding: &Holding,
) -> Result<(PlanIndex, PlanSource), Refusal> {
    // Nothing but the configuration says which plan clients without a token have.
    if let Anonymous::Plan(plan) = &config.identity.anonymous
        && requester.user.is_anonymous()
        && let Some(index) = find(config, plan.as_str())
    {
        return Ok((index, PlanSource::Anonymous));
    }
    for from in &config.identity.plan_from {
        match (from, claim, holding.plan()) {
            (PlanFrom::Assignment, _, Some(name)) => {
                return Ok(assigned_plan(config, name.as_str()));
            }
            (PlanFrom::Claim, Some(claim), _) => return claimed_plan(config, claim),
            (PlanFrom::Default, ..) => return Ok((default_plan(config), PlanSource::Default)),
            (PlanFrom::Assignment, _, None) | (PlanFrom::Claim, None, _) => {}
        }
    }
    Err(Refusal::UnknownPlan)
}

/// Who was assigned a plan that is gone has the default plan.
fn assigned_plan(config: &Config, name: &str) -> (PlanIndex, PlanSource) {
    if let Some(index) = find(config, name) {
        return (index, PlanSource::Assignment);
    }
    if is_new_to_the_log(name) {
        tracing::warn!(
            target: "quota::plan",
            plan = name,
            "a plan that was assigned does not exist any more; the default plan is used instead"
        );
    }
    (default_plan(config), PlanSource::Default)
}

/// Whether the log does not name this missing plan yet.
fn is_new_to_the_log(plan: &str) -> bool {
    // A panic elsewhere leaves a whole set behind: every change is one step.
    let mut named = MISSING.lock().unwrap_or_else(PoisonError::into_inner);
    !named.contains(plan) && named.len() < MAX_MISSING && named.insert(plan.to_owned())
}

fn claimed_plan(config: &Config, claim: &str) -> Result<(PlanIndex, PlanSource), Refusal> {
    if let Some(index) = find(config, claim) {
        return Ok((index, PlanSource::Claim));
    }
    match config.identity.unknown_plan {
        UnknownPlan::Deny => Err(Refusal::UnknownPlan),
        UnknownPlan::Default => {
            tracing::warn!(
                target: "quota::plan",
                "a token names a plan that does not exist; the default plan is used instead"
            );
            Ok((default_plan(config), PlanSource::Default))
        }
    }
}

/// The tenant's assignment, else the default plan; never what a user claims.
pub(crate) fn tenant_plan(config: &Config, holding: &Holding) -> PlanIndex {
    let assigned = holding.tenant.plan();
    assigned
        .and_then(|name| find(config, name.as_str()))
        .unwrap_or_else(|| default_plan(config))
}

fn tenant_source(config: &Config, holding: &Holding) -> PlanSource {
    let assigned = holding.tenant.plan();
    match assigned.and_then(|name| find(config, name.as_str())) {
        Some(_) => PlanSource::Assignment,
        None => PlanSource::Default,
    }
}

fn default_plan(config: &Config) -> PlanIndex {
    find(config, config.default_plan.name.as_str())
        .expect("the configuration checked that the default plan is one of its plans")
}

pub(crate) fn find(config: &Config, name: &str) -> Option<PlanIndex> {
    config
        .plans
        .iter()
        .position(|plan| plan.name.as_str() == name)
        .map(PlanIndex)
}

//! Which plan a request falls under.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use quota_store::{
    KnownGeneration, PlanName, Requester,
    ledger::{PlanAtTheTime, PlanSource},
};

use crate::{
    charge::PlanIndex,
    config::{Anonymous, Config, PlanFrom, UnknownPlan},
    identity::QuotaIdentity,
    refusal::Refusal,
};

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

/// The plans of one request.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) user: PlanIndex,
    /// Where the user's plan comes from.
    pub(crate) source: PlanSource,
    /// `None` where there is no tenant.
    pub(crate) tenant: Option<PlanIndex>,
    pub(crate) user_generation: KnownGeneration,
    pub(crate) tenant_generation: KnownGeneration,
}

impl Resolved {
    /// The user's plan, as the ledger tells it.
    pub(crate) fn at_the_time(&self, config: &Config) -> PlanAtTheTime {
        PlanAtTheTime {
            plan: config.plans[self.user.0].name.clone(),
            source: self.source,
        }
    }
}

/// Finds the plans of a requester, in the order that the configuration gives.
pub(crate) async fn resolve(
    config: &Config,
    directory: Option<&Arc<dyn PlanDirectory>>,
    identity: &QuotaIdentity,
    requester: &Requester,
    lookup: Lookup,
) -> Result<Resolved, Refusal> {
    let assigned = match directory {
        Some(directory) => directory.assigned(requester, lookup).await,
        None => Assigned::default(),
    };
    let (user, source) = user_plan(config, identity, requester, &assigned)?;
    Ok(Resolved {
        user,
        source,
        tenant: requester
            .tenant
            .is_some()
            .then(|| tenant_plan(config, &assigned)),
        user_generation: assigned.user_generation,
        tenant_generation: assigned.tenant_generation,
    })
}

fn user_plan(
    config: &Config,
    identity: &QuotaIdentity,
    requester: &Requester,
    assigned: &Assigned,
) -> Result<(PlanIndex, PlanSource), Refusal> {
    // Nothing but the configuration says which plan clients without a token have.
    if let Anonymous::Plan(plan) = &config.identity.anonymous
        && requester.user.is_anonymous()
        && let Some(index) = find(config, plan.as_str())
    {
        return Ok((index, PlanSource::Anonymous));
    }
    for from in &config.identity.plan_from {
        let (name, source) = match from {
            PlanFrom::Assignment => {
                let name = assigned.user.as_ref().or(assigned.tenant.as_ref());
                (name, PlanSource::Assignment)
            }
            PlanFrom::Claim => {
                let Some(claim) = identity.plan() else {
                    continue;
                };
                return claimed_plan(config, claim);
            }
            PlanFrom::Default => (Some(&config.default_plan.name), PlanSource::Default),
        };
        if let Some(index) = name.and_then(|name| find(config, name.as_str())) {
            return Ok((index, source));
        }
    }
    Err(Refusal::UnknownPlan)
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
fn tenant_plan(config: &Config, assigned: &Assigned) -> PlanIndex {
    assigned
        .tenant
        .as_ref()
        .and_then(|name| find(config, name.as_str()))
        .unwrap_or_else(|| default_plan(config))
}

fn default_plan(config: &Config) -> PlanIndex {
    find(config, config.default_plan.name.as_str())
        .expect("the configuration checked that the default plan is one of its plans")
}

fn find(config: &Config, name: &str) -> Option<PlanIndex> {
    config
        .plans
        .iter()
        .position(|plan| plan.name.as_str() == name)
        .map(PlanIndex)
}

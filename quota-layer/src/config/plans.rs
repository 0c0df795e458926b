//! `[plans]`: what each says, and what it takes from the plan that it extends.

use std::{collections::BTreeMap, sync::Arc};

use jiff::tz::TimeZone;
use quota_store::{
    Amount, Bound, Limit, Percent, Plan, PlanName, QuotaLimits, QuotaName, Scope, Unlisted, Window,
};
use smallvec::SmallVec;

use super::{
    findings::{Findings, Problem},
    limits::{WrittenBound, WrittenLimit, WrittenLimits},
    node::Place,
    plan_text::WrittenPlan,
    windows::Windows,
};

/// The plans, resolved.
pub(super) struct Plans {
    pub(super) all: Vec<Arc<Plan>>,
    /// `None` where it is not exactly one; then that is noted.
    pub(super) default: Option<Arc<Plan>>,
    pub(super) windows: BTreeMap<QuotaName, Vec<Window>>,
}

/// What the rest of the file decides about plans.
pub(super) struct Surroundings<'a> {
    pub(super) quotas: &'a [QuotaName],
    /// Where a plan would be, if there is none.
    pub(super) place: &'a Place,
}

/// Resolves what was read.
pub(super) fn resolve(
    written: &[WrittenPlan],
    surroundings: &Surroundings<'_>,
    findings: &mut Findings,
) -> Plans {
    let chains: Vec<Vec<&WrittenPlan>> = written
        .iter()
        .map(|plan| chain(plan, written, findings))
        .collect();
    let windows = Windows::of(surroundings.quotas, written);
    let all: Vec<Arc<Plan>> = written
        .iter()
        .zip(&chains)
        .map(|(plan, chain)| Arc::new(Inherited::of(chain).finish(plan, &windows)))
        .collect();
    let default = default_plan(written, surroundings.place, findings)
        .and_then(|name| all.iter().find(|plan| plan.name == *name).cloned());
    Plans {
        all,
        default,
        windows: windows.into_inner(),
    }
}

fn default_plan<'a>(
    written: &'a [WrittenPlan],
    place: &Place,
    findings: &mut Findings,
) -> Option<&'a PlanName> {
    let mut defaults = written
        .iter()
        .filter_map(|plan| Some((plan, plan.default.as_ref()?)));
    let Some((first, first_place)) = defaults.next() else {
        let hint = if written.is_empty() {
            "add [plans.free] with default = true: it is for users without another plan"
        } else {
            "write default = true in the plan for users without another"
        };
        findings.error(place, "no plan is the default", hint);
        return None;
    };
    for (plan, place) in defaults {
        findings.error_with_other(
            place,
            (first_place, "the other default"),
            Problem::new(
                format!("`{}` and `{}` are both the default", first.name, plan.name),
                "keep default = true in exactly one plan",
            ),
        );
    }
    if let Some(place) = &first.standing.disabled {
        findings.error_with_other(
            place,
            (first_place, "the default"),
            Problem::new(
                format!("`{}` is the default plan, and disabled", first.name),
                "make another plan the default, or leave out enabled = false",
            ),
        );
    }
    Some(&first.name)
}

/// The plan and those it extends, nearest first; a cycle is noted and cut.
fn chain<'a>(
    plan: &'a WrittenPlan,
    written: &'a [WrittenPlan],
    findings: &mut Findings,
) -> Vec<&'a WrittenPlan> {
    let mut chain = vec![plan];
    let mut current = plan;
    while let Some((parent, place)) = &current.extends {
        if let Some(start) = chain.iter().position(|seen| seen.name == *parent) {
            // One message for each cycle, at its first plan.
            if start == 0 && is_first(plan, &chain, written) {
                let names: Vec<&str> = chain
                    .iter()
                    .map(|seen| seen.name.as_str())
                    .chain([parent.as_str()])
                    .collect();
                let place = plan.extends.as_ref().map_or(place, |(_, place)| place);
                findings.error(
                    place,
                    format!("plans extend each other: {}", names.join(" -> ")),
                    "leave out one `extends`",
                );
            }
            break;
        }
        let Some(next) = written.iter().find(|other| other.name == *parent) else {
            break;
        };
        chain.push(next);
        current = next;
    }
    chain
}

/// Whether no other plan of the chain stands above this one in the file.
fn is_first(plan: &WrittenPlan, chain: &[&WrittenPlan], written: &[WrittenPlan]) -> bool {
    written
        .iter()
        .find(|candidate| chain.iter().any(|of_chain| of_chain.name == candidate.name))
        .is_some_and(|first| first.name == plan.name)
}

/// What a plan has after inheritance, defaults still open.
#[derive(Default)]
struct Inherited {
    limits: Vec<WrittenLimits>,
    tenant_limits: Vec<WrittenLimits>,
    reserve: BTreeMap<QuotaName, Amount>,
    grace: Option<Percent>,
    warn_at: Option<Vec<Percent>>,
    timezone: Option<TimeZone>,
    features: Option<Vec<String>>,
}

impl Inherited {
    fn of(chain: &[&WrittenPlan]) -> Self {
        let mut inherited = Self::default();
        for plan in chain.iter().rev() {
            merge(&mut inherited.limits, &plan.limits);
            merge(&mut inherited.tenant_limits, &plan.tenant_limits);
            inherited.reserve.extend(
                plan.reserve
                    .iter()
                    .map(|(quota, amount)| (quota.clone(), *amount)),
            );
            inherited.grace = plan.grace.or(inherited.grace);
            inherited.warn_at = plan.warn_at.clone().or(inherited.warn_at);
            inherited.timezone = plan.timezone.clone().or(inherited.timezone);
            let features = plan.standing.features.clone();
            inherited.features = features.or(inherited.features);
        }
        inherited
    }

    fn finish(self, plan: &WrittenPlan, windows: &Windows) -> Plan {
        let terms = Terms {
            grace: self.grace.unwrap_or_default(),
            warn_at: self.warn_at.unwrap_or_default(),
        };
        // The plan's grace is for its users; a tenant's limit has what it says itself.
        let tenant_terms = Terms {
            grace: Percent::default(),
            warn_at: terms.warn_at.clone(),
        };
        let user = self
            .limits
            .iter()
            .map(|limits| terms.apply(limits, Scope::User, windows));
        let tenant = self
            .tenant_limits
            .iter()
            .map(|limits| tenant_terms.apply(limits, Scope::Tenant, windows));
        Plan {
            name: plan.name.clone(),
            limits: user.chain(tenant).collect(),
            reserve: self.reserve,
            unlisted: plan.unlisted.unwrap_or(Unlisted::Deny),
            timezone: self.timezone.unwrap_or(TimeZone::UTC),
            periods: plan.standing.periods,
            orphans: plan.standing.orphans,
            features: self.features.unwrap_or_default(),
            availability: plan.standing.availability(),
            display: plan.display.clone(),
        }
    }
}

/// A quota named again replaces its whole list, where the list stood.
fn merge(inherited: &mut Vec<WrittenLimits>, own: &[WrittenLimits]) {
    for (quota, limits) in own {
        match inherited.iter_mut().find(|(known, _)| known == quota) {
            Some((_, inherited)) => inherited.clone_from(limits),
            None => inherited.push((quota.clone(), limits.clone())),
        }
    }
}

/// What holds for limits that do not say it themselves.
struct Terms {
    grace: Percent,
    warn_at: Vec<Percent>,
}

impl Terms {
    fn apply(&self, written: &WrittenLimits, scope: Scope, windows: &Windows) -> QuotaLimits {
        let (quota, written) = written;
        let limits = written
            .iter()
            .flat_map(|limit| self.expand(limit, windows.of_quota(quota)))
            .collect();
        QuotaLimits {
            quota: quota.clone(),
            scope,
            limits,
        }
    }

    fn expand(&self, written: &WrittenLimit, windows: &[Window]) -> Vec<Limit> {
        let grace = written.grace.unwrap_or(self.grace);
        let warn_at = written.warn_at.as_ref().unwrap_or(&self.warn_at);
        let limit = |window, bound| Limit {
            window,
            bound,
            grace,
            warn_at: warn_at.iter().copied().collect(),
        };
        match written.bound {
            WrittenBound::AtMost(amount, window) => vec![limit(window, Bound::AtMost(amount))],
            WrittenBound::Unlimited => windows
                .iter()
                .map(|window| Limit {
                    window: *window,
                    bound: Bound::Unlimited,
                    grace: Percent::default(),
                    warn_at: SmallVec::new(),
                })
                .collect(),
            // Nothing is admitted, so that one counter is enough to say so: the longest.
            WrittenBound::NotIncluded => windows
                .last()
                .map(|window| limit(*window, Bound::AtMost(Amount::ZERO)))
                .into_iter()
                .collect(),
        }
    }
}

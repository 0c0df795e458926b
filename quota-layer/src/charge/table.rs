//! Working out the counters of a rule, or of some quotas, under two plans.

use std::sync::Arc;

use quota_store::{
    Amount, Anchor, Bound, Limit, Percent, Plan, QuotaName, Scope, Unlisted, Window,
};

use super::{ChargeTable, CounterRule, Labels};
use crate::{
    config::{Actual, ChargeItem, Config, QuotaConfig, RuleAction},
    headers::{self, RateLimitItems},
    metrics::QuotaMetrics,
    plans::{Holding, Resolved},
};

/// Makes charge tables.
pub(crate) struct TableMaker<'a> {
    config: &'a Config,
    route: &'a str,
    items: &'a [ChargeItem],
    user: &'a Arc<Plan>,
    tenant: Option<&'a Arc<Plan>>,
    own: Option<&'a Holding>,
}

impl<'a> TableMaker<'a> {
    /// The counters that a rule charges.
    pub(super) fn of(config: &'a Config, rule: usize, plans: &'a Resolved) -> Self {
        let rule = &config.rules[rule];
        Self {
            config,
            route: &rule.patterns[0].path,
            items: match &rule.action {
                RuleAction::Charge(items) => items,
                RuleAction::Exempt => &[],
            },
            user: &config.plans[plans.user.0],
            tenant: plans.tenant.map(|plan| &config.plans[plan.0]),
            own: plans.own.as_deref(),
        }
    }

    /// All counters of these quotas.
    pub(crate) fn of_quotas(
        config: &'a Config,
        items: &'a [ChargeItem],
        plans: &'a Resolved,
    ) -> Self {
        Self {
            config,
            route: "",
            items,
            user: &config.plans[plans.user.0],
            tenant: plans.tenant.map(|plan| &config.plans[plan.0]),
            own: plans.own.as_deref(),
        }
    }

    /// The counters alone.
    pub(crate) fn counters(&self) -> Vec<CounterRule> {
        let mut counters = Vec::new();
        for (index, item) in self.items.iter().enumerate() {
            self.counters_of(index, item, &mut counters);
        }
        counters
    }

    pub(crate) fn table(&self) -> ChargeTable {
        let metrics = self
            .items
            .iter()
            .map(|item| QuotaMetrics::new(self.route, &item.quota, self.user.name.as_str()))
            .collect();
        ChargeTable {
            plan: Arc::clone(self.user),
            counters: self.counters(),
            metrics,
        }
    }

    fn counters_of(&self, index: usize, item: &ChargeItem, counters: &mut Vec<CounterRule>) {
        let before = counters.len();
        let user_limits = self.limits(self.user, Scope::User, &item.quota);
        // What the tenant has does not include a quota in the user's own plan.
        let is_listed =
            user_limits.is_some() || self.user.limits_on(&item.quota, Scope::Tenant).is_some();
        for limit in user_limits.unwrap_or_default() {
            counters.push(self.counter(index, item, Scope::User, limit));
        }
        if let Some(tenant) = self.tenant {
            let limits = self.limits(tenant, Scope::Tenant, &item.quota);
            for limit in limits.unwrap_or_default() {
                counters.push(self.counter(index, item, Scope::Tenant, limit));
            }
        }
        if counters.len() == before || !is_listed {
            for limit in self.fallback_limits(&item.quota, is_listed) {
                counters.push(self.counter(index, item, Scope::User, limit));
            }
        }
    }

    /// The limits of one scope: those of the plan, with the subject's own in their place.
    fn limits(&self, plan: &Plan, scope: Scope, quota: &QuotaName) -> Option<Vec<Limit>> {
        let planned = plan.limits_on(quota, scope).map(<[Limit]>::to_vec);
        let overrides = self.own.map_or(&[][..], |own| &own.terms(scope).overrides);
        let mut overrides = overrides
            .iter()
            .filter(|own| own.quota == *quota)
            .peekable();
        if overrides.peek().is_none() {
            return planned;
        }
        let is_unlimited = scope == Scope::User && plan.unlisted == Unlisted::Unlimited;
        let planned = planned.or_else(|| is_unlimited.then(|| self.fallback_limits(quota, true)));
        let mut limits = planned.unwrap_or_default();
        let like = limits.first().cloned();
        // What the plan does not include leaves nothing to keep beside the subject's own.
        limits.retain(|limit| limit.bound != Bound::AtMost(Amount::ZERO));
        for own in overrides {
            match limits.iter_mut().find(|limit| limit.window == own.window) {
                Some(limit) => limit.bound = own.limit,
                None => limits.push(Limit {
                    window: own.window,
                    bound: own.limit,
                    grace: like.as_ref().map(|limit| limit.grace).unwrap_or_default(),
                    warn_at: like
                        .as_ref()
                        .map(|limit| limit.warn_at.clone())
                        .unwrap_or_default(),
                }),
            }
        }
        Some(limits)
    }

    /// The limits on a quota that the user's plan does not limit.
    fn fallback_limits(&self, quota: &QuotaName, is_listed: bool) -> Vec<Limit> {
        let bound = match self.user.unlisted {
            Unlisted::Deny if !is_listed => Bound::AtMost(Amount::ZERO),
            _ => Bound::Unlimited,
        };
        let windows = self
            .config
            .windows
            .get(quota)
            .map_or([Window::Month].as_slice(), Vec::as_slice);
        // What the plan does not include is counted once, in its longest window.
        let from = match bound {
            Bound::AtMost(_) => windows.len().saturating_sub(1),
            Bound::Unlimited => 0,
        };
        windows[from..]
            .iter()
            .map(|window| Limit {
                window: *window,
                bound,
                grace: Percent::default(),
                warn_at: smallvec::SmallVec::new(),
            })
            .collect()
    }

    fn counter(&self, index: usize, item: &ChargeItem, scope: Scope, limit: Limit) -> CounterRule {
        let plan = match scope {
            Scope::User => self.user,
            Scope::Tenant => self.tenant.unwrap_or(self.user),
        };
        let reserve = self.user.reserve.get(&item.quota).copied();
        let reserve = reserve.unwrap_or(item.reserve);
        let amount = item.max.map_or(reserve, |max| reserve.min(max));
        CounterRule {
            item: index,
            quota: item.quota.clone(),
            scope,
            hard: limit.hard(),
            amount,
            actual: item.actual,
            labels: self.labels(&item.quota, scope, plan, &limit),
            timezone: match self.own {
                Some(own) => own.timezone(scope, plan),
                None => plan.timezone.clone(),
            },
            anchor: self
                .own
                .map_or(Anchor::Calendar, |own| own.anchor(scope, plan)),
            plan: Arc::clone(plan),
            limit,
        }
    }

    fn labels(&self, quota: &QuotaName, scope: Scope, plan: &Plan, limit: &Limit) -> Labels {
        let window = limit.window.to_string();
        let mut policy = format!("{quota}-{window}");
        if scope == Scope::Tenant {
            policy.push_str("-tenant");
        }
        let known = self.config.quotas.iter().find(|known| known.name == *quota);
        let responses = &self.config.responses;
        let text = |text: fn(&QuotaConfig) -> &str| {
            known.map_or_else(|| quota.as_str().to_owned(), |known| text(known).to_owned())
        };
        Labels {
            title: text(|known| known.title.get("en")),
            unit: text(|known| &known.unit_one),
            unit_plural: text(|known| &known.unit_other),
            headers: headers::x_quota(responses, (quota, scope, plan), limit),
            ratelimit: headers::shows_ratelimit(responses, scope)
                .then(|| {
                    let unit = self.ratelimit_unit(quota, known);
                    RateLimitItems::new(&policy, limit.hard(), unit.as_deref())
                })
                .flatten(),
            policy,
            window,
        }
    }

    /// The `qu` of `RateLimit-Policy`.
    ///
    /// A quota of which every charge is exactly one counts requests, and needs no unit.
    fn ratelimit_unit(&self, quota: &QuotaName, known: Option<&QuotaConfig>) -> Option<String> {
        let counts_requests = self
            .config
            .rules
            .iter()
            .filter_map(|rule| match &rule.action {
                RuleAction::Charge(items) => Some(items),
                RuleAction::Exempt => None,
            })
            .flatten()
            .filter(|item| item.quota == *quota)
            .all(|item| item.reserve == Amount::ONE && item.actual == Actual::Reserved);
        if counts_requests {
            return None;
        }
        let unit = known.map_or(quota.as_str(), |known| &known.unit_one);
        Some(
            if unit == "byte" {
                "content-bytes"
            } else {
                unit
            }
            .to_owned(),
        )
    }
}

/// One unit of each quota.
pub(crate) fn all_quotas(config: &Config) -> Vec<ChargeItem> {
    let quotas = config.quotas.iter();
    quotas
        .map(|quota| ChargeItem {
            quota: quota.name.clone(),
            reserve: Amount::ONE,
            max: None,
            actual: Actual::Reserved,
        })
        .collect()
}

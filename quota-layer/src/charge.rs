//! What a request costs: the counters it touches and the units to hold on each.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use http::HeaderMap;
use quota_store::{
    Amount, Bound, Limit, Percent, Plan, QuotaName, Scope, UnixMillis, Unlisted, Window,
    ledger::Charged,
};

pub(crate) use self::windows::{OpenWindow, Windows};

use crate::{
    config::{Actual, ChargeItem, Config, QuotaConfig, RuleAction},
    headers::{self, RateLimitItems},
    metrics::{Outcome, QuotaMetrics},
    plans::Resolved,
    record,
};

mod windows;

/// A plan, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlanIndex(pub(crate) usize);

/// One counter that a rule charges under a plan.
#[derive(Debug)]
pub(crate) struct CounterRule {
    /// The place of its quota in the rule's charge.
    pub(crate) item: usize,
    pub(crate) quota: QuotaName,
    pub(crate) scope: Scope,
    pub(crate) plan: Arc<Plan>,
    pub(crate) limit: Limit,
    pub(crate) hard: Bound,
    pub(crate) amount: Amount,
    pub(crate) actual: Actual,
    pub(crate) labels: Labels,
}

/// What a counter is called in headers and bodies, made once.
#[derive(Debug)]
pub(crate) struct Labels {
    /// `messages-day`, or `messages-day-tenant`.
    pub(crate) policy: String,
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) unit_plural: String,
    pub(crate) window: String,
    /// `None` where there is no limit to tell, or members may not see it.
    pub(crate) ratelimit: Option<RateLimitItems>,
    /// What `X-Quota-*` say of it at all times.
    pub(crate) headers: HeaderMap,
}

/// All counters of one rule under a user's plan and a tenant's.
#[derive(Debug)]
pub(crate) struct ChargeTable {
    pub(crate) counters: Vec<CounterRule>,
    /// By the place of the quota in the rule's charge.
    metrics: Vec<QuotaMetrics>,
}

impl ChargeTable {
    /// Counts an attempt, with what each counter was charged, or else with what was asked for.
    pub(crate) fn count(&self, outcome: Outcome, amounts: Option<&[Amount]>) {
        for (item, metrics) in self.metrics.iter().enumerate() {
            let place = self
                .counters
                .iter()
                .position(|counter| counter.item == item);
            let units = place.map_or(Amount::ZERO, |place| {
                amounts.map_or(self.counters[place].amount, |amounts| amounts[place])
            });
            metrics.count(outcome, units);
        }
    }
}

impl ChargeTable {
    /// What the ledger says of each quota: what was reserved, and what its counters are charged.
    pub(crate) fn charged(&self, amounts: Option<&[Amount]>) -> Vec<Charged> {
        let mut charges = Vec::with_capacity(self.metrics.len());
        for item in 0..self.metrics.len() {
            let of_item = |counter: &CounterRule| counter.item == item;
            if let Some(place) = self.counters.iter().position(of_item) {
                let counter = &self.counters[place];
                let amount = amounts.map(|amounts| amounts[place]);
                charges.push(record::charged(&counter.quota, counter.amount, amount));
            }
        }
        charges
    }
}

/// The charge tables of every rule, plan and tenant's plan, each made when it is first asked for,
/// in the windows of the last request.
#[derive(Debug)]
pub(crate) struct Charges {
    plans: usize,
    tables: Vec<OnceLock<ArcSwap<Windows>>>,
}

impl Charges {
    pub(crate) fn new(config: &Config) -> Self {
        let plans = config.plans.len();
        let count = config.rules.len() * plans * (plans + 1);
        Self {
            plans,
            tables: std::iter::repeat_with(OnceLock::new).take(count).collect(),
        }
    }

    /// What a charging rule charges at `now`.
    pub(crate) fn windows(
        &self,
        config: &Config,
        rule: usize,
        plans: &Resolved,
        now: UnixMillis,
    ) -> Arc<Windows> {
        let column = plans.tenant.map_or(0, |plan| plan.0 + 1);
        let index = (rule * self.plans + plans.user.0) * (self.plans + 1) + column;
        let last = self.tables[index].get_or_init(|| {
            let table = TableMaker::of(config, rule, plans).table();
            ArcSwap::from_pointee(Windows::at(now, Arc::new(table), None))
        });
        let windows = last.load();
        if windows.contain(now) {
            return Arc::clone(&windows);
        }
        let windows = Arc::new(Windows::at(now, Arc::clone(&windows.table), Some(&windows)));
        last.store(Arc::clone(&windows));
        windows
    }
}

struct TableMaker<'a> {
    config: &'a Config,
    route: &'a str,
    items: &'a [ChargeItem],
    user: &'a Arc<Plan>,
    tenant: Option<&'a Arc<Plan>>,
}

impl<'a> TableMaker<'a> {
    fn of(config: &'a Config, rule: usize, plans: &Resolved) -> Self {
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
        }
    }

    fn table(&self) -> ChargeTable {
        let mut counters = Vec::new();
        for (index, item) in self.items.iter().enumerate() {
            self.counters_of(index, item, &mut counters);
        }
        let metrics = self
            .items
            .iter()
            .map(|item| QuotaMetrics::new(self.route, &item.quota, self.user.name.as_str()))
            .collect();
        ChargeTable { counters, metrics }
    }

    fn counters_of(&self, index: usize, item: &ChargeItem, counters: &mut Vec<CounterRule>) {
        let before = counters.len();
        let user_limits = self.user.limits_on(&item.quota, Scope::User);
        for limit in user_limits.unwrap_or_default() {
            counters.push(self.counter(index, item, Scope::User, limit.clone()));
        }
        if let Some(tenant) = self.tenant {
            for limit in tenant
                .limits_on(&item.quota, Scope::Tenant)
                .unwrap_or_default()
            {
                counters.push(self.counter(index, item, Scope::Tenant, limit.clone()));
            }
        }
        // What the tenant has does not include a quota in the user's own plan.
        let is_listed = [Scope::User, Scope::Tenant]
            .into_iter()
            .any(|scope| self.user.limits_on(&item.quota, scope).is_some());
        if counters.len() == before || !is_listed {
            for limit in self.fallback_limits(&item.quota, is_listed) {
                counters.push(self.counter(index, item, Scope::User, limit));
            }
        }
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

//! What a request costs: the counters it touches and the units to hold on each.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use http::HeaderValue;
use quota_store::{
    Amount, Anchor, Bound, CounterKey, Hold, Holds, Limit, Percent, Plan, QuotaName, Scope,
    UnixMillis, Unlisted, Window,
};

use crate::{
    config::{Actual, ChargeItem, Config, QuotaConfig, RuleAction},
    headers::RateLimitItems,
    metrics::{Outcome, QuotaMetrics},
};

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
    /// `None` where there is no limit to tell.
    pub(crate) ratelimit: Option<RateLimitItems>,
    pub(crate) quota_header: HeaderValue,
    pub(crate) plan_header: HeaderValue,
    pub(crate) window_header: HeaderValue,
    pub(crate) limit_header: HeaderValue,
}

impl CounterRule {
    /// What to hold in the window that contains `now`.
    fn hold(&self, now: UnixMillis) -> Hold {
        let window = self.limit.window;
        Hold {
            counter: CounterKey {
                scope: self.scope,
                quota: self.quota.clone(),
                window,
                span: window.span_at(now, &self.plan.timezone, Anchor::Calendar),
            }
            .into(),
            hard: self.hard,
            amount: self.amount,
        }
    }
}

/// All counters of one rule under a user's plan and a tenant's.
#[derive(Debug)]
pub(crate) struct ChargeTable {
    pub(crate) counters: Vec<CounterRule>,
    /// By the place of the quota in the rule's charge.
    metrics: Vec<QuotaMetrics>,
    /// What was held last: the same until one of the windows ends.
    last: ArcSwap<Holds>,
}

impl ChargeTable {
    fn new(counters: Vec<CounterRule>, metrics: Vec<QuotaMetrics>) -> Self {
        Self {
            counters,
            metrics,
            last: ArcSwap::default(),
        }
    }

    /// What to hold for a request at `now`.
    ///
    /// Requests share it and the keys in it, so that a store finds counters by their address.
    pub(crate) fn holds(&self, now: UnixMillis) -> Holds {
        let last = self.last.load();
        let is_current = |hold: &Hold| hold.counter.span.contains(now);
        if last.len() == self.counters.len() && last.iter().all(is_current) {
            return Arc::clone(&last);
        }
        let hold = |(place, counter): (usize, &CounterRule)| {
            let last = last.get(place).filter(|hold| is_current(hold));
            last.cloned().unwrap_or_else(|| counter.hold(now))
        };
        let holds: Holds = self.counters.iter().enumerate().map(hold).collect();
        self.last.store(Arc::new(Arc::clone(&holds)));
        holds
    }

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

/// The charge tables of every rule, plan and tenant's plan, each made when it is first asked for.
#[derive(Debug)]
pub(crate) struct Charges {
    plans: usize,
    tables: Vec<OnceLock<Arc<ChargeTable>>>,
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

    /// The table of a charging rule. `tenant` is the tenant's plan, where there is a tenant.
    pub(crate) fn table(
        &self,
        config: &Config,
        rule: usize,
        user: PlanIndex,
        tenant: Option<PlanIndex>,
    ) -> &Arc<ChargeTable> {
        let column = tenant.map_or(0, |plan| plan.0 + 1);
        let index = (rule * self.plans + user.0) * (self.plans + 1) + column;
        self.tables[index].get_or_init(|| {
            let RuleAction::Charge(items) = &config.rules[rule].action else {
                return Arc::new(ChargeTable::new(Vec::new(), Vec::new()));
            };
            let maker = TableMaker {
                config,
                route: &config.rules[rule].patterns[0].path,
                user: &config.plans[user.0],
                tenant: tenant.map(|plan| &config.plans[plan.0]),
            };
            Arc::new(maker.table(items))
        })
    }
}

struct TableMaker<'a> {
    config: &'a Config,
    route: &'a str,
    user: &'a Arc<Plan>,
    tenant: Option<&'a Arc<Plan>>,
}

impl TableMaker<'_> {
    fn table(&self, items: &[ChargeItem]) -> ChargeTable {
        let mut counters = Vec::new();
        for (index, item) in items.iter().enumerate() {
            self.counters_of(index, item, &mut counters);
        }
        let metrics = items
            .iter()
            .map(|item| QuotaMetrics::new(self.route, &item.quota, self.user.name.as_str()))
            .collect();
        ChargeTable::new(counters, metrics)
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
        let text = |text: fn(&QuotaConfig) -> &str| {
            known.map_or_else(|| quota.as_str().to_owned(), |known| text(known).to_owned())
        };
        Labels {
            title: text(|known| known.title.get("en")),
            unit: text(|known| &known.unit_one),
            unit_plural: text(|known| &known.unit_other),
            quota_header: header(quota.as_str()),
            plan_header: header(plan.name.as_str()),
            window_header: header(&window),
            limit_header: match limit.bound {
                Bound::AtMost(limit) => HeaderValue::from(limit.get()),
                Bound::Unlimited => HeaderValue::from_static("unlimited"),
            },
            ratelimit: RateLimitItems::new(
                &policy,
                limit.hard(),
                self.ratelimit_unit(quota, known).as_deref(),
            ),
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

/// Names and windows are plain ASCII, so this always is a header value.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

//! What a request costs: the counters it touches and the units to hold on each.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use http::HeaderMap;
use jiff::tz::TimeZone;
use quota_store::{
    Amount, Anchor, Bound, Limit, Plan, QuotaName, Scope, UnixMillis, ledger::Charged,
};

pub(crate) use self::{
    table::{TableMaker, all_quotas},
    windows::{OpenWindow, Windows},
};

use crate::{
    config::{Actual, Config},
    headers::RateLimitItems,
    metrics::{Outcome, QuotaMetrics},
    plans::{Holding, Resolved},
    record,
};

mod table;
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
    /// Whose calendar its windows follow.
    pub(crate) timezone: TimeZone,
    /// Where its windows begin.
    pub(crate) anchor: Anchor,
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
    /// The user's.
    pub(crate) plan: Arc<Plan>,
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
    /// Tells them from those of other configurations.
    id: u64,
    plans: usize,
    tables: Vec<OnceLock<ArcSwap<Windows>>>,
}

/// Gives the tables of each configuration an id.
static IDS: AtomicU64 = AtomicU64::new(0);

impl Charges {
    pub(crate) fn new(config: &Config) -> Self {
        let plans = config.plans.len();
        let count = config.rules.len() * plans * (plans + 1);
        Self {
            // Only unique: nothing else is ordered by it.
            id: IDS.fetch_add(1, Ordering::Relaxed),
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
        if let Some(own) = &plans.own {
            return self.own_windows(config, rule, (plans, own), now);
        }
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

    /// The same from tables that only these subjects have.
    fn own_windows(
        &self,
        config: &Config,
        rule: usize,
        (plans, own): (&Resolved, &Holding),
        now: UnixMillis,
    ) -> Arc<Windows> {
        own.with_tables(|tables| {
            tables.retain(|table| table.charges >= self.id);
            let is_it = |table: &&mut OwnTable| {
                table.charges == self.id
                    && table.rule == rule
                    && (table.user, table.tenant) == (plans.user, plans.tenant)
            };
            if let Some(table) = tables.iter_mut().find(is_it) {
                if !table.windows.contain(now) {
                    let last = &table.windows;
                    table.windows = Windows::at(now, Arc::clone(&last.table), Some(last)).into();
                }
                return Arc::clone(&table.windows);
            }
            let table = TableMaker::of(config, rule, plans).table();
            let windows = Arc::new(Windows::at(now, Arc::new(table), None));
            tables.push(OwnTable {
                charges: self.id,
                rule,
                user: plans.user,
                tenant: plans.tenant,
                windows: Arc::clone(&windows),
            });
            windows
        })
    }
}

/// A charge table of one requester alone, in the windows of its last request.
#[derive(Debug)]
pub(crate) struct OwnTable {
    /// Of which configuration.
    charges: u64,
    rule: usize,
    user: PlanIndex,
    tenant: Option<PlanIndex>,
    windows: Arc<Windows>,
}

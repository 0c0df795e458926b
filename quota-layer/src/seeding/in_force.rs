//! Since when the windows of one configuration are in force.

use std::{collections::HashMap, sync::OnceLock};

use quota_store::{Periods, Plan, Scope, UnixMillis, directory::WindowInForce};

use crate::{
    charge::{CounterRule, PlanIndex, TableMaker, Windows, all_quotas},
    config::Config,
    plans::Resolved,
};

/// Since when the windows of one runtime are in force.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    /// When the runtime came into force; nothing for one that was made for a single request.
    began: OnceLock<UnixMillis>,
    /// The windows that were not always in force; nothing until the database was asked.
    known: OnceLock<HashMap<WindowInForce, UnixMillis>>,
}

/// A counter whose open window began before the counter did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Young {
    /// Its place in the charge table.
    pub(crate) place: usize,
    /// Since when its plan has the window.
    pub(crate) since: UnixMillis,
    /// Since when the default plan has it, whichever that was.
    pub(crate) default_since: UnixMillis,
}

impl InForce {
    /// Notes when the runtime came into force.
    pub(crate) fn begin(&self, now: UnixMillis) {
        self.began.get_or_init(|| now);
    }

    pub(super) fn began(&self) -> Option<UnixMillis> {
        self.began.get().copied()
    }

    pub(super) fn is_known(&self) -> bool {
        self.known.get().is_some()
    }

    /// Takes what the database answered.
    pub(super) fn know(&self, windows: impl Iterator<Item = (WindowInForce, UnixMillis)>) {
        self.known
            .get_or_init(|| windows.filter(|(_, since)| since.get() > 0).collect());
    }

    /// The young counters of a table; `None` as long as nobody knows.
    pub(super) fn young_of<'a>(&self, windows: &'a Windows) -> Option<&'a [Young]> {
        let known = self.known.get()?;
        if known.is_empty() {
            return Some(&[]);
        }
        Some(windows.young.get_or_init(|| young(known, windows)))
    }
}

fn young(known: &HashMap<WindowInForce, UnixMillis>, windows: &Windows) -> Box<[Young]> {
    let since = |window: &WindowInForce| known.get(window).copied().unwrap_or_default();
    let counters = windows.table.counters.iter().zip(&windows.open);
    let young = counters.enumerate().filter_map(|(place, (rule, open))| {
        let mut window = window_of(rule);
        let of_plan = since(&window);
        window.plan = None;
        let young = Young {
            place,
            since: of_plan,
            default_since: since(&window),
        };
        let start = open.span.start();
        (start < young.since || start < young.default_since).then_some(young)
    });
    young.collect()
}

/// In which windows the plans of a configuration limit quotas.
pub(super) fn windows_of(config: &Config) -> Vec<WindowInForce> {
    let items = all_quotas(config);
    let mut windows = Vec::new();
    for (place, plan) in config.plans.iter().enumerate() {
        let place = PlanIndex(place);
        for (scope, tenant) in [(Scope::User, None), (Scope::Tenant, Some(place))] {
            let resolved = Resolved::plain(place, tenant);
            let counters = TableMaker::of_quotas(config, &items, &resolved).counters();
            let of_scope = counters.iter().filter(|rule| rule.scope == scope);
            windows.extend(of_scope.map(window_of));
        }
        if plan.name == config.default_plan.name {
            let own = windows
                .iter()
                .filter(|own| own.plan.as_ref() == Some(&plan.name));
            let as_default = own.cloned().map(|own| WindowInForce { plan: None, ..own });
            windows.extend(as_default.collect::<Vec<_>>());
        }
    }
    windows
}

/// The window that a plan limits with a counter, whatever calendar its subject has.
fn window_of(rule: &CounterRule) -> WindowInForce {
    WindowInForce {
        plan: Some(rule.plan.name.clone()),
        scope: rule.scope,
        quota: rule.quota.clone(),
        window: rule.limit.window,
        calendar: calendar(&rule.plan),
    }
}

fn calendar(plan: &Plan) -> String {
    let zone = plan.timezone.iana_name().unwrap_or("UTC");
    match plan.periods {
        Periods::Calendar => zone.to_owned(),
        Periods::Subscription => format!("subscription {zone}"),
    }
}

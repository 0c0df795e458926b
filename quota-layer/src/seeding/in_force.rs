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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const TEXT: &str = "[quotas.messages]\n[quotas.images]\n\
        [plans.free]\ndefault = true\nlimits.messages = [\"5/day\", \"50/month\"]\n\
        [plans.pro]\ntimezone = \"Africa/Douala\"\nlimits.messages = \"9/day\"\n\
        tenant_limits.images = \"7/day\"\n\
        [[routes]]\nmatch = \"GET /\"\ncharge = { messages = 1 }\n\
        [identity]\nfrom = \"application\"\n[ledger]\nurl = \"none\"\n";

    fn config() -> Config {
        Config::from_toml(TEXT).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The windows of messages on `free`, at an instant.
    fn open(config: &Config, now: UnixMillis) -> Windows {
        let items = all_quotas(config);
        let resolved = Resolved::plain(PlanIndex(0), None);
        let table = TableMaker::of_quotas(config, &items[..1], &resolved).table();
        Windows::at(now, Arc::new(table), None)
    }

    #[test]
    fn each_plan_has_its_windows_and_the_default_plan_has_them_twice() {
        let windows = windows_of(&config());
        let of = |plan: Option<&str>| {
            let own = windows
                .iter()
                .filter(|own| own.plan.as_ref().map(quota_store::PlanName::as_str) == plan);
            let told = own.map(|own| {
                let scope = own.scope.as_str();
                format!("{scope} {} {} {}", own.quota, own.window, own.calendar)
            });
            told.filter(|told| told.contains("messages") || told.starts_with("tenant"))
                .collect::<Vec<_>>()
        };
        let free = ["user messages day UTC", "user messages month UTC"];
        assert_eq!(of(Some("free")), free);
        assert_eq!(of(None), free);
        let pro = [
            "user messages day Africa/Douala",
            "tenant images day Africa/Douala",
        ];
        assert_eq!(of(Some("pro")), pro);
    }

    #[test]
    fn what_was_always_in_force_is_not_looked_at() {
        let config = config();
        let in_force = InForce::default();
        let windows = open(&config, UnixMillis::from_seconds(1_775_908_800));
        assert_eq!(in_force.young_of(&windows), None);
        let always = windows_of(&config)
            .into_iter()
            .zip(std::iter::repeat_n(UnixMillis::new(0), 99));
        in_force.know(always);
        assert_eq!(in_force.young_of(&windows), Some(&[][..]));
        assert!(windows.young.get().is_none());
    }

    #[test]
    fn a_counter_is_young_until_its_next_window() {
        let config = config();
        let in_force = InForce::default();
        // 2026-04-11T12:00:00Z.
        let noon = UnixMillis::from_seconds(1_775_908_800);
        in_force.know(windows_of(&config).into_iter().filter_map(|window| {
            let is_own = window
                .plan
                .as_ref()
                .is_some_and(|plan| plan.as_str() == "free");
            is_own.then_some((window, noon))
        }));
        let places = |now: UnixMillis| {
            let windows = open(&config, now);
            let young = in_force.young_of(&windows).unwrap();
            young
                .iter()
                .map(|one| (one.place, one.since))
                .collect::<Vec<_>>()
        };
        assert_eq!(places(noon), [(0, noon), (1, noon)]);
        let hours = |hours| noon.saturating_add(std::time::Duration::from_hours(hours));
        assert_eq!(places(hours(12)), [(1, noon)]);
        assert_eq!(places(hours(20 * 24)), []);
    }
}

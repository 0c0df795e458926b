//! The windows in which each quota is counted.

use std::collections::BTreeMap;

use quota_store::{QuotaName, Window};

use super::{limits::WrittenBound, plan_text::WrittenPlan};

/// Every window that any plan gives a quota, shortest first; a month if none does.
pub(super) struct Windows(BTreeMap<QuotaName, Vec<Window>>);

impl Windows {
    pub(super) fn of(quotas: &[QuotaName], plans: &[WrittenPlan]) -> Self {
        let mut windows: BTreeMap<QuotaName, Vec<Window>> = quotas
            .iter()
            .map(|quota| (quota.clone(), Vec::new()))
            .collect();
        let limits = plans
            .iter()
            .flat_map(|plan| plan.limits.iter().chain(&plan.tenant_limits));
        for (quota, limits) in limits {
            let windows = windows.entry(quota.clone()).or_default();
            for limit in limits {
                if let WrittenBound::AtMost(_, window) = limit.bound
                    && !windows.contains(&window)
                {
                    windows.push(window);
                }
            }
        }
        for windows in windows.values_mut() {
            if windows.is_empty() {
                windows.push(Window::Month);
            }
            windows.sort_by_key(|window| (typical_seconds(*window), *window));
        }
        Self(windows)
    }

    pub(super) fn of_quota(&self, quota: &QuotaName) -> &[Window] {
        self.0.get(quota).map_or(&[], Vec::as_slice)
    }

    pub(super) fn into_inner(self) -> BTreeMap<QuotaName, Vec<Window>> {
        self.0
    }
}

/// How long a window is as a rule, to compare it with others.
const fn typical_seconds(window: Window) -> u64 {
    const DAY: u64 = 86_400;
    match window {
        Window::Second => 1,
        Window::Minute => 60,
        Window::Hour => 3_600,
        Window::Day => DAY,
        Window::Week => 7 * DAY,
        // The mean of the Gregorian calendar, 30.436875 days.
        Window::Month => 2_629_746,
        Window::Year => 31_556_952,
        Window::Lifetime => u64::MAX,
        Window::Seconds(seconds) => seconds.get(),
    }
}

//! What a counter says, in the words of headers and bodies.

use std::sync::Arc;

use jiff::Timestamp;
use quota_store::{Amount, Bound, CounterValue, CounterValues, UnixMillis};
use serde::Serialize;

use crate::charge::{ChargeTable, CounterRule, OpenWindow, Windows};

/// How a counter, or a request, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QuotaState {
    /// There is no limit.
    Unlimited,
    /// Below every warning.
    Ok,
    /// From the lowest warning on.
    Warning,
    /// Beyond the limit and below the hard one.
    Grace,
    /// Denied only because requests in flight hold the units.
    Busy,
    /// Denied, or nothing is left below the hard limit.
    Exceeded,
    /// The plan does not include the quota.
    NotIncluded,
    /// The counter store could not be asked.
    Unavailable,
}

impl QuotaState {
    /// The word for it in headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unlimited => "unlimited",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Grace => "grace",
            Self::Busy => "busy",
            Self::Exceeded => "exceeded",
            Self::NotIncluded => "not_included",
            Self::Unavailable => "unavailable",
        }
    }
}

/// One counter as clients see it; the `quota_status` of bodies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QuotaStatus {
    /// The quota's name.
    pub quota: String,
    /// Its title.
    pub title: String,
    /// What one of it is called.
    pub unit: String,
    /// `user` or `tenant`.
    pub scope: &'static str,
    /// The window's name.
    pub window: String,
    /// The limit in units; `None` where there is none.
    pub limit: Option<u64>,
    /// The limit with grace, in units; `None` where there is none.
    pub hard_limit: Option<u64>,
    /// Committed units.
    pub used: u64,
    /// Units held by requests in flight.
    pub reserved: u64,
    /// What is left of the limit, never negative; `None` where there is none.
    pub remaining: Option<u64>,
    /// Hundredths of the limit that are used, rounded down; `None` where there is none.
    pub percent_used: Option<u64>,
    /// How it stands.
    pub state: QuotaState,
    /// The highest warning passed, such as `80%`.
    pub warning_level: Option<String>,
    /// Whether the limit is passed and the hard one not reached.
    pub in_grace: bool,
    /// When the window ends, in RFC 3339; `None` for a lifetime.
    pub resets_at: Option<String>,
}

/// A counter of a request, as it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CounterView<'a> {
    pub(crate) rule: &'a CounterRule,
    pub(crate) window: &'a OpenWindow,
    pub(crate) value: CounterValue,
    /// Overrides what the numbers say, for a counter that denied.
    pub(crate) denied: Option<QuotaState>,
}

impl CounterView<'_> {
    pub(crate) fn state(&self) -> QuotaState {
        self.denied.unwrap_or_else(|| self.state_by_numbers())
    }

    fn state_by_numbers(&self) -> QuotaState {
        let (Bound::AtMost(limit), Bound::AtMost(hard)) = (self.rule.limit.bound, self.rule.hard)
        else {
            return QuotaState::Unlimited;
        };
        let used = self.value.used;
        let warned = |first: &quota_store::Percent| first.is_reached(used, limit);
        if limit.is_zero() {
            QuotaState::NotIncluded
        } else if used >= hard {
            QuotaState::Exceeded
        } else if used > limit {
            QuotaState::Grace
        } else if used == limit || self.rule.limit.warn_at.first().is_some_and(warned) {
            QuotaState::Warning
        } else {
            QuotaState::Ok
        }
    }

    /// `limit - used - reserved`, never below zero.
    pub(crate) fn remaining(&self) -> Option<Amount> {
        let limit = self.rule.limit.bound.amount()?;
        Some(
            limit
                .saturating_sub(self.value.used)
                .saturating_sub(self.value.reserved),
        )
    }

    /// What is left below the hard limit.
    pub(crate) fn hard_remaining(&self) -> Option<Amount> {
        let hard = self.rule.hard.amount()?;
        Some(
            hard.saturating_sub(self.value.used)
                .saturating_sub(self.value.reserved),
        )
    }

    /// Whether this counter is closer to its hard limit than the other one.
    pub(crate) fn is_closer_than(&self, other: &Self) -> bool {
        match (self.rule.hard, other.rule.hard) {
            (Bound::AtMost(mine), Bound::AtMost(its)) => {
                let total = |view: &Self| {
                    u128::from(view.value.used.get()) + u128::from(view.value.reserved.get())
                };
                // A hard limit of zero is always reached, so it is the closest of all.
                match (mine.is_zero(), its.is_zero()) {
                    (true, its) => !its,
                    (false, true) => false,
                    (false, false) => {
                        total(self) * u128::from(its.get()) > total(other) * u128::from(mine.get())
                    }
                }
            }
            (Bound::AtMost(_), Bound::Unlimited) => true,
            (Bound::Unlimited, Bound::AtMost(_)) => false,
            // Headers name the longest window of what is unlimited.
            (Bound::Unlimited, Bound::Unlimited) => self.length_ms() > other.length_ms(),
        }
    }

    fn length_ms(&self) -> u64 {
        let span = self.window.span;
        span.end()
            .map_or(u64::MAX, |end| end.get() - span.start().get())
    }

    /// Seconds until the window ends, rounded up, at least one; `None` for a lifetime.
    pub(crate) fn seconds_left(&self, now: UnixMillis) -> Option<u64> {
        let end = self.window.span.end();
        end.map(|end| end.get().saturating_sub(now.get()).div_ceil(1000).max(1))
    }

    pub(crate) fn status(&self) -> QuotaStatus {
        let limit = self.rule.limit.bound.amount();
        let used = self.value.used;
        let percent_used = limit.map(|limit| percent(used, limit));
        QuotaStatus {
            quota: self.rule.quota.as_str().to_owned(),
            title: self.rule.labels.title.clone(),
            unit: self.rule.labels.unit.clone(),
            scope: self.rule.scope.as_str(),
            window: self.rule.labels.window.clone(),
            limit: limit.map(Amount::get),
            hard_limit: self.rule.hard.amount().map(Amount::get),
            used: used.get(),
            reserved: self.value.reserved.get(),
            remaining: self.remaining().map(Amount::get),
            percent_used,
            state: self.state(),
            warning_level: limit.and_then(|limit| self.warning_level(limit)),
            in_grace: self.state_by_numbers() == QuotaState::Grace,
            resets_at: self.window.span.end().and_then(rfc3339),
        }
    }

    fn warning_level(&self, limit: Amount) -> Option<String> {
        let whole = quota_store::Percent::new(100);
        self.rule
            .limit
            .warn_at
            .iter()
            .chain([&whole])
            .filter(|percent| percent.is_reached(self.value.used, limit))
            .max()
            .map(|percent| format!("{}%", percent.get()))
    }
}

/// Hundredths of `limit`, rounded down; all of nothing is 100.
fn percent(used: Amount, limit: Amount) -> u64 {
    if limit.is_zero() {
        return 100;
    }
    let percent = u128::from(used.get()) * 100 / u128::from(limit.get());
    u64::try_from(percent).unwrap_or(u64::MAX)
}

pub(crate) fn rfc3339(instant: UnixMillis) -> Option<String> {
    let seconds = i64::try_from(instant.seconds()).ok()?;
    Timestamp::from_second(seconds)
        .ok()
        .map(|at| at.to_string())
}

/// The counters of one request, as they stood at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) windows: Arc<Windows>,
    pub(crate) values: CounterValues,
}

impl Snapshot {
    pub(crate) fn table(&self) -> &ChargeTable {
        &self.windows.table
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = CounterView<'_>> {
        self.views_of(&self.values)
    }

    /// The same counters with other values.
    pub(crate) fn views_of<'a>(
        &'a self,
        values: &'a [CounterValue],
    ) -> impl Iterator<Item = CounterView<'a>> {
        let counters = self.table().counters.iter().zip(&self.windows.open);
        counters
            .zip(values)
            .map(|((rule, window), value)| CounterView {
                rule,
                window,
                value: *value,
                denied: None,
            })
    }
}

/// The counter closest to its limit; ties go to the first.
pub(crate) fn closest<'a>(views: impl Iterator<Item = CounterView<'a>>) -> Option<CounterView<'a>> {
    views.reduce(|best, view| {
        if view.is_closer_than(&best) {
            view
        } else {
            best
        }
    })
}

//! Plans: named sets of limits.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::{Amount, Limit, Orphans, PlanName, QuotaLimits, QuotaName, Scope};

/// A named set of limits (a tier, a profile).
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: PlanName,
    /// What it limits, user scope first, each scope in the order of the file.
    ///
    /// An inherited quota stands where the plan it comes from has it.
    pub limits: Vec<QuotaLimits>,
    /// How much to reserve of a quota, instead of what the rule says.
    pub reserve: BTreeMap<QuotaName, Amount>,
    /// What a quota that the plan does not limit at all means.
    pub unlisted: Unlisted,
    /// Whose calendar the windows follow.
    pub timezone: TimeZone,
    /// Where weeks, months, years and durations begin.
    pub periods: Periods,
    /// What becomes of the units of a process that died; `None` for what the store says.
    pub orphans: Option<Orphans>,
    /// What it offers besides quotas.
    pub features: Vec<String>,
    /// Whether it can be had by those who do not have it yet.
    pub availability: Availability,
    /// What people are shown.
    pub display: PlanDisplay,
}

/// What a quota that neither `limits` nor `tenant_limits` name means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unlisted {
    /// The plan does not include it.
    #[default]
    Deny,
    /// It is counted and never denied.
    Unlimited,
}

/// Where the windows of a plan begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Periods {
    /// With the calendar.
    #[default]
    Calendar,
    /// With the subject's billing day.
    Subscription,
}

/// Whether a plan can be had by those who do not have it yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Availability {
    /// It is offered, and can be assigned.
    #[default]
    Enabled,
    /// It is not offered and not assigned any more; who has it keeps it.
    Disabled,
}

/// What people are shown of a plan; nothing of it changes what is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanDisplay {
    /// Its title by language.
    pub title: Option<Text>,
    /// What it is for, by language.
    pub description: Option<Text>,
    /// What it costs.
    pub price: Option<Price>,
    /// Its place in lists, lowest first.
    pub order: i64,
    /// Whether lists show it.
    pub visible: Visible,
}

/// Whether lists show a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visible {
    /// It is shown.
    #[default]
    Shown,
    /// It is not shown.
    Hidden,
}

/// Text by language; one without a language is under the empty tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub BTreeMap<String, String>);

impl Text {
    /// The text in `language`, else in English, else any.
    #[must_use]
    pub fn get(&self, language: &str) -> &str {
        [language, "en", ""]
            .iter()
            .find_map(|tag| self.0.get(*tag))
            .or_else(|| self.0.values().next())
            .map_or("", String::as_str)
    }
}

/// What a plan costs, as text that is shown and never calculated with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// A decimal number.
    pub amount: String,
    /// An ISO 4217 code.
    pub currency: String,
    /// What is paid for, such as `month`.
    pub per: String,
}

impl Plan {
    /// The limits on one quota in one scope, if the plan has any.
    #[must_use]
    pub fn limits_on(&self, quota: &QuotaName, scope: Scope) -> Option<&[Limit]> {
        self.limits
            .iter()
            .find(|limits| limits.scope == scope && limits.quota == *quota)
            .map(|limits| limits.limits.as_slice())
    }
}

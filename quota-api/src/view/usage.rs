//! What one user used.

use std::collections::BTreeMap;

use quota_store::ledger::{Span, Usage};
use serde::Serialize;
use utoipa::ToSchema;

use crate::input::rfc3339;

/// What one user used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
pub(crate) struct UsageView {
    /// From when on.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Until when.
    #[schema(format = DateTime)]
    to: Option<String>,
    /// Of each quota.
    totals: Vec<TotalView>,
    /// Of each part of the time in which anything happened, by quota, then by time.
    series: Vec<PartView>,
    /// What it cost, in millionths; null where no prices are configured.
    cost_micros: Option<i64>,
}

/// What was used of one quota.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageTotal)]
pub(crate) struct TotalView {
    /// The quota.
    quota: String,
    /// The units charged, less those given back.
    charged: i64,
    /// How many attempts there were, however they ended.
    attempts: u64,
    /// How many of them were denied.
    denied: u64,
    /// Hundredths of the attempts that were denied, rounded down.
    percent_denied: u64,
    /// By value of the tag, where it is split by one.
    groups: Vec<GroupView>,
}

/// What was used of one quota with one value of a tag.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageGroup)]
pub(crate) struct GroupView {
    /// The value of the tag.
    group: String,
    /// The units charged, less those given back.
    charged: i64,
    /// Hundredths of what was charged of the quota, rounded down.
    percent_charged: u64,
}

/// What was used of one quota in one part of the time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsagePart)]
pub(crate) struct PartView {
    /// The quota.
    quota: String,
    /// Where the part begins.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// The value of the tag; empty where it is not split.
    group: String,
    /// The units charged, less those given back.
    charged: i64,
    /// How many attempts there were, however they ended.
    attempts: u64,
    /// How many of them were denied.
    denied: u64,
}

impl UsageView {
    /// `is_split` tells whether the parts have groups.
    pub(crate) fn new(span: Span, usage: &[Usage], split: Split) -> Self {
        Self {
            from: rfc3339(span.from),
            to: rfc3339(span.to),
            totals: totals(usage, split),
            series: usage.iter().map(PartView::from).collect(),
            cost_micros: None,
        }
    }
}

/// Whether parts of the time are split further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    No,
    ByTag,
}

impl From<&Usage> for PartView {
    fn from(usage: &Usage) -> Self {
        Self {
            quota: usage.quota.as_str().to_owned(),
            from: rfc3339(usage.from),
            group: usage.group.clone(),
            charged: usage.charged,
            attempts: usage.attempts,
            denied: usage.denied,
        }
    }
}

fn totals(usage: &[Usage], split: Split) -> Vec<TotalView> {
    let mut quotas: Vec<&str> = usage.iter().map(|one| one.quota.as_str()).collect();
    quotas.dedup();
    quotas
        .into_iter()
        .map(|quota| {
            let parts = || usage.iter().filter(move |one| one.quota.as_str() == quota);
            let charged = parts().map(|one| one.charged).sum();
            let attempts = parts().map(|one| one.attempts).sum();
            let denied = parts().map(|one| one.denied).sum();
            TotalView {
                quota: quota.to_owned(),
                charged,
                attempts,
                denied,
                percent_denied: percent(denied, attempts),
                groups: match split {
                    Split::No => Vec::new(),
                    Split::ByTag => groups(parts(), charged),
                },
            }
        })
        .collect()
}

fn groups<'a>(parts: impl Iterator<Item = &'a Usage>, charged: i64) -> Vec<GroupView> {
    let mut groups: BTreeMap<&str, i64> = BTreeMap::new();
    for part in parts {
        *groups.entry(&part.group).or_default() += part.charged;
    }
    let positive = |number: i64| u64::try_from(number).unwrap_or(0);
    groups
        .into_iter()
        .map(|(group, part)| GroupView {
            group: group.to_owned(),
            charged: part,
            percent_charged: percent(positive(part), positive(charged)),
        })
        .collect()
}

/// Hundredths, rounded down; nothing of nothing is 0.
fn percent(part: u64, whole: u64) -> u64 {
    let hundredths = u128::from(part) * 100;
    let percent = hundredths.checked_div(u128::from(whole)).unwrap_or(0);
    u64::try_from(percent).unwrap_or(u64::MAX)
}

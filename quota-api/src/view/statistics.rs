//! Figures about one quota.

use std::collections::BTreeMap;

use quota_store::ledger::{Figures, Part, Span, Statistics};
use serde::Serialize;
use utoipa::ToSchema;

use crate::input::rfc3339;

/// Figures about one quota.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Statistics)]
pub(crate) struct StatisticsView {
    /// The quota.
    quota: String,
    /// From when on.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Until when.
    #[schema(format = DateTime)]
    to: Option<String>,
    /// Of the whole time.
    total: FiguresView,
    /// How many users tried to use it.
    users: u64,
    /// How large the charges of single attempts were; above 64 rounded down by less than 1/32.
    percentiles: SizesView,
    /// What it cost, in millionths; null where no prices are configured.
    cost_micros: Option<i64>,
    /// Of each part of the time in which anything happened, and by group within it.
    series: Vec<PartView>,
}

/// Sums over attempts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Figures)]
pub(crate) struct FiguresView {
    /// The units charged, less those given back.
    charged: i64,
    /// How many attempts there were.
    attempts: u64,
    /// How many of them were denied.
    denied: u64,
    /// How many ended how.
    outcomes: BTreeMap<&'static str, u64>,
}

/// How large charges were.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sizes)]
pub(crate) struct SizesView {
    /// Half of them are at most this.
    p50: u64,
    /// Nine of ten.
    p90: u64,
    /// 99 of 100.
    p99: u64,
    /// The largest.
    max: u64,
}

/// Figures of one part of the time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatisticsPart)]
pub(crate) struct PartView {
    /// Where it begins.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// The plan, route or value of the tag; empty where it is not split.
    group: String,
    #[serde(flatten)]
    figures: FiguresView,
}

impl StatisticsView {
    pub(crate) fn new(quota: &str, span: Span, statistics: &Statistics) -> Self {
        let sizes = statistics.sizes;
        Self {
            quota: quota.to_owned(),
            from: rfc3339(span.from),
            to: rfc3339(span.to),
            total: (&statistics.total).into(),
            users: statistics.users,
            percentiles: SizesView {
                p50: sizes.p50.get(),
                p90: sizes.p90.get(),
                p99: sizes.p99.get(),
                max: sizes.largest.get(),
            },
            cost_micros: None,
            series: statistics.parts.iter().map(PartView::from).collect(),
        }
    }
}

impl From<&Figures> for FiguresView {
    fn from(figures: &Figures) -> Self {
        use quota_store::ledger::Outcome::Denied;

        Self {
            charged: figures.charged,
            attempts: figures.attempts.values().sum(),
            denied: figures.attempts.get(&Denied).copied().unwrap_or(0),
            outcomes: figures
                .attempts
                .iter()
                .map(|(outcome, count)| (outcome.as_str(), *count))
                .collect(),
        }
    }
}

impl From<&Part> for PartView {
    fn from(part: &Part) -> Self {
        Self {
            from: rfc3339(part.from),
            group: part.group.clone(),
            figures: (&part.figures).into(),
        }
    }
}

//! What answers say.

mod audit;
mod counter;
mod health;
mod log;
mod plan;
mod standing;
mod statistics;
mod usage;

use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use self::{
    audit::AuditView,
    counter::{ChangeView, ChangesView, CounterStatus, UserRowView},
    health::HealthView,
    log::{AttemptView, ChargeView, HistoryView},
    plan::{AdminPlanView, PlanStandingView, PublicPlanView, is_enabled},
    standing::{StatusView, SubjectView},
    statistics::StatisticsView,
    usage::{Split, UsageView},
};

/// Part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listed<T> {
    /// The rows.
    pub(crate) items: Vec<T>,
    /// What to give as `cursor` for the next page; null on the last one.
    pub(crate) next_cursor: Option<String>,
}

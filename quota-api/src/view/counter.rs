//! Counters.

use quota_layer::{
    QuotaStatus,
    administration::{CounterChange, UserRow},
};
use serde::Serialize;
use utoipa::ToSchema;

/// How a counter stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaStatus)]
pub(crate) struct CounterStatus {
    /// The quota.
    quota: String,
    /// Its title.
    title: String,
    /// What one of it is called.
    unit: String,
    /// `user` or `tenant`.
    scope: &'static str,
    /// The window; `level` for a stock.
    window: String,
    /// The limit; null where there is none.
    limit: Option<u64>,
    /// The limit with grace; null where there is none.
    hard_limit: Option<u64>,
    /// What was charged.
    used: u64,
    /// What requests in flight hold.
    reserved: u64,
    /// What is left of the limit, never negative; null where there is none.
    remaining: Option<u64>,
    /// Hundredths of the limit that are used, rounded down; null where there is none.
    percent_used: Option<u64>,
    /// How it stands.
    #[schema(example = "ok")]
    state: &'static str,
    /// The highest warning passed.
    #[schema(example = "80%")]
    warning_level: Option<String>,
    /// Whether the limit is passed and the hard one not reached.
    in_grace: bool,
    /// When the window ends; null for a lifetime and a stock.
    #[schema(format = DateTime)]
    resets_at: Option<String>,
}

impl From<QuotaStatus> for CounterStatus {
    fn from(status: QuotaStatus) -> Self {
        Self {
            quota: status.quota,
            title: status.title,
            unit: status.unit,
            scope: status.scope,
            window: status.window,
            limit: status.limit,
            hard_limit: status.hard_limit,
            used: status.used,
            reserved: status.reserved,
            remaining: status.remaining,
            percent_used: status.percent_used,
            state: status.state.as_str(),
            warning_level: status.warning_level,
            in_grace: status.in_grace,
            resets_at: status.resets_at,
        }
    }
}

/// One counter of one user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserRow)]
pub(crate) struct UserRowView {
    /// The user.
    user: String,
    /// Its plan.
    plan: String,
    /// How the counter stands.
    quota_status: CounterStatus,
}

impl From<UserRow> for UserRowView {
    fn from(row: UserRow) -> Self {
        Self {
            user: row.user.as_str().to_owned(),
            plan: row.plan.as_str().to_owned(),
            quota_status: row.status.into(),
        }
    }
}

/// What a change did to counters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Changes)]
pub(crate) struct ChangesView {
    /// Each counter that was changed.
    changes: Vec<ChangeView>,
}

impl From<Vec<CounterChange>> for ChangesView {
    fn from(changes: Vec<CounterChange>) -> Self {
        Self {
            changes: changes.into_iter().map(ChangeView::from).collect(),
        }
    }
}

/// What a change did to one counter.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Change)]
pub(crate) struct ChangeView {
    /// The quota.
    quota: String,
    /// `user` or `tenant`.
    scope: &'static str,
    /// The window; `lifetime` for a stock too.
    window: String,
    /// What was charged before.
    used_before: u64,
    /// What is charged now.
    used_after: u64,
}

impl From<CounterChange> for ChangeView {
    fn from(change: CounterChange) -> Self {
        Self {
            quota: change.quota.as_str().to_owned(),
            scope: change.scope.as_str(),
            window: change.window.to_string(),
            used_before: change.used_before.get(),
            used_after: change.used_after.get(),
        }
    }
}

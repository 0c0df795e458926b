//! How users and tenants stand.

use quota_layer::administration::{QuotaStanding, Standing};
use quota_store::{TenantId, UserId, directory::Override};
use serde::Serialize;
use utoipa::ToSchema;

use super::{CounterStatus, PlanStandingView};
use crate::input::rfc3339;

/// How a user stands, as it sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Status)]
pub(crate) struct StatusView {
    /// The user's tenant.
    tenant: Option<String>,
    /// The user.
    user: String,
    /// The plan in force.
    plan: PlanStandingView,
    /// Where to go for more.
    upgrade_url: Option<String>,
    /// Every quota, in the order of the configuration.
    quotas: Vec<QuotaView>,
}

impl StatusView {
    pub(crate) fn new(
        requester: &quota_store::Requester,
        standing: Standing,
        upgrade_url: Option<String>,
        language: &str,
    ) -> Self {
        Self {
            tenant: requester.tenant.as_ref().map(tenant_text),
            user: requester.user.as_str().to_owned(),
            plan: PlanStandingView::new(&standing.plan, language),
            upgrade_url,
            quotas: quotas(standing.quotas),
        }
    }
}

/// How a user, or a tenant as a whole, stands, as administrators see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Subject)]
pub(crate) struct SubjectView {
    /// The tenant.
    tenant: Option<String>,
    /// The user; null for a tenant as a whole.
    user: Option<String>,
    /// The plan in force.
    plan: PlanStandingView,
    /// Its own limits in force.
    overrides: Vec<OverrideView>,
    /// Every quota, in the order of the configuration.
    quotas: Vec<QuotaView>,
    /// When it was last charged, or refused; null for never.
    #[schema(format = DateTime)]
    last_seen_at: Option<String>,
}

impl SubjectView {
    pub(crate) fn new(
        tenant: Option<&TenantId>,
        user: Option<&UserId>,
        standing: Standing,
        language: &str,
    ) -> Self {
        Self {
            tenant: tenant.map(tenant_text),
            user: user.map(|user| user.as_str().to_owned()),
            plan: PlanStandingView::new(&standing.plan, language),
            overrides: standing.overrides.iter().map(OverrideView::from).collect(),
            quotas: quotas(standing.quotas),
            last_seen_at: standing.last_seen_at.and_then(rfc3339),
        }
    }
}

/// One subject's own limit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Override)]
pub(crate) struct OverrideView {
    /// The quota.
    quota: String,
    /// The window; `lifetime` for a stock too.
    window: String,
    /// The limit; null where there is none.
    limit: Option<u64>,
    /// Until when; null for good.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

impl From<&Override> for OverrideView {
    fn from(one: &Override) -> Self {
        Self {
            quota: one.quota.as_str().to_owned(),
            window: one.window.to_string(),
            limit: one.limit.amount().map(u64::from),
            expires_at: one.until.and_then(rfc3339),
        }
    }
}

/// How one quota stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quota)]
pub(crate) struct QuotaView {
    /// The quota.
    #[schema(example = "messages")]
    quota: String,
    /// Its title.
    title: String,
    /// What one of it is called.
    unit: String,
    /// `flow` or `stock`.
    #[schema(example = "flow")]
    kind: &'static str,
    /// How the counter closest to its limit stands.
    #[schema(example = "ok")]
    state: &'static str,
    /// Whether one more unit would be admitted.
    allowed: bool,
    /// The least that is left of any limit; null where there is none.
    remaining: Option<u64>,
    /// Every counter.
    counters: Vec<CounterStatus>,
}

impl From<QuotaStanding> for QuotaView {
    fn from(standing: QuotaStanding) -> Self {
        Self {
            quota: standing.quota.as_str().to_owned(),
            title: standing.title,
            unit: standing.unit,
            kind: standing.kind,
            state: standing.state.as_str(),
            allowed: standing.allowed,
            remaining: standing.remaining,
            counters: standing.counters.into_iter().map(Into::into).collect(),
        }
    }
}

fn quotas(quotas: Vec<QuotaStanding>) -> Vec<QuotaView> {
    quotas.into_iter().map(QuotaView::from).collect()
}

fn tenant_text(tenant: &TenantId) -> String {
    tenant.as_str().to_owned()
}

//! Plans.

use std::collections::BTreeMap;

use quota_layer::administration::{PlanStanding, PlanView};
use quota_store::{Availability, Limit, Plan, Price, Scope, Visible, directory::Assignment};
use serde::Serialize;
use utoipa::ToSchema;

use crate::input::rfc3339;

/// A plan that people can choose.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub(crate) struct PublicPlanView {
    /// Its name.
    #[schema(example = "free")]
    id: String,
    /// Its title in the language asked for.
    title: String,
    /// What it is for.
    description: String,
    /// What it costs.
    price: Option<PriceView>,
    /// What it offers besides quotas.
    features: Vec<String>,
    /// Whether those have it who chose none.
    is_default: bool,
    /// What a user may use, by quota.
    limits: BTreeMap<String, Vec<LimitView>>,
    /// What a tenant as a whole may use, by quota.
    tenant_limits: BTreeMap<String, Vec<LimitView>>,
}

/// What a plan costs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Price)]
pub(crate) struct PriceView {
    /// A decimal number.
    #[schema(example = "7000")]
    amount: String,
    /// An ISO 4217 code.
    #[schema(example = "XAF")]
    currency: String,
    /// What is paid for.
    #[schema(example = "month")]
    per: String,
}

/// How much may be used in a window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limit)]
pub(crate) struct LimitView {
    /// The window; `lifetime` for a stock too.
    window: String,
    /// The limit; null where there is none, 0 where the plan does not include the quota.
    limit: Option<u64>,
    /// The limit with grace; null where there is none.
    hard_limit: Option<u64>,
}

impl PublicPlanView {
    pub(crate) fn new(view: &PlanView, language: &str) -> Self {
        let plan = &view.plan;
        Self {
            id: plan.name.as_str().to_owned(),
            title: title(plan, language),
            description: description(plan, language),
            price: plan.display.price.as_ref().map(PriceView::from),
            features: plan.features.clone(),
            is_default: view.is_default,
            limits: limits(plan, Scope::User),
            tenant_limits: limits(plan, Scope::Tenant),
        }
    }
}

/// A plan as administrators see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminPlan)]
pub(crate) struct AdminPlanView {
    #[serde(flatten)]
    plan: PublicPlanView,
    /// Its place in lists.
    order: i64,
    /// Whether lists show it.
    visible: bool,
    /// Whether those can have it who do not have it yet.
    enabled: bool,
    /// The time zone whose calendar its windows follow.
    timezone: String,
    /// `file` or `database`: plans from the file can't be changed here.
    #[schema(example = "file")]
    source: &'static str,
    /// What was written of it, where the database keeps it: the keys of `[plans.NAME]`.
    #[schema(value_type = Option<Object>)]
    written: Option<serde_json::Value>,
}

impl AdminPlanView {
    pub(crate) fn new(view: &PlanView, language: &str) -> Self {
        let plan = &view.plan;
        Self {
            plan: PublicPlanView::new(view, language),
            order: plan.display.order,
            visible: plan.display.visible == Visible::Shown,
            enabled: is_enabled(plan),
            timezone: plan.timezone.iana_name().unwrap_or("UTC").to_owned(),
            source: if view.is_from_file {
                "file"
            } else {
                "database"
            },
            written: view.written.clone(),
        }
    }
}

/// Which plan is in force, and why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlanStanding)]
pub(crate) struct PlanStandingView {
    /// The plan.
    #[schema(example = "free")]
    id: String,
    /// Its title in the language asked for.
    title: String,
    /// What it offers besides quotas.
    features: Vec<String>,
    /// What it costs.
    price: Option<PriceView>,
    /// `active`, `trialing`, `past_due` or `cancelled`; it changes no limit.
    #[schema(example = "active")]
    status: &'static str,
    /// Since when it is assigned.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// Until when it is assigned.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Where the billing periods of its assignment begin.
    #[schema(format = DateTime)]
    anchor: Option<String>,
    /// What is assigned for later, the earliest first.
    next: Vec<NextPlanView>,
    /// Where it comes from: `assignment`, `claim`, `default` or `anonymous`.
    #[schema(example = "default")]
    source: &'static str,
    /// The time zone whose calendar the windows follow.
    timezone: String,
}

impl PlanStandingView {
    pub(crate) fn new(standing: &PlanStanding, language: &str) -> Self {
        let plan = &standing.plan;
        Self {
            id: plan.name.as_str().to_owned(),
            title: title(plan, language),
            features: plan.features.clone(),
            price: plan.display.price.as_ref().map(PriceView::from),
            status: standing.status.as_str(),
            since: standing.since.and_then(rfc3339),
            until: standing.until.and_then(rfc3339),
            anchor: standing.anchor.and_then(rfc3339),
            next: standing.next.iter().map(NextPlanView::from).collect(),
            source: standing.source.as_str(),
            timezone: standing.timezone.clone(),
        }
    }
}

/// A plan that is assigned for later.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NextPlan)]
pub(crate) struct NextPlanView {
    /// The plan.
    #[schema(example = "free")]
    id: String,
    /// From when on.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// Until when; null for good.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// `active`, `trialing`, `past_due` or `cancelled`; it changes no limit.
    #[schema(example = "active")]
    status: &'static str,
}

impl From<&Assignment> for NextPlanView {
    fn from(one: &Assignment) -> Self {
        Self {
            id: one.plan.as_str().to_owned(),
            since: rfc3339(one.since),
            until: one.until.and_then(rfc3339),
            status: one.status.as_str(),
        }
    }
}

impl From<&Price> for PriceView {
    fn from(price: &Price) -> Self {
        Self {
            amount: price.amount.clone(),
            currency: price.currency.clone(),
            per: price.per.clone(),
        }
    }
}

impl From<&Limit> for LimitView {
    fn from(limit: &Limit) -> Self {
        Self {
            window: limit.window.to_string(),
            limit: limit.bound.amount().map(u64::from),
            hard_limit: limit.hard().amount().map(u64::from),
        }
    }
}

/// Whether those can have it who do not have it yet.
pub(crate) fn is_enabled(plan: &Plan) -> bool {
    plan.availability == Availability::Enabled
}

fn title(plan: &Plan, language: &str) -> String {
    let title = plan.display.title.as_ref();
    title
        .map_or(plan.name.as_str(), |text| text.get(language))
        .to_owned()
}

fn description(plan: &Plan, language: &str) -> String {
    let description = plan.display.description.as_ref();
    description.map_or("", |text| text.get(language)).to_owned()
}

fn limits(plan: &Plan, scope: Scope) -> BTreeMap<String, Vec<LimitView>> {
    let limits = plan.limits.iter().filter(|limits| limits.scope == scope);
    limits
        .map(|limits| {
            let each = limits.limits.iter().map(LimitView::from).collect();
            (limits.quota.as_str().to_owned(), each)
        })
        .collect()
}

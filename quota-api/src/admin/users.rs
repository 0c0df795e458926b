//! Users.

use axum::{Extension, Json, extract::State};
use http::HeaderMap;
use quota_layer::administration::{UsersQuery, UsersSort, Whom};
use quota_store::{Requester, Subject, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    OfTenant,
    bodies::{Adjust, Assign, AssignMany, Refund, Reset, SetUsed},
    subject,
};
use crate::{
    access::Caller,
    api::Served,
    input::{InPath, Near, PlainText, PlanWord, Query, QuotaWord, Size, WindowWord},
    language,
    page::List,
    problem::Problem,
    view::{ChangeView, ChangesView, CounterStatus, Listed, SubjectView, UserRowView},
    write::{Answer, Done, Intent, Write, Written},
};

/// Which counters are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsersParameters {
    /// The tenant, or `-` for users without one; required where tokens name tenants.
    #[param(example = "-", min_length = 1, max_length = 256)]
    tenant: Option<String>,
    /// Only counters of this quota.
    #[param(inline)]
    quota: Option<QuotaWord>,
    /// Only counters of this window.
    #[param(inline)]
    window: Option<WindowWord>,
    /// Only users with this plan.
    #[param(inline)]
    plan: Option<PlanWord>,
    /// Only counters of which at least this many hundredths of the limit are used.
    #[param(inline)]
    near_limit: Option<Near>,
    /// The order: who used most first, or by name.
    #[serde(default)]
    #[param(inline, required = false)]
    sort: SortWord,
    /// How many rows at most.
    #[serde(default)]
    #[param(inline, required = false)]
    limit: Size,
    /// `next_cursor` of the page before.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// The order of users.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
pub(crate) enum SortWord {
    /// Who used most comes first.
    #[default]
    #[serde(rename = "-used")]
    MostUsed,
    /// By name.
    #[serde(rename = "user")]
    Name,
}

/// Who is near a limit, and who uses most: a row for each counter.
#[utoipa::path(get, path = "/users", tag = "users", operation_id = "list_users",
    params(UsersParameters), responses((status = 200, description = "A page of counters.",
    body = Listed<UserRowView>)))]
pub(super) async fn list(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    list: List,
    Query(asked): Query<UsersParameters>,
) -> Answer<Listed<UserRowView>> {
    let query = UsersQuery {
        tenant: caller.tenant(&served, asked.tenant.as_deref())?,
        quota: asked.quota.map(|quota| quota.0),
        window: asked.window.map(|window| window.0.0),
        plan: asked.plan.map(|plan| plan.0),
        near_limit: asked.near_limit.map(|Near(percent)| percent),
        sort: match asked.sort {
            SortWord::MostUsed => UsersSort::MostUsed,
            SortWord::Name => UsersSort::Name,
        },
        limit: asked.limit.0,
        after: list.place(asked.cursor.as_deref())?,
    };
    let administration = served.administration();
    if let Some(quota) = &query.quota {
        administration
            .check_quota(quota)
            .map_err(Problem::in_query)?;
    }
    if let Some(plan) = &query.plan {
        administration.check_plan(plan).map_err(Problem::in_query)?;
    }
    if let Some(window) = query.window {
        administration
            .check_window(window)
            .map_err(Problem::in_query)?;
    }
    let found = administration.users(&query).await;
    let (rows, next) = found.map_err(Problem::in_query)?;
    Ok(Json(Listed {
        items: rows.into_iter().map(Into::into).collect(),
        next_cursor: list.cursor(next),
    }))
}

/// How a user stands: plan, overrides, every counter.
#[utoipa::path(get, path = "/users/{user}", tag = "users", operation_id = "show_user",
    params(("user" = String, Path, description = "The user."), OfTenant),
    responses((status = 200, description = "How it stands.", body = SubjectView)))]
pub(super) async fn show(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    InPath(user): InPath<UserId>,
    Query(asked): Query<OfTenant>,
    headers: HeaderMap,
) -> Answer<SubjectView> {
    let tenant = caller.tenant(&served, asked.tenant.as_deref())?;
    let requester = Requester { tenant, user };
    let found = served.administration().user(&requester, None).await;
    let standing = found.map_err(Problem::in_query)?;
    let settings = served.settings();
    let language = language::choose(&headers, &settings.locales);
    let Requester { tenant, user } = &requester;
    let view = SubjectView::new(tenant.as_ref(), Some(user), standing, language);
    Ok(Json(view))
}

/// Sets what was used of flow quotas to zero; reservations and stocks stay.
#[utoipa::path(post, path = "/users/{user}/reset", tag = "users", operation_id = "reset_user",
    params(("user" = String, Path, description = "The user."), OfTenant), request_body = Reset,
    responses((status = 200, description = "What was changed.", body = ChangesView)))]
pub(super) async fn reset(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    InPath(user): InPath<UserId>,
    Query(asked): Query<OfTenant>,
    write: Write<Reset>,
) -> Written {
    let tenant = caller.tenant(&served, asked.tenant.as_deref())?;
    subject::reset(Subject::User { tenant, user }, write).await
}

/// Gives a user another limit than its plan's, or the plan's again.
#[utoipa::path(put, path = "/users/{user}/adjust", tag = "users", operation_id = "adjust_user",
    params(("user" = String, Path, description = "The user."), OfTenant), request_body = Adjust,
    responses((status = 200, description = "How the counter stands.", body = CounterStatus)))]
pub(super) async fn adjust(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    InPath(user): InPath<UserId>,
    Query(asked): Query<OfTenant>,
    write: Write<Adjust>,
) -> Written {
    let tenant = caller.tenant(&served, asked.tenant.as_deref())?;
    subject::adjust(Subject::User { tenant, user }, write).await
}

/// Sets what a user used, after a migration or to correct it.
#[utoipa::path(put, path = "/users/{user}/used", tag = "users", operation_id = "set_used_of_user",
    params(("user" = String, Path, description = "The user."), OfTenant), request_body = SetUsed,
    responses((status = 200, description = "What was changed.", body = ChangeView)))]
pub(super) async fn set_used(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    InPath(user): InPath<UserId>,
    Query(asked): Query<OfTenant>,
    write: Write<SetUsed>,
) -> Written {
    let tenant = caller.tenant(&served, asked.tenant.as_deref())?;
    subject::set_used(Subject::User { tenant, user }, write).await
}

/// Gives units back, in the windows of an attempt where it is named, to user and tenant.
#[utoipa::path(post, path = "/users/{user}/refund", tag = "users", operation_id = "refund_user",
    params(("user" = String, Path, description = "The user."), OfTenant), request_body = Refund,
    responses((status = 200, description = "What was changed.", body = ChangesView)))]
pub(super) async fn refund(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    InPath(user): InPath<UserId>,
    Query(asked): Query<OfTenant>,
    Write { intent, body }: Write<Refund>,
) -> Written {
    let tenant = caller.tenant(&served, asked.tenant.as_deref())?;
    let requester = Requester { tenant, user };
    let amount = body.units()?;
    let attempt = body.attempt()?;
    let Refund { quota, reason, .. } = body;
    let act = async move |served: Served, doing| {
        let administration = served.administration();
        let done = administration.refund(&requester, &quota.0, amount, attempt, &doing);
        let changes = done.await.map_err(Problem::in_body_at("/event"))?;
        Ok(Done::ok(&ChangesView::from(changes)))
    };
    intent.perform(reason, act).await
}

/// Gives a user another plan.
#[utoipa::path(put, path = "/users/{user}/plan", tag = "users", operation_id = "assign_to_user",
    params(("user" = String, Path, description = "The user."), OfTenant), request_body = Assign,
    responses((status = 200, description = "How it stands then.", body = SubjectView)))]
pub(super) async fn assign(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    InPath(user): InPath<UserId>,
    Query(asked): Query<OfTenant>,
    write: Write<Assign>,
) -> Written {
    let tenant = caller.tenant(&served, asked.tenant.as_deref())?;
    subject::assign(Subject::User { tenant, user }, write).await
}

/// Why a person is forgotten.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ForgetParameters {
    /// The tenant, or `-` for users without one; required where tokens name tenants.
    #[param(example = "-", min_length = 1, max_length = 256)]
    tenant: Option<String>,
    /// Why.
    #[param(inline)]
    reason: PlainText,
}

/// How many records were changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Forgotten {
    /// How many records were pseudonymised.
    records: u64,
}

/// Forgets a person: records are pseudonymised, sums stay.
#[utoipa::path(delete, path = "/users/{user}", tag = "users", operation_id = "forget_user",
    params(("user" = String, Path, description = "The user."), ForgetParameters),
    responses((status = 200, description = "The person is forgotten.", body = Forgotten)))]
pub(super) async fn forget(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    InPath(user): InPath<UserId>,
    Query(asked): Query<ForgetParameters>,
    intent: Intent,
) -> Written {
    let tenant = caller.tenant(&served, asked.tenant.as_deref())?;
    let requester = Requester { tenant, user };
    let act = async move |served: Served, doing| {
        let done = served.administration().forget(&requester, &doing).await;
        let records = done.map_err(Problem::in_query)?;
        Ok(Done::ok(&Forgotten { records }))
    };
    intent.perform(asked.reason, act).await
}

/// How many users have another plan.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssignedMany {
    /// How many users have the plan now that did not before, or would.
    assigned: u64,
    /// Whether nothing was changed.
    dry_run: bool,
}

/// Gives many users another plan, and counts them.
#[utoipa::path(post, path = "/plan-assignments", tag = "users", operation_id = "assign_to_many",
    params(OfTenant), request_body = AssignMany,
    responses((status = 200, description = "How many they are.", body = AssignedMany)))]
pub(super) async fn assign_many(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<OfTenant>,
    Write { intent, body }: Write<AssignMany>,
) -> Written {
    let tenant = caller.tenant(&served, asked.tenant.as_deref())?;
    let whom = body.whom(&served)?;
    if let Whom::WithPlan(plan) = &whom {
        let known = served.administration().check_plan(plan);
        known.map_err(|error| Problem::field("/where/plan", error.to_string()))?;
    }
    let change = body.change();
    let dry_run = body.dry_run;
    let act = async move |served: Served, doing| {
        let administration = served.administration();
        let done = administration.assign_many(tenant.as_ref(), &whom, &change, dry_run, &doing);
        let assigned = done.await.map_err(Problem::in_body)?;
        Ok(Done::ok(&AssignedMany { assigned, dry_run }))
    };
    intent.perform(body.reason, act).await
}

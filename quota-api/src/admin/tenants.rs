//! Tenants as a whole.

use axum::{Extension, Json, extract::State};
use http::HeaderMap;
use quota_store::{Subject, TenantId};

use super::{
    bodies::{Adjust, Assign, RefundTenant, Reset, SetUsed, at_least_one},
    subject,
};
use crate::{
    access::Caller,
    api::Served,
    input::{InPath, Nothing, Query},
    language,
    problem::Problem,
    view::{ChangeView, ChangesView, CounterStatus, SubjectView},
    write::{Answer, Done, Write, Written},
};

/// How a tenant as a whole stands: plan, overrides, every counter.
#[utoipa::path(get, path = "/tenants/{tenant}", tag = "tenants", operation_id = "show_tenant",
    params(("tenant" = String, Path, description = "The tenant.")),
    responses((status = 200, description = "How it stands.", body = SubjectView)))]
pub(super) async fn show(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    InPath(tenant): InPath<TenantId>,
    Query(Nothing {}): Query<Nothing>,
    headers: HeaderMap,
) -> Answer<SubjectView> {
    caller.check(Some(&tenant))?;
    let found = served.administration().tenant(&tenant).await;
    let standing = found.map_err(Problem::in_query)?;
    let settings = served.settings();
    let language = language::choose(&headers, &settings.locales);
    let view = SubjectView::new(Some(&tenant), None, standing, language);
    Ok(Json(view))
}

/// Sets what a tenant as a whole used of flow quotas to zero; reservations and stocks stay.
#[utoipa::path(post, path = "/tenants/{tenant}/reset", tag = "tenants",
    operation_id = "reset_tenant",
    params(("tenant" = String, Path, description = "The tenant.")), request_body = Reset,
    responses((status = 200, description = "What was changed.", body = ChangesView)))]
pub(super) async fn reset(
    Extension(caller): Extension<Caller>,
    InPath(tenant): InPath<TenantId>,
    Query(Nothing {}): Query<Nothing>,
    write: Write<Reset>,
) -> Written {
    caller.check(Some(&tenant))?;
    subject::reset(Subject::Tenant(tenant), write).await
}

/// Gives a tenant as a whole another limit than its plan's, or the plan's again.
#[utoipa::path(put, path = "/tenants/{tenant}/adjust", tag = "tenants",
    operation_id = "adjust_tenant",
    params(("tenant" = String, Path, description = "The tenant.")), request_body = Adjust,
    responses((status = 200, description = "How the counter stands.", body = CounterStatus)))]
pub(super) async fn adjust(
    Extension(caller): Extension<Caller>,
    InPath(tenant): InPath<TenantId>,
    Query(Nothing {}): Query<Nothing>,
    write: Write<Adjust>,
) -> Written {
    caller.check(Some(&tenant))?;
    subject::adjust(Subject::Tenant(tenant), write).await
}

/// Sets what a tenant as a whole used.
#[utoipa::path(put, path = "/tenants/{tenant}/used", tag = "tenants",
    operation_id = "set_used_of_tenant",
    params(("tenant" = String, Path, description = "The tenant.")), request_body = SetUsed,
    responses((status = 200, description = "What was changed.", body = ChangeView)))]
pub(super) async fn set_used(
    Extension(caller): Extension<Caller>,
    InPath(tenant): InPath<TenantId>,
    Query(Nothing {}): Query<Nothing>,
    write: Write<SetUsed>,
) -> Written {
    caller.check(Some(&tenant))?;
    subject::set_used(Subject::Tenant(tenant), write).await
}

/// Gives units back to a tenant as a whole, in the present windows.
#[utoipa::path(post, path = "/tenants/{tenant}/refund", tag = "tenants",
    operation_id = "refund_tenant",
    params(("tenant" = String, Path, description = "The tenant.")), request_body = RefundTenant,
    responses((status = 200, description = "What was changed.", body = ChangesView)))]
pub(super) async fn refund(
    Extension(caller): Extension<Caller>,
    InPath(tenant): InPath<TenantId>,
    Query(Nothing {}): Query<Nothing>,
    Write { intent, body }: Write<RefundTenant>,
) -> Written {
    caller.check(Some(&tenant))?;
    let amount = at_least_one(body.amount)?;
    let RefundTenant { quota, reason, .. } = body;
    let act = async move |served: Served, doing| {
        let administration = served.administration();
        let done = administration.refund_tenant(&tenant, &quota.0, amount, &doing);
        let changes = done.await.map_err(Problem::in_body)?;
        Ok(Done::ok(&ChangesView::from(changes)))
    };
    intent.perform(reason, act).await
}

/// Gives a tenant another plan.
#[utoipa::path(put, path = "/tenants/{tenant}/plan", tag = "tenants",
    operation_id = "assign_to_tenant",
    params(("tenant" = String, Path, description = "The tenant.")), request_body = Assign,
    responses((status = 200, description = "How it stands then.", body = SubjectView)))]
pub(super) async fn assign(
    Extension(caller): Extension<Caller>,
    InPath(tenant): InPath<TenantId>,
    Query(Nothing {}): Query<Nothing>,
    write: Write<Assign>,
) -> Written {
    caller.check(Some(&tenant))?;
    subject::assign(Subject::Tenant(tenant), write).await
}

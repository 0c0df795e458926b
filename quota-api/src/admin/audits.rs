//! What administrators did.

use axum::{Extension, Json, extract::State};
use quota_store::{
    UnixMillis,
    ledger::{AuditCursor, AuditQuery, Target},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    access::Caller,
    api::Served,
    input::{PlainText, PlanWord, Query, Size, When, user, whole_span},
    page::List,
    problem::Problem,
    view::{AuditView, Listed},
    write::Answer,
};

/// Which acts are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParameters {
    /// The tenant, or `-` for what is about none; required where tokens name tenants.
    #[param(example = "-", min_length = 1, max_length = 256)]
    tenant: Option<String>,
    /// Only what changed this user.
    #[param(min_length = 1)]
    user: Option<String>,
    /// Only what changed this plan.
    #[param(inline)]
    plan: Option<PlanWord>,
    /// Only what changed the tenant as a whole, or the installation.
    #[param(inline)]
    target: Option<TargetWord>,
    /// Only by this administrator.
    #[param(inline)]
    actor: Option<PlainText>,
    /// Only this action.
    #[param(inline)]
    action: Option<PlainText>,
    /// From when on; by default from the beginning.
    #[param(inline)]
    from: Option<When>,
    /// Until when; by default until now.
    #[param(inline)]
    to: Option<When>,
    /// How many rows at most.
    #[serde(default)]
    #[param(inline, required = false)]
    limit: Size,
    /// `next_cursor` of the page before.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// What was changed, where it has no name.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TargetWord {
    /// The tenant as a whole.
    Tenant,
    /// Something of the installation.
    Installation,
}

/// Who changed what, before, after, why; the latest first.
#[utoipa::path(get, path = "/audit-log", tag = "records", operation_id = "list_audits",
    params(AuditParameters),
    responses((status = 200, description = "A page of acts.", body = Listed<AuditView>)))]
pub(super) async fn list(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    list: List,
    Query(asked): Query<AuditParameters>,
) -> Answer<Listed<AuditView>> {
    let place: Option<(u64, Uuid)> = list.place(asked.cursor.as_deref())?;
    let query = AuditQuery {
        tenant: caller.tenant(&served, asked.tenant.as_deref())?,
        target: asked.target(&served)?,
        actor: asked.actor.map(|PlainText(actor)| actor),
        action: asked.action.map(|PlainText(action)| action),
        span: whole_span(asked.from, asked.to)?,
        after: place.map(|(at, id)| AuditCursor {
            at: UnixMillis::new(at),
            id,
        }),
        limit: asked.limit.0,
    };
    let ledger = served
        .administration()
        .ledger()
        .map_err(Problem::in_query)?;
    let page = ledger.audits(&query).await?;
    let next = page.next.map(|next| (next.at.get(), next.id));
    Ok(Json(Listed {
        items: page.rows.into_iter().map(Into::into).collect(),
        next_cursor: list.cursor(next),
    }))
}

impl AuditParameters {
    fn target(&self, served: &Served) -> Result<Option<Target>, Problem> {
        match (&self.user, &self.plan, self.target) {
            (None, None, None) => Ok(None),
            (Some(id), None, None) => user(id, &served.settings())
                .map(|user| Some(Target::User(user)))
                .map_err(|detail| Problem::parameter("user", detail)),
            (None, Some(plan), None) => Ok(Some(Target::Plan(plan.0.clone()))),
            (None, None, Some(TargetWord::Tenant)) => Ok(Some(Target::Tenant)),
            (None, None, Some(TargetWord::Installation)) => Ok(Some(Target::Installation)),
            _ => Err(Problem::parameter(
                "target",
                "Give one of `user`, `plan` and `target`, not several.",
            )),
        }
    }
}

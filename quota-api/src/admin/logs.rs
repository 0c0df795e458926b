//! The usage log.

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use quota_store::{
    ReservationId, UnixMillis,
    ledger::{LogCursor, LogQuery, Outcome},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{OfTenant, export};
use crate::{
    access::Caller,
    api::Served,
    input::{InPath, OutcomeWord, Query, QueryWithTags, QuotaWord, Size, When, user, whole_span},
    page::List,
    problem::Problem,
    view::{AttemptView, HistoryView, Listed},
    write::Answer,
};

/// Which attempts are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogParameters {
    /// The tenant, or `-` for users without one; required where tokens name tenants.
    #[param(example = "-", min_length = 1, max_length = 256)]
    tenant: Option<String>,
    /// Only this user's.
    #[param(min_length = 1)]
    user: Option<String>,
    /// Only what asked for this quota.
    #[param(inline)]
    quota: Option<QuotaWord>,
    /// Only with this outcome.
    #[param(inline)]
    outcome: Option<OutcomeWord>,
    /// Only of this rule, as it stands in the configuration.
    #[param(example = "POST /api/v1/chat")]
    route: Option<String>,
    /// From when on; by default from the beginning.
    #[param(inline)]
    from: Option<When>,
    /// Until when; by default until now.
    #[param(inline)]
    to: Option<When>,
    /// How many rows at most: 50 where it is left out. A CSV has up to 100000 then; where there are
    /// more, its last row says so in `id`.
    #[param(inline)]
    limit: Option<Size>,
    /// `next_cursor` of the page before.
    #[param(min_length = 1)]
    cursor: Option<String>,
    /// The form: `json` where it is left out.
    #[serde(default)]
    #[param(inline, required = false)]
    format: FormatWord,
}

/// The form of a list.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FormatWord {
    /// JSON.
    #[default]
    Json,
    /// Comma-separated values, for spreadsheets.
    Csv,
}

/// A place in the log, as cursors have it.
type Place = (u64, Uuid, String);

/// One row for each attempt, failures included; the latest first.
#[utoipa::path(get, path = "/usage-logs", tag = "records", operation_id = "list_usage_logs",
    params(LogParameters),
    responses((status = 200, description = "A page of attempts, or all as CSV.", content(
        (Listed<AttemptView> = "application/json"), (String = "text/csv")))))]
pub(super) async fn list(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    list: List,
    QueryWithTags {
        parameters: asked,
        tags,
    }: QueryWithTags<LogParameters>,
) -> Result<Response, Problem> {
    let place = list.place(asked.cursor.as_deref())?;
    let settings = served.settings();
    let id = asked.user.as_deref().map(|id| user(id, &settings));
    let query = LogQuery {
        tenant: caller.tenant(&served, asked.tenant.as_deref())?,
        user: id
            .transpose()
            .map_err(|detail| Problem::parameter("user", detail))?,
        quota: asked.quota.map(|quota| quota.0),
        outcome: asked.outcome.map(|outcome| outcome.0.0),
        rule: asked.route,
        tags,
        span: whole_span(asked.from, asked.to)?,
        after: place.map(cursor).transpose()?,
        limit: asked.limit.unwrap_or_default().0,
    };
    let administration = served.administration();
    if let Some(quota) = &query.quota {
        administration
            .check_quota(quota)
            .map_err(Problem::in_query)?;
    }
    let ledger = administration.ledger().map_err(Problem::in_query)?;
    match asked.format {
        FormatWord::Json => {
            let page = ledger.log(&query).await?;
            let next = page.next.map(place_of);
            let listed = Listed::<AttemptView> {
                items: page.rows.into_iter().map(Into::into).collect(),
                next_cursor: list.cursor(next),
            };
            Ok(Json(listed).into_response())
        }
        FormatWord::Csv => {
            let rows = asked.limit.map(|Size(rows)| rows);
            export::csv(ledger.clone(), query, rows).await
        }
    }
}

fn place_of(cursor: LogCursor) -> Place {
    let outcome = cursor.outcome.as_str().to_owned();
    (cursor.at.get(), cursor.id.as_uuid(), outcome)
}

fn cursor((at, id, outcome): Place) -> Result<LogCursor, Problem> {
    let outcome: Result<Outcome, _> = outcome.parse();
    let bad = |_| {
        Problem::parameter(
            "cursor",
            "It is none: take `next_cursor` of the page before.",
        )
    };
    Ok(LogCursor {
        at: UnixMillis::new(at),
        id: ReservationId::from(id),
        outcome: outcome.map_err(bad)?,
    })
}

/// One attempt: the decision as it was, and what it changed.
#[utoipa::path(get, path = "/usage-logs/{id}", tag = "records", operation_id = "show_usage_log",
    params(("id" = String, Path, format = "uuid",
        description = "Its id, which is `instance` in refusals."), OfTenant),
    responses((status = 200, description = "The attempt.", body = HistoryView)))]
pub(super) async fn show(
    State(served): State<Served>,
    Extension(caller): Extension<Caller>,
    InPath(id): InPath<ReservationId>,
    Query(asked): Query<OfTenant>,
) -> Answer<HistoryView> {
    let tenant = caller.tenant(&served, asked.tenant.as_deref())?;
    let ledger = served
        .administration()
        .ledger()
        .map_err(Problem::in_query)?;
    let found = ledger.attempt(tenant.as_ref(), id).await?;
    let history = found.ok_or_else(Problem::not_found)?;
    Ok(Json(HistoryView::new(id, history)))
}

//! How a user stands.

use axum::{Json, extract::State};
use http::HeaderMap;

use crate::{
    api::Served,
    identity::Identified,
    input::{Nothing, Query},
    language,
    problem::Problem,
    view::StatusView,
    write::Answer,
};

/// Your plan, and how every quota of yours stands.
#[utoipa::path(get, path = "/quota/status", tag = "user", operation_id = "show_status",
    responses((status = 200, description = "How you stand.", body = StatusView)))]
pub(super) async fn show(
    State(served): State<Served>,
    Identified {
        identity,
        requester,
    }: Identified,
    Query(Nothing {}): Query<Nothing>,
    headers: HeaderMap,
) -> Answer<StatusView> {
    let administration = served.administration();
    let found = administration.user(&requester, Some(&identity)).await;
    let standing = found.map_err(Problem::in_query)?;
    let settings = served.settings();
    let language = language::choose(&headers, &settings.locales);
    let upgrade_url = settings.upgrade_url.clone();
    Ok(Json(StatusView::new(
        &requester,
        standing,
        upgrade_url,
        language,
    )))
}

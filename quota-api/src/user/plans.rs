//! The plans that people can choose.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quota_layer::administration::PlanView;
use quota_store::{PlanName, Visible};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::{
    api::Served,
    input::{InPath, Nothing, PlanWord, Query},
    language,
    problem::Problem,
    view::{PublicPlanView, is_enabled},
};

/// How long anybody may keep it without asking again.
const CACHE_CONTROL: &str = "public, max-age=60";

/// The plans that people can choose.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Plans {
    /// In the order that people are shown them.
    plans: Vec<PublicPlanView>,
}

/// The plans that people can choose, in order. It needs no token.
#[utoipa::path(get, path = "/quota/plans", tag = "user", operation_id = "list_plans",
    responses((status = 200, description = "The plans.", body = Plans),
        (status = 304, description = "As `If-None-Match` has it.")))]
pub(super) async fn list(
    State(served): State<Served>,
    Query(Nothing {}): Query<Nothing>,
    headers: HeaderMap,
) -> Response {
    let settings = served.settings();
    let language = language::choose(&headers, &settings.locales);
    let plans = served.administration().plans();
    let offered = plans.iter().filter(|view| is_offered(view));
    let plans = offered
        .map(|view| PublicPlanView::new(view, language))
        .collect();
    answer(&headers, language, &Plans { plans })
}

/// One of them. It needs no token.
#[utoipa::path(get, path = "/quota/plans/{plan}", tag = "user", operation_id = "show_plan",
    params(("plan" = inline(PlanWord), Path, description = "The plan.")),
    responses((status = 200, description = "The plan.", body = PublicPlanView),
        (status = 304, description = "As `If-None-Match` has it.")))]
pub(super) async fn show(
    State(served): State<Served>,
    InPath(name): InPath<PlanName>,
    Query(Nothing {}): Query<Nothing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let settings = served.settings();
    let language = language::choose(&headers, &settings.locales);
    let plans = served.administration().plans();
    let offered = plans
        .iter()
        .find(|view| view.plan.name == name && is_offered(view));
    let view = offered.ok_or_else(Problem::not_found)?;
    Ok(answer(
        &headers,
        language,
        &PublicPlanView::new(view, language),
    ))
}

/// Whether people can choose it.
pub(super) fn is_offered(view: &PlanView) -> bool {
    view.plan.display.visible == Visible::Shown && is_enabled(&view.plan)
}

/// A body that may be kept, or that it has not changed.
fn answer(asked: &HeaderMap, language: &str, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let digest = Sha256::digest(&body);
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..12]));
    let is_known = asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().trim_start_matches("W/") == tag || one.trim() == "*");
    let text = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("en"));
    let headers = [
        (header::ETAG, text(&tag)),
        (header::CACHE_CONTROL, text(CACHE_CONTROL)),
        (header::CONTENT_LANGUAGE, text(language)),
        (header::VARY, text("Accept-Language")),
    ];
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let json = [(header::CONTENT_TYPE, text("application/json"))];
    (headers, json, body).into_response()
}

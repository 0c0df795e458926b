//! The wish for another plan.

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quota_store::PlanName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::plans::is_offered;
use crate::{
    api::Served,
    identity::Identified,
    input::{Nothing, PlanWord, Query},
    problem::Problem,
    write::read_json,
};

/// Which plan is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upgrade {
    /// One of `GET /quota/plans`.
    plan: PlanWord,
}

/// Where to go.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Checkout {
    /// Where the plan can be bought.
    #[schema(format = "uri")]
    checkout_url: String,
}

/// Asks for another plan. It changes nothing by itself.
#[utoipa::path(post, path = "/quota/upgrade", tag = "user", operation_id = "ask_for_upgrade",
    request_body = Upgrade,
    responses((status = 202, description = "Where to go, or what the application answers.",
        body = Checkout)))]
pub(super) async fn ask(
    State(served): State<Served>,
    Identified { identity, .. }: Identified,
    Query(Nothing {}): Query<Nothing>,
    request: Request,
) -> Result<Response, Problem> {
    let Upgrade { plan } = read_json(request).await?;
    let plans = served.administration().plans();
    let is_it = |name: &PlanName| {
        plans
            .iter()
            .any(|view| view.plan.name == *name && is_offered(view))
    };
    if !is_it(&plan.0) {
        let detail = "There is no such plan to choose; GET /quota/plans lists them.";
        return Err(Problem::field("/plan", detail));
    }
    if let Some(hook) = served.on_upgrade() {
        return Ok(hook.answer(identity, plan.0).await);
    }
    let url = served.settings().upgrade_url.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no_upgrade",
            "Plans can't be bought here.",
        )
    })?;
    let checkout_url = with_plan(&url, &plan.0);
    Ok((StatusCode::ACCEPTED, Json(Checkout { checkout_url })).into_response())
}

/// The address with the plan as a parameter more.
fn with_plan(url: &str, plan: &PlanName) -> String {
    let (address, fragment) = match url.split_once('#') {
        Some((address, fragment)) => (address, format!("#{fragment}")),
        None => (url, String::new()),
    };
    let separator = match address.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    let plan = utf8_percent_encode(plan.as_str(), NON_ALPHANUMERIC);
    format!("{address}{separator}plan={plan}{fragment}").replace("%5F", "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_one_parameter_more() {
        let plan = "very_big".parse().unwrap();
        let check = |url: &str, expected: &str| assert_eq!(with_plan(url, &plan), expected);
        check("https://a.example/p", "https://a.example/p?plan=very_big");
        check(
            "https://a.example/p?b=1#c",
            "https://a.example/p?b=1&plan=very_big#c",
        );
        check("https://a.example/?", "https://a.example/?plan=very_big");
    }
}

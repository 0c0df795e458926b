//! The admin API: `/admin/quotas/...`.

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::any};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, openapi::OpenApi};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{access, api::Served, headers, input::BODY_BYTES_MAX, openapi, problem::Problem};

mod audits;
mod bodies;
mod export;
mod health;
mod logs;
mod plans;
mod statistics;
mod subject;
mod tenants;
mod users;

pub(crate) use self::bodies::{ExpiresField, LimitField};

/// Where the admin API is.
pub(crate) const PREFIX: &str = "/admin/quotas";

/// Of which tenant something is.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfTenant {
    /// The tenant, or `-` for what has none; required where tokens name tenants.
    #[param(example = "-", min_length = 1, max_length = 256)]
    pub(crate) tenant: Option<String>,
}

/// All routes of it, and a refusal for everything else below it.
pub(crate) fn router(served: &Served) -> OpenApiRouter {
    let routes = OpenApiRouter::new()
        .routes(routes!(users::list))
        .routes(routes!(users::show, users::forget))
        .routes(routes!(users::reset))
        .routes(routes!(users::adjust))
        .routes(routes!(users::set_used))
        .routes(routes!(users::refund))
        .routes(routes!(users::assign))
        .routes(routes!(users::assign_many))
        .routes(routes!(tenants::show))
        .routes(routes!(tenants::reset))
        .routes(routes!(tenants::adjust))
        .routes(routes!(tenants::set_used))
        .routes(routes!(tenants::refund))
        .routes(routes!(tenants::assign))
        .routes(routes!(plans::list, plans::create))
        .routes(routes!(plans::show, plans::replace, plans::remove))
        .routes(routes!(plans::set_default))
        .routes(routes!(logs::list))
        .routes(routes!(logs::show))
        .routes(routes!(statistics::show))
        .routes(routes!(audits::list))
        .routes(routes!(health::show));
    let (routes, document) = routes.split_for_parts();
    let document = OpenApi::default().nest(PREFIX, document);
    let described = openapi::finished(document.clone(), &served.settings());
    let routes = routes
        .merge(openapi::route(&described))
        .method_not_allowed_fallback(headers::method_not_allowed)
        .fallback(not_found);
    let guard = middleware::from_fn_with_state(served.clone(), access::guard);
    let private = middleware::map_response(headers::private);
    // A nested router is not asked for its prefix with a slash behind it.
    let slash = any(not_found).layer(guard.clone()).layer(private.clone());
    let routes = routes
        .layer(guard)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(private);
    // Layers around all of it would become those of the application's own fallback.
    let routes = Router::new()
        .nest(PREFIX, routes)
        .route(&format!("{PREFIX}/"), slash)
        .with_state(served.clone());
    OpenApiRouter::with_openapi(document).merge(OpenApiRouter::from(routes))
}

async fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_route",
        "The admin API has no such path; GET /openapi.json describes it.",
    )
}

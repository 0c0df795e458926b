//! The user API: `/quota/...`, for whoever sends the token.

use axum::{extract::DefaultBodyLimit, middleware};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{api::Served, headers, input::BODY_BYTES_MAX};

mod plans;
mod status;
mod upgrade;
mod usage;

/// All routes of it.
pub(crate) fn router(served: Served) -> OpenApiRouter {
    let (routes, document) = OpenApiRouter::new()
        .routes(routes!(status::show))
        .routes(routes!(usage::show))
        .routes(routes!(plans::list))
        .routes(routes!(plans::show))
        .routes(routes!(upgrade::ask))
        .split_for_parts();
    let routes = routes
        .method_not_allowed_fallback(headers::method_not_allowed)
        // Where it is merged into an application, the rest is the application's own.
        .route_layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .route_layer(middleware::map_response(headers::private))
        .with_state(served);
    OpenApiRouter::with_openapi(document).merge(OpenApiRouter::from(routes))
}

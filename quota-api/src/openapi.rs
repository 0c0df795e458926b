//! The description of both APIs, made from the code that serves them.

use axum::{Router, response::IntoResponse, routing::get};
use http::{HeaderValue, header};
use quota_layer::administration::Settings;
use utoipa::ToSchema as _;
use utoipa::openapi::{
    Components, Content, InfoBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder,
    SecurityRequirement,
    path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
    schema::{ObjectBuilder, Type},
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    tag::TagBuilder,
};

use crate::{headers, problem::ProblemBody};

const BEARER: &str = "bearer";
const ADMIN_TOKEN: &str = "admin_token";

/// What can go wrong with any request, by status.
const ALWAYS: [(&str, &str); 5] = [
    ("400", "A parameter can't be used; `parameter` names it."),
    ("401", "Nobody is identified."),
    (
        "404",
        "There is nothing of that name, or you may not see it.",
    ),
    (
        "429",
        "Too many wrong admin tokens were sent, or the application's own limits.",
    ),
    ("503", "A store can't be asked at the moment."),
];

/// What can go wrong with a body as well.
const WITH_A_BODY: [(&str, &str); 3] = [
    ("413", "The body is larger than 1 MiB."),
    ("415", "The body is not JSON."),
    ("422", "The body can't be used; `field` points into it."),
];

/// What can go wrong for administrators only.
const ADMINISTERING: (&str, &str) = ("403", "You may not do that.");

/// What can go wrong with changes.
const CHANGING: (&str, &str) = ("409", "It contradicts what is there, or still runs.");

/// `GET /openapi.json` with this description.
pub(crate) fn route<S: Clone + Send + Sync + 'static>(document: &OpenApi) -> Router<S> {
    let text = document.to_json().unwrap_or_default();
    let answer = async move || {
        let json = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, json)], text).into_response()
    };
    Router::new()
        .route("/openapi.json", get(answer))
        .method_not_allowed_fallback(headers::method_not_allowed)
}

/// The description with what all routes have in common.
pub(crate) fn finished(mut document: OpenApi, settings: &Settings) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("Quotas")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "What users may use, what they used, and who may change it. Times are in RFC 3339, \
             amounts are whole numbers.",
        ))
        .build();
    document.tags = Some(tags());
    describe_components(document.components.get_or_insert_default());
    for (path, item) in &mut document.paths.paths {
        for (kind, operation) in operations(item) {
            describe(path, kind, operation, settings);
        }
    }
    document
}

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reads,
    Changes,
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Kind, &mut Operation)> {
    let read = item.get.as_mut().map(|operation| (Kind::Reads, operation));
    let changes = [&mut item.put, &mut item.post, &mut item.delete];
    let changes = changes.into_iter().filter_map(Option::as_mut);
    read.into_iter()
        .chain(changes.map(|operation| (Kind::Changes, operation)))
}

fn describe(path: &str, kind: Kind, operation: &mut Operation, settings: &Settings) {
    let is_admin = path.starts_with(crate::admin::PREFIX);
    let is_public = path.starts_with("/quota/plans");
    let mut problems = ALWAYS.to_vec();
    if operation.request_body.is_some() {
        problems.extend(WITH_A_BODY);
    }
    let parameters = operation.parameters.get_or_insert_default();
    if is_admin {
        problems.push(ADMINISTERING);
        if kind == Kind::Changes {
            problems.extend([CHANGING, WITH_A_BODY[0], WITH_A_BODY[2]]);
            parameters.push(RefOr::T(idempotency_key().build()));
        }
    }
    if settings.has_tenants {
        require_tenant(parameters);
    }
    if path.ends_with("/usage-logs") {
        parameters.extend(
            settings
                .tags
                .iter()
                .map(|tag| RefOr::T(with_tag(tag).build())),
        );
    }
    if parameters.is_empty() {
        operation.parameters = None;
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in problems {
        responses
            .entry(status.to_owned())
            .or_insert_with(|| problem(description).into());
    }
    let schemes: &[&str] = match (is_public, is_admin) {
        (true, _) => &[],
        (_, true) => &[ADMIN_TOKEN, BEARER],
        (_, false) => &[BEARER],
    };
    let security = schemes.iter();
    let security = security.map(|scheme| SecurityRequirement::new(*scheme, [""; 0]));
    operation.security = Some(security.collect());
}

/// Where tokens name tenants, administrators must.
fn require_tenant(parameters: &mut [RefOr<Parameter>]) {
    for parameter in parameters {
        if let RefOr::T(parameter) = parameter
            && parameter.name == "tenant"
        {
            parameter.required = Required::True;
        }
    }
}

fn idempotency_key() -> ParameterBuilder {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(255))
        .pattern(Some("^[!-~]+$"));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "Makes it safe to send this again for 24 hours: it is done once, and the same answer \
             comes again with `Idempotency-Replayed: true`.",
        ))
        .schema(Some(schema))
}

fn with_tag(tag: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(format!("tag.{tag}"))
        .parameter_in(ParameterIn::Query)
        .description(Some("Only with this value of the tag."))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name(ProblemBody::name());
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", Content::new(Some(schema)))
        .build()
}

fn describe_components(components: &mut Components) {
    components.schemas.insert(
        ProblemBody::name().into_owned(),
        <ProblemBody<'_> as utoipa::PartialSchema>::schema(),
    );
    components.add_security_scheme(
        ADMIN_TOKEN,
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
            "X-Admin-Token",
            "One of the tokens in `[admin]`.",
        ))),
    );
    components.add_security_scheme(
        BEARER,
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .description(Some(
                    "The user's token; one with a role in `[admin]` administers.",
                ))
                .build(),
        ),
    );
}

fn tags() -> Vec<utoipa::openapi::Tag> {
    [
        ("user", "For users themselves, with their own token."),
        ("users", "Users, their limits and what they used."),
        ("tenants", "Tenants as a whole."),
        ("plans", "Plans, of the file and of the database."),
        ("records", "What was charged, refused and changed."),
        ("health", "How the whole does."),
    ]
    .map(|(name, description)| {
        TagBuilder::new()
            .name(name)
            .description(Some(description))
            .build()
    })
    .into()
}

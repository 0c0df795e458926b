//! Ids and names in paths.

use axum::extract::{FromRef, FromRequestParts, RawPathParams};
use http::request::Parts;
use quota_layer::administration::Settings;
use quota_store::{PlanName, QuotaName, ReservationId, TenantId, UserId};
use uuid::Uuid;

use crate::{api::Served, problem::Problem};

/// The parameter of the path that is named like the type.
#[derive(Debug)]
pub(crate) struct InPath<T>(pub(crate) T);

/// What can stand in a path.
pub(crate) trait PathPart: Sized {
    const NAME: &'static str;

    fn parse(text: &str, settings: &Settings) -> Result<Self, String>;
}

impl<S, T> FromRequestParts<S> for InPath<T>
where
    S: Send + Sync,
    Served: FromRef<S>,
    T: PathPart,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let bad_text =
            || Problem::parameter(T::NAME, "It is not text in UTF-8: percent-encode it.");
        let all = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| bad_text())?;
        let text = all.iter().find(|(name, _)| *name == T::NAME);
        let (_, text) = text.ok_or_else(Problem::not_found)?;
        let settings = Served::from_ref(state).settings();
        T::parse(text, &settings)
            .map(Self)
            .map_err(|detail| Problem::parameter(T::NAME, detail))
    }
}

impl PathPart for UserId {
    const NAME: &'static str = "user";

    fn parse(text: &str, settings: &Settings) -> Result<Self, String> {
        user(text, settings)
    }
}

impl PathPart for TenantId {
    const NAME: &'static str = "tenant";

    fn parse(text: &str, settings: &Settings) -> Result<Self, String> {
        tenant(text, settings)
    }
}

impl PathPart for PlanName {
    const NAME: &'static str = "plan";

    fn parse(text: &str, _: &Settings) -> Result<Self, String> {
        text.parse().map_err(sentence)
    }
}

impl PathPart for QuotaName {
    const NAME: &'static str = "quota";

    fn parse(text: &str, _: &Settings) -> Result<Self, String> {
        text.parse().map_err(sentence)
    }
}

impl PathPart for ReservationId {
    const NAME: &'static str = "id";

    fn parse(text: &str, _: &Settings) -> Result<Self, String> {
        attempt(text)
    }
}

fn sentence(error: impl std::fmt::Display) -> String {
    format!("It can't be used: {error}.")
}

/// The id of an attempt.
pub(crate) fn attempt(text: &str) -> Result<ReservationId, String> {
    let text = text.strip_prefix("urn:uuid:").unwrap_or(text);
    Uuid::try_parse(text)
        .map(ReservationId::from)
        .map_err(|_| "It is not a UUID, such as `instance` in a refusal.".to_owned())
}

/// The id of a user, within the length that the configuration allows.
pub(crate) fn user(text: &str, settings: &Settings) -> Result<UserId, String> {
    // Clients without a token have ids of their own, longer ones too.
    let inner = text.strip_prefix(UserId::ANONYMOUS_PREFIX).unwrap_or(text);
    check(inner, settings)?;
    UserId::new(text).map_err(sentence)
}

/// The id of a tenant, within the length that the configuration allows.
pub(crate) fn tenant(text: &str, settings: &Settings) -> Result<TenantId, String> {
    check(text, settings)?;
    TenantId::new(text).map_err(sentence)
}

fn check(text: &str, settings: &Settings) -> Result<(), String> {
    if text.contains('\0') {
        return Err("An id holds no NUL character.".to_owned());
    }
    if text.len() > settings.max_id_bytes {
        return Err(format!(
            "It is longer than {} bytes, the `max_id_bytes` of the configuration.",
            settings.max_id_bytes
        ));
    }
    Ok(())
}

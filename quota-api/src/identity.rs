//! Who asks.

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use quota_layer::{QuotaIdentity, Unauthenticated};
use quota_store::Requester;

use crate::{api::Served, problem::Problem};

/// Who sends the token of a request, as the layer knows it.
#[derive(Debug)]
pub(crate) struct Identified {
    pub(crate) identity: QuotaIdentity,
    pub(crate) requester: Requester,
}

impl<S> FromRequestParts<S> for Identified
where
    S: Send + Sync,
    Served: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let served = Served::from_ref(state);
        let identity = served
            .administration()
            .identify(parts)
            .await
            .map_err(Problem::not_identified)?;
        let checked = identity.check(served.settings().max_id_bytes);
        let requester = checked
            .map_err(|invalid| {
                Problem::unauthenticated(Unauthenticated::Invalid(invalid.as_str()))
            })?
            .clone();
        Ok(Self {
            identity,
            requester,
        })
    }
}

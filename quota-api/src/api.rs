//! What the routes share.

use std::{fmt, future::Future, sync::Arc};

use axum::{Router, response::Response};
use futures_util::future::BoxFuture;
use quota_layer::{
    QuotaIdentity, QuotaLayer,
    administration::{Administration, Settings},
};
use quota_store::{PlanName, UnixMillis};

use crate::{access::Access, admin, openapi, user};

/// Builds the routers of one layer.
///
/// # Examples
///
/// An application that answers an upgrade itself instead of sending people to `upgrade_url`:
///
/// ```no_run
/// use axum::{Json, Router, response::IntoResponse};
/// use http::StatusCode;
/// use quota_api::Api;
/// use quota_layer::{QuotaIdentity, QuotaLayer};
/// use quota_store::PlanName;
///
/// async fn upgrade(who: QuotaIdentity, plan: PlanName) -> axum::response::Response {
///     let order = serde_json::json!({ "order": format!("{} for {}", plan, who.user()) });
///     (StatusCode::ACCEPTED, Json(order)).into_response()
/// }
///
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// let quota = QuotaLayer::from_file("quota.toml").await?;
/// let app: Router = Router::new()
///     .layer(quota.clone())
///     .merge(Api::new(&quota).on_upgrade(upgrade).router());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "an API does nothing until one of its routers is served"]
pub struct Api {
    layer: QuotaLayer,
    on_upgrade: Option<OnUpgrade>,
}

/// What the application does with a wish to upgrade.
#[derive(Clone)]
pub(crate) struct OnUpgrade(
    Arc<dyn Fn(QuotaIdentity, PlanName) -> BoxFuture<'static, Response> + Send + Sync>,
);

impl Api {
    /// The APIs of this layer.
    pub fn new(layer: &QuotaLayer) -> Self {
        Self {
            layer: layer.clone(),
            on_upgrade: None,
        }
    }

    /// Lets the application answer `POST /quota/upgrade`, for a plan that it may choose.
    pub fn on_upgrade<F, Fut>(mut self, answer: F) -> Self
    where
        F: Fn(QuotaIdentity, PlanName) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        self.on_upgrade = Some(OnUpgrade(Arc::new(move |who, plan| {
            Box::pin(answer(who, plan))
        })));
        self
    }

    /// Both APIs, and `GET /openapi.json`, which describes them.
    pub fn router(self) -> Router {
        let served = Served::new(self);
        let (user, mut document) = user::router(served.clone()).split_for_parts();
        let (admin, described) = admin::router(&served).split_for_parts();
        // An API that nobody may use is not described to everybody.
        if served.0.access.is_configured() {
            document.merge(described);
        }
        let described = openapi::route(&openapi::finished(document, &served.settings()));
        user.merge(admin).merge(described)
    }

    /// `/quota/...` alone.
    pub fn user_router(self) -> Router {
        user::router(Served::new(self)).split_for_parts().0
    }

    /// `/admin/quotas/...` alone.
    pub fn admin_router(self) -> Router {
        admin::router(&Served::new(self)).split_for_parts().0
    }
}

impl OnUpgrade {
    pub(crate) fn answer(
        &self,
        who: QuotaIdentity,
        plan: PlanName,
    ) -> BoxFuture<'static, Response> {
        (self.0)(who, plan)
    }
}

impl fmt::Debug for OnUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnUpgrade")
    }
}

/// The state of every route.
#[derive(Clone, Debug)]
pub(crate) struct Served(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    layer: QuotaLayer,
    administration: Administration,
    access: Access,
    on_upgrade: Option<OnUpgrade>,
}

impl Served {
    fn new(api: Api) -> Self {
        let administration = api.layer.administration();
        // `[admin]` needs a restart, so it is read once.
        let access = Access::new(&administration.settings().access);
        Self(Arc::new(Inner {
            layer: api.layer,
            administration,
            access,
            on_upgrade: api.on_upgrade,
        }))
    }

    pub(crate) fn administration(&self) -> &Administration {
        &self.0.administration
    }

    /// What of the configuration in force the routes need.
    pub(crate) fn settings(&self) -> Settings {
        self.0.administration.settings()
    }

    pub(crate) fn access(&self) -> &Access {
        &self.0.access
    }

    pub(crate) fn on_upgrade(&self) -> Option<&OnUpgrade> {
        self.0.on_upgrade.as_ref()
    }

    /// The time on the clock of the counter store, which also the ledger's records have.
    pub(crate) fn now(&self) -> UnixMillis {
        self.0.layer.now()
    }
}

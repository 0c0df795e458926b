//! What administrators, and users for themselves, can see and do.
//!
//! Everything here is atomic with requests in flight, and holds in every process from the moment it
//! is answered. It knows nothing of HTTP; `quota-api` serves it.

use std::sync::Arc;

use http::{Extensions, HeaderMap, header};
use quota_store::{directory::Directory, ledger::Ledger};

use crate::{
    QuotaIdentity, Unauthenticated, config::IdentityFrom, refusal::Refusal, shared::Shared,
};

mod adjust;
mod assign;
mod change;
mod counters;
mod health;
mod json;
mod many;
mod plans;
mod position;
mod refund;
mod rules;
mod standing;
mod switch;
mod users;
mod words;

pub use self::words::{
    AdjustTo, Adjustment, AdminAccess, AdminError, ChangeAt, ChangeRule, CounterChange, Doing,
    Expires, Health, HealthStatus, PlanChange, PlanStanding, PlanView, PutPlan, QuotaStanding,
    Settings, Standing, UserRow, UsersQuery, UsersSort, Whom,
};
pub(crate) use self::{
    change::{append, derived},
    counters::admin_posting,
    position::requester_of,
};

/// Sees and changes plans, limits and counters.
///
/// Clones share everything with the [`QuotaLayer`](crate::QuotaLayer) that gave it.
///
/// # Cancel safety
///
/// A change whose future is dropped may have taken effect in part; done again with the same
/// [`Doing::id`] it is completed, and takes effect once.
#[derive(Clone, Debug)]
pub struct Administration {
    shared: Arc<Shared>,
}

impl Administration {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What of the configuration those who serve people need.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let runtime = self.shared.runtime.load();
        let config = &runtime.config;
        Settings {
            has_tenants: match &config.identity.from {
                IdentityFrom::Jwt(jwt) => jwt.claims.tenant.is_some(),
                IdentityFrom::Application => config.identity.require_tenant,
            },
            upgrade_url: config.responses.upgrade_url.clone(),
            tags: DEFAULT_TAGS.map(str::to_owned).to_vec(),
            locales: vec!["en".to_owned()],
            access: config.admin.0.clone(),
            max_id_bytes: config.identity.max_id_bytes,
            revision: config.revision().to_owned(),
        }
    }

    /// Finds out who sends a request, as the layer does.
    ///
    /// # Errors
    ///
    /// [`Unauthenticated`] without a good token, or where the keys that could tell can't be
    /// fetched.
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<QuotaIdentity, Unauthenticated> {
        let runtime = self.shared.runtime.load_full();
        let config = &runtime.config.identity;
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let identified = runtime
            .identifier
            .identify(config, headers, extensions, host);
        let identity = identified.known().await.map_err(|refusal| match refusal {
            Refusal::Unauthenticated(why) => why,
            _ => Unauthenticated::Invalid("it can't be verified at the moment"),
        })?;
        let checked = identity.check(config.max_id_bytes).map(|_| ());
        checked.map_err(|invalid| Unauthenticated::Invalid(invalid.as_str()))?;
        Ok(identity)
    }

    /// The ledger.
    ///
    /// # Errors
    ///
    /// [`AdminError::NoLedger`].
    pub fn ledger(&self) -> Result<&Arc<dyn Ledger>, AdminError> {
        self.shared.ledger().ok_or(AdminError::NoLedger)
    }

    /// The directory.
    ///
    /// # Errors
    ///
    /// [`AdminError::NoLedger`].
    pub fn directory(&self) -> Result<&Arc<dyn Directory>, AdminError> {
        self.shared.stored().ok_or(AdminError::NoLedger)
    }
}

/// The names that tags have where the configuration does not say otherwise.
const DEFAULT_TAGS: [&str; 6] = ["goal", "task", "conversation", "model", "intent", "tools"];

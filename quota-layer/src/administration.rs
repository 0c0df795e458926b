//! What administrators, and users for themselves, can see and do.
//!
//! Everything here is atomic with requests in flight, and holds in every process from the moment it
//! is answered. It knows nothing of HTTP; `quota-api` serves it.

use std::sync::Arc;

use http::request::Parts;
use quota_store::{PlanName, QuotaName, Window, directory::Directory, ledger::Ledger};

use crate::{
    QuotaIdentity, Unauthenticated, config::IdentityFrom, refusal::Refusal, request, shared::Shared,
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
    Expires, Health, HealthStatus, NotIdentified, PlanChange, PlanStanding, PlanView, PutPlan,
    QuotaStanding, Settings, Standing, UserRow, UsersQuery, UsersSort, Whom,
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
                IdentityFrom::Application => true,
            },
            upgrade_url: config.responses.upgrade_url.clone(),
            tags: DEFAULT_TAGS.map(str::to_owned).to_vec(),
            locales: vec!["en".to_owned()],
            access: config.admin.0.clone(),
            max_id_bytes: config.identity.max_id_bytes,
            revision: config.revision().to_owned(),
        }
    }

    /// That the configuration has such a quota.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`], which names those that there are.
    pub fn check_quota(&self, quota: &QuotaName) -> Result<(), AdminError> {
        let quotas = &self.shared.runtime.load().config.quotas;
        let names = quotas.iter().map(|known| known.name.as_str());
        is_one_of("quota", quota.as_str(), names)
    }

    /// That there is such a plan.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`], which names those that there are.
    pub fn check_plan(&self, plan: &PlanName) -> Result<(), AdminError> {
        let plans = &self.shared.runtime.load().config.plans;
        let names = plans.iter().map(|known| known.name.as_str());
        is_one_of("plan", plan.as_str(), names)
    }

    /// That some plan counts in such a window, or somebody could.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`], which names those that there are.
    pub fn check_window(&self, window: Window) -> Result<(), AdminError> {
        let runtime = self.shared.runtime.load();
        let plans = runtime.config.plans.iter();
        let limits = plans.flat_map(|plan| plan.limits.iter().flat_map(|one| &one.limits));
        let mut windows: Vec<String> = limits.map(|limit| limit.window.to_string()).collect();
        windows.sort_unstable();
        windows.dedup();
        let names = windows.iter().map(String::as_str);
        is_one_of("window", &window.to_string(), names)
    }

    /// Finds out who sends a request, as the layer does.
    ///
    /// # Errors
    ///
    /// [`NotIdentified`] without a good token, and where the keys that could tell can't be fetched.
    pub async fn identify(&self, head: &Parts) -> Result<QuotaIdentity, NotIdentified> {
        let runtime = self.shared.runtime.load_full();
        let config = &runtime.config.identity;
        let host = request::host(&head.uri, &head.headers);
        let identified = runtime
            .identifier
            .identify(config, &head.headers, &head.extensions, host);
        let identity = identified.known().await.map_err(|refusal| match refusal {
            Refusal::Unauthenticated(why) => NotIdentified::Unauthenticated(why),
            Refusal::Unavailable {
                retry_after_seconds,
            } => NotIdentified::Unavailable {
                retry_after_seconds,
            },
            _ => NotIdentified::Unavailable {
                retry_after_seconds: 1,
            },
        })?;
        match identity.check(config.max_id_bytes) {
            Ok(_) => Ok(identity),
            Err(invalid) => Err(NotIdentified::Unauthenticated(Unauthenticated::Invalid(
                invalid.as_str(),
            ))),
        }
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

/// That a name is one of those that there are.
fn is_one_of<'a>(
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), AdminError> {
    let names: Vec<&str> = names.collect();
    if names.contains(&name) {
        return Ok(());
    }
    Err(AdminError::Invalid {
        field: what.to_owned(),
        problem: format!(
            "there is no {what} `{name}`; there are: {}",
            names.join(", ")
        ),
    })
}

/// The names that tags have where the configuration does not say otherwise.
const DEFAULT_TAGS: [&str; 6] = ["goal", "task", "conversation", "model", "intent", "tools"];

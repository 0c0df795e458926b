//! Who makes a request.
//!
//! [`QuotaIdentity`] is the answer. [`JwtIdentity`] finds it in a request's bearer token; an
//! application that knows its users already puts one into the request's extensions instead.

mod settings;
mod unauthenticated;

#[cfg(feature = "jwt")]
mod bearer;
#[cfg(feature = "jwt")]
mod cache;
#[cfg(feature = "jwt")]
mod claims;
#[cfg(feature = "jwt")]
mod error;
#[cfg(feature = "jwks")]
mod jwks;
#[cfg(feature = "jwt")]
mod jwt;
#[cfg(feature = "jwt")]
mod keys;
#[cfg(test)]
#[cfg(feature = "jwt")]
mod test_tokens;

use std::{fmt, sync::Arc};

use quota_store::{Requester, TenantId, UserId};

#[cfg(feature = "jwt")]
pub(crate) use bearer::token as bearer_token;
#[cfg(feature = "jwt")]
pub use error::IdentityError;
#[cfg(feature = "jwt")]
pub use jwt::{Identified, IdentifyFailure, JwtIdentity};
pub use settings::{
    AlgorithmFamily, Audience, ClaimNames, ClaimPath, JwtAlgorithm, JwtKey, JwtSettings,
    UnknownAlgorithm,
};
pub use unauthenticated::Unauthenticated;

/// What the ids of anonymous clients begin with, and no other.
const ANONYMOUS: &str = UserId::ANONYMOUS_PREFIX;

/// Who makes a request; an application may put one into the request's extensions.
///
/// Clones share one allocation. `Debug` shows neither ids nor roles.
///
/// # Examples
///
/// ```
/// use quota_layer::QuotaIdentity;
///
/// let identity = QuotaIdentity::new("alice").with_tenant("acme").with_plan("pro");
/// assert_eq!(identity.user(), "alice");
/// assert_eq!(identity.tenant(), Some("acme"));
/// assert!(identity.check(256).is_ok());
/// assert!(QuotaIdentity::new("").check(256).is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct QuotaIdentity(Arc<Inner>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Inner {
    user: String,
    tenant: Option<String>,
    plan: Option<String>,
    roles: Vec<String>,
    origin: Origin,
    // What the counters are found by, made once; `None` while an id is empty.
    requester: Option<Requester>,
    // Looked for once.
    has_stray_nul: bool,
}

/// Where the user's id comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Origin {
    /// A token or the application named it.
    #[default]
    Named,
    /// It is a client's address.
    Address,
}

impl QuotaIdentity {
    /// A user without tenant, plan or roles.
    ///
    /// Any text is taken; an id that is empty or too long is refused by [`check`](Self::check).
    #[must_use]
    pub fn new(user: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            user: user.into(),
            ..Inner::default()
        }))
        .changed(|_| {})
    }

    /// A client without a token, counted by its address.
    ///
    /// No token and no application can name the same user: their ids never hold a NUL.
    pub(crate) fn anonymous(address: &str) -> Self {
        Self::new(format!("{ANONYMOUS}{address}")).changed(|inner| {
            inner.origin = Origin::Address;
        })
    }

    /// The organisation or workspace the user belongs to.
    #[must_use]
    pub fn with_tenant(self, tenant: impl Into<String>) -> Self {
        self.changed(|inner| inner.tenant = Some(tenant.into()))
    }

    /// The plan the user claims to have, which need not exist.
    #[must_use]
    pub fn with_plan(self, plan: impl Into<String>) -> Self {
        self.changed(|inner| inner.plan = Some(plan.into()))
    }

    /// The user's roles, in place of those it had.
    #[must_use]
    pub fn with_roles(self, roles: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.changed(|inner| inner.roles = roles.into_iter().map(Into::into).collect())
    }

    /// The user's id.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// The tenant's id, if there is a tenant.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.0.tenant.as_deref()
    }

    /// The plan as it was claimed: raw text, which need not be the name of a plan.
    #[must_use]
    pub fn plan(&self) -> Option<&str> {
        self.0.plan.as_deref()
    }

    /// The user's roles.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.0.roles
    }

    /// Checks the ids and gives them as counters know them.
    ///
    /// # Errors
    ///
    /// [`InvalidIdentity`] where an id is empty or longer than `max_id_bytes`.
    pub fn check(&self, max_id_bytes: usize) -> Result<&Requester, InvalidIdentity> {
        let tenant_bytes = self.tenant().map(str::len);
        if self.0.has_stray_nul {
            return Err(InvalidIdentity::Nul);
        }
        if self.user().len() > max_id_bytes {
            Err(InvalidIdentity::UserTooLong)
        } else if tenant_bytes == Some(0) {
            Err(InvalidIdentity::TenantEmpty)
        } else if tenant_bytes.is_some_and(|bytes| bytes > max_id_bytes) {
            Err(InvalidIdentity::TenantTooLong)
        } else {
            self.0.requester.as_ref().ok_or(InvalidIdentity::UserEmpty)
        }
    }

    fn changed(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        change(&mut inner);
        inner.requester = requester(&inner.user, inner.tenant.as_deref());
        inner.has_stray_nul = has_stray_nul(&inner);
        Self(Arc::new(inner))
    }
}

impl fmt::Debug for QuotaIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A person's id does not belong into a log by accident.
        f.debug_struct("QuotaIdentity")
            .field("plan", &self.plan())
            .finish_non_exhaustive()
    }
}

/// An id can't be counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
#[non_exhaustive]
pub enum InvalidIdentity {
    /// An id holds a NUL, which only ids of anonymous clients begin with.
    Nul,
    /// The user's id is the empty text.
    UserEmpty,
    /// The user's id is longer than allowed.
    UserTooLong,
    /// The tenant's id is the empty text.
    TenantEmpty,
    /// The tenant's id is longer than allowed.
    TenantTooLong,
}

impl InvalidIdentity {
    /// What is wrong, in a form that may be shown to the client.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nul => "an id holds a NUL character",
            Self::UserEmpty => "the user is empty",
            Self::UserTooLong => "the user is too long",
            Self::TenantEmpty => "the tenant is empty",
            Self::TenantTooLong => "the tenant is too long",
        }
    }
}

/// Whether an id holds a NUL that only ids of anonymous clients begin with.
fn has_stray_nul(inner: &Inner) -> bool {
    let has_nul = |id: &str| id.contains('\0');
    let is_named = inner.origin == Origin::Named;
    is_named && has_nul(&inner.user) || inner.tenant.as_deref().is_some_and(has_nul)
}

fn requester(user: &str, tenant: Option<&str>) -> Option<Requester> {
    Some(Requester {
        tenant: tenant.map(TenantId::new).transpose().ok()?,
        user: UserId::new(user).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_when_they_are_needed() {
        assert!(QuotaIdentity::new("alice").check(5).is_ok());
        let check = |identity: QuotaIdentity| identity.check(5).unwrap_err();
        assert_eq!(check(QuotaIdentity::new("")), InvalidIdentity::UserEmpty);
        assert_eq!(
            check(QuotaIdentity::new("alicia")),
            InvalidIdentity::UserTooLong
        );
        assert_eq!(
            check(QuotaIdentity::new("bob").with_tenant("")),
            InvalidIdentity::TenantEmpty
        );
        assert_eq!(
            check(QuotaIdentity::new("bob").with_tenant("acme inc")),
            InvalidIdentity::TenantTooLong
        );
    }

    #[test]
    fn a_checked_identity_names_its_counters() {
        let identity = QuotaIdentity::new("alice").with_tenant("acme");
        let requester = identity.check(256).unwrap();
        assert_eq!(requester.user.as_str(), "alice");
        assert_eq!(requester.tenant.as_ref().unwrap().as_str(), "acme");
    }

    #[test]
    fn debug_shows_no_ids() {
        let identity = QuotaIdentity::new("alice")
            .with_tenant("acme")
            .with_plan("pro")
            .with_roles(["boss"]);
        assert_eq!(
            format!("{identity:?}"),
            "QuotaIdentity { plan: Some(\"pro\"), .. }"
        );
    }
}

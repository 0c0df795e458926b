//! Who is charged.

use std::{fmt, sync::Arc};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes any text that is not empty.
            ///
            /// # Errors
            ///
            /// [`EmptyId`] for the empty text.
            pub fn new(text: &str) -> Result<Self, EmptyId> {
                if text.is_empty() {
                    Err(EmptyId)
                } else {
                    Ok(Self(text.into()))
                }
            }

            /// The id as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        // A person's id does not belong into a log by accident.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

id! {
    /// The id of a user, unique within its tenant. Its `Debug` does not show it.
    UserId
}

impl UserId {
    /// What the ids of anonymous clients begin with; no other id holds a NUL.
    pub const ANONYMOUS_PREFIX: &'static str = "\0ip:";

    /// Whether this is a client without a token, counted by its address.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.as_str().starts_with(Self::ANONYMOUS_PREFIX)
    }
}

id! {
    /// The id of an organisation or workspace. Its `Debug` does not show it.
    TenantId
}

/// An id of a user or tenant is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is never empty")]
pub struct EmptyId;

/// Whom a counter belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// One user; users of different tenants are different even if their ids are equal.
    User {
        /// The user's tenant, if there is one.
        tenant: Option<TenantId>,
        /// The user.
        user: UserId,
    },
    /// A tenant as a whole.
    Tenant(TenantId),
}

impl Subject {
    /// A requester whose counters of one scope are this subject's: who uses a tenant's counters
    /// does not matter.
    pub(crate) fn requester(&self) -> Requester {
        match self {
            Self::User { tenant, user } => Requester {
                tenant: tenant.clone(),
                user: user.clone(),
            },
            Self::Tenant(tenant) => Requester {
                tenant: Some(tenant.clone()),
                user: UserId("-".into()),
            },
        }
    }
}

/// Whether a limit is of the user or of the tenant as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The user's own limit.
    User,
    /// The tenant's limit, which its users share.
    Tenant,
}

impl Scope {
    /// The word for it in headers and bodies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tenant => "tenant",
        }
    }
}

/// The user that makes a request, and the tenant it belongs to.
///
/// Both the user's counters and its tenant's are found from it, and they always lie in one
/// partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requester {
    /// The tenant, if there is one.
    pub tenant: Option<TenantId>,
    /// The user.
    pub user: UserId,
}

impl Requester {
    /// The subject of one scope; `None` for the tenant's where there is no tenant.
    #[must_use]
    pub fn subject(&self, scope: Scope) -> Option<Subject> {
        match scope {
            Scope::User => Some(Subject::User {
                tenant: self.tenant.clone(),
                user: self.user.clone(),
            }),
            Scope::Tenant => self.tenant.clone().map(Subject::Tenant),
        }
    }
}

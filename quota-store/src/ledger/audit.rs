//! What administrators did.

use uuid::Uuid;

use crate::{PlanName, TenantId, UnixMillis, UserId};

/// One act of administration: who, what, before, after, why.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// Names it; the same id is in the ledger once.
    pub id: Uuid,
    /// When.
    pub at: UnixMillis,
    /// Who: the subject of a token, or the name of an admin token. Never a secret.
    pub actor: String,
    /// The tenant that it is about, if there is one.
    pub tenant: Option<TenantId>,
    /// What was changed.
    pub target: Target,
    /// What was done, such as `reset`.
    pub action: String,
    /// How it was before.
    pub before: serde_json::Value,
    /// How it was afterwards.
    pub after: serde_json::Value,
    /// Why, in the words of the administrator.
    pub reason: String,
    /// The `Idempotency-Key` that it came with.
    pub idempotency_key: Option<String>,
}

/// What an administrator changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A user of the record's tenant.
    User(UserId),
    /// The record's tenant as a whole.
    Tenant,
    /// A plan.
    Plan(PlanName),
    /// Something of the installation, such as the default plan or the ledger.
    Installation,
}

impl Target {
    /// The word for the kind of target.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Tenant => "tenant",
            Self::Plan(_) => "plan",
            Self::Installation => "installation",
        }
    }

    /// The name of the user or plan; empty for the others.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::User(user) => user.as_str(),
            Self::Plan(plan) => plan.as_str(),
            Self::Tenant | Self::Installation => "",
        }
    }
}

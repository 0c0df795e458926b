//! What administrators did.

use quota_store::ledger::Audit;
use serde::Serialize;
use utoipa::ToSchema;

use crate::input::rfc3339;

/// One act of administration.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
pub(crate) struct AuditView {
    /// Names it.
    #[schema(format = "uuid")]
    id: String,
    /// When.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// Who: the name of an admin token, or the subject of a JWT.
    #[schema(example = "token:1")]
    actor: String,
    /// The tenant that it is about.
    tenant: Option<String>,
    /// What was changed.
    target: TargetView,
    /// What was done.
    #[schema(example = "reset")]
    action: String,
    /// How it was before.
    #[schema(value_type = Value)]
    before: serde_json::Value,
    /// How it was afterwards.
    #[schema(value_type = Value)]
    after: serde_json::Value,
    /// Why.
    reason: String,
    /// The `Idempotency-Key` that it came with.
    idempotency_key: Option<String>,
}

/// What an administrator changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Target)]
pub(crate) struct TargetView {
    /// `user`, `tenant`, `plan` or `installation`.
    #[schema(example = "user")]
    kind: &'static str,
    /// The user or plan; empty for the others.
    name: String,
}

impl From<Audit> for AuditView {
    fn from(audit: Audit) -> Self {
        Self {
            id: audit.id.to_string(),
            at: rfc3339(audit.at),
            actor: audit.actor,
            tenant: audit.tenant.map(|tenant| tenant.as_str().to_owned()),
            target: TargetView {
                kind: audit.target.kind(),
                name: audit.target.name().to_owned(),
            },
            action: audit.action,
            before: audit.before,
            after: audit.after,
            reason: audit.reason,
            idempotency_key: audit.idempotency_key,
        }
    }
}

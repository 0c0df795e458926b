//! Who may administer.

use secrecy::ExposeSecret;

use super::{SECRET, loaded};

#[test]
fn administrators_are_known_by_tokens_and_roles() {
    let text = "[admin]\ntokens = [\"env:QUOTA_JWT_SECRET\"]\nroles = [\"quota_admin\"]\n\
                [admin.tenant_tokens]\nacme = [\"file:Cargo.toml\"]\n";
    let config = loaded(text);
    let access = &config.admin.0;
    assert_eq!(access.tokens[0].expose_secret(), SECRET);
    assert_eq!(access.roles, ["quota_admin"]);
    let tenants: Vec<&str> = access
        .tenant_tokens
        .keys()
        .map(quota_store::TenantId::as_str)
        .collect();
    assert_eq!(tenants, ["acme"]);
    assert!(!access.is_empty());
    assert!(loaded("").admin.0.is_empty());
    assert!(!format!("{config:?}").contains(SECRET));
}

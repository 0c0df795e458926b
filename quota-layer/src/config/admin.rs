//! `[admin]`.

use std::collections::BTreeMap;

use quota_store::TenantId;
use secrecy::{ExposeSecret, SecretString};

use super::{
    findings::Findings,
    node::Place,
    reader::{Item, Keys},
    secret::secret,
    settings::AdminConfig,
    source::Source,
};
use crate::administration::AdminAccess;

/// Tokens that are shorter can be guessed.
const GOOD_LENGTH: usize = 16;

/// Reads the section, or its defaults.
pub(super) fn read(root: &mut Keys<'_>, source: &Source, findings: &mut Findings) -> AdminConfig {
    let Some(mut keys) = root.take("admin").and_then(|item| item.table(findings)) else {
        return AdminConfig::default();
    };
    let mut tokens = Tokens {
        source,
        findings,
        known: Vec::new(),
    };
    let access = AdminAccess {
        tokens: tokens.of(keys.take("tokens")),
        tenant_tokens: tokens.by_tenant(keys.take("tenant_tokens")),
        read_only_tokens: tokens.of(keys.take("read_only_tokens")),
        roles: keys
            .take("roles")
            .map(|item| roles(&item, findings))
            .unwrap_or_default(),
    };
    keys.finish(findings);
    AdminConfig(access)
}

/// Reads tokens, none of which may stand twice: it would be doubtful what its bearer may do.
struct Tokens<'a> {
    source: &'a Source,
    findings: &'a mut Findings,
    known: Vec<(SecretString, Place)>,
}

impl Tokens<'_> {
    fn of(&mut self, item: Option<Item<'_>>) -> Vec<SecretString> {
        let entries = item.and_then(|item| item.list("[\"env:QUOTA_ADMIN_TOKEN\"]", self.findings));
        let entries = entries.unwrap_or_default();
        entries
            .iter()
            .filter_map(|entry| self.token(entry))
            .collect()
    }

    fn by_tenant(&mut self, item: Option<Item<'_>>) -> BTreeMap<TenantId, Vec<SecretString>> {
        let Some(keys) = item.and_then(|item| item.table(self.findings)) else {
            return BTreeMap::new();
        };
        let mut all = BTreeMap::new();
        for (name, item) in keys.items() {
            let key_place = item.key_place;
            let tokens = self.of(Some(item));
            match TenantId::new(name) {
                Ok(tenant) => drop(all.insert(tenant, tokens)),
                Err(error) => self.findings.error(
                    key_place,
                    format!("the tenant of `admin.tenant_tokens` has no name: {error}"),
                    "write it like tenant_tokens = { acme = [\"env:ACME_ADMIN_TOKEN\"] }",
                ),
            }
        }
        all
    }

    fn token(&mut self, entry: &Item<'_>) -> Option<SecretString> {
        let token = secret(entry, self.source, self.findings)?;
        let is_same =
            |(known, _): &&(SecretString, Place)| known.expose_secret() == token.expose_secret();
        if let Some((_, place)) = self.known.iter().find(is_same) {
            let problem = super::findings::Problem::new(
                format!(
                    "`{}` has a token that stands in [admin] already",
                    entry.path
                ),
                "give everybody who administers a token of their own",
            );
            let place = place.clone();
            self.findings
                .error_with_other(entry.place(), (&place, "the same token"), problem);
            return None;
        }
        if token.expose_secret().len() < GOOD_LENGTH {
            self.findings.warning(
                entry.place(),
                format!(
                    "`{}` has a token shorter than {GOOD_LENGTH} bytes: it can be guessed",
                    entry.path
                ),
            );
        }
        self.known.push((token.clone(), entry.place().clone()));
        Some(token)
    }
}

fn roles(item: &Item<'_>, findings: &mut Findings) -> Vec<String> {
    const EXAMPLE: &str = "[\"quota_admin\"]";
    let entries = item.list(EXAMPLE, findings).unwrap_or_default();
    let roles = entries
        .iter()
        .filter_map(|entry| entry.words(&format!("roles = {EXAMPLE}"), findings));
    roles.map(str::to_owned).collect()
}

//! Admin tokens.

use std::fmt;

use quota_layer::administration::AdminAccess;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{Caller, Rights};

/// The digests of all tokens, with what each may do.
#[derive(Default)]
pub(super) struct Tokens(Vec<Token>);

struct Token {
    digest: [u8; 32],
    caller: Caller,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not even digests: they would let a guess be checked.
        f.debug_tuple("Tokens").field(&self.0.len()).finish()
    }
}

impl Tokens {
    pub(super) fn new(access: &AdminAccess) -> Self {
        let mut tokens = Self::default();
        tokens.add("token", &access.tokens, &Rights::All);
        tokens.add(
            "read_only_token",
            &access.read_only_tokens,
            &Rights::ReadOnly,
        );
        for (tenant, secrets) in &access.tenant_tokens {
            let kind = format!("tenant_token:{}", tenant.as_str());
            tokens.add(&kind, secrets, &Rights::Of(Some(tenant.clone())));
        }
        tokens
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token it is.
    ///
    /// How long it takes tells nothing about any token: digests of one length are compared, all of
    /// them, each to its end.
    pub(super) fn find(&self, token: &[u8]) -> Option<Caller> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = u64::MAX;
        for (place, token) in (0..).zip(&self.0) {
            let is_it: Choice = token.digest.ct_eq(&digest);
            found.conditional_assign(&place, is_it);
        }
        let found = usize::try_from(found).ok()?;
        self.0.get(found).map(|token| token.caller.clone())
    }

    fn add(&mut self, kind: &str, secrets: &[SecretString], rights: &Rights) {
        for (place, secret) in (1..).zip(secrets) {
            let _: u32 = place;
            self.0.push(Token {
                digest: Sha256::digest(secret.expose_secret()).into(),
                caller: Caller {
                    actor: format!("{kind}:{place}"),
                    rights: rights.clone(),
                },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use quota_store::TenantId;

    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(&AdminAccess {
            tokens: vec!["one".into(), "two".into()],
            read_only_tokens: vec!["looks".into()],
            tenant_tokens: [(TenantId::new("acme").unwrap(), vec!["acme's".into()])].into(),
            roles: Vec::new(),
        })
    }

    #[track_caller]
    fn check(token: &str, actor: Option<&str>) {
        let found = tokens().find(token.as_bytes()).map(|caller| caller.actor);
        assert_eq!(found.as_deref(), actor, "{token}");
    }

    #[test]
    fn tokens_are_named_by_their_kind_and_place() {
        check("one", Some("token:1"));
        check("two", Some("token:2"));
        check("looks", Some("read_only_token:1"));
        check("acme's", Some("tenant_token:acme:1"));
        for wrong in ["", "on", "one ", "ONE"] {
            check(wrong, None);
        }
    }

    #[test]
    fn debug_shows_no_token() {
        assert_eq!(format!("{:?}", tokens()), "Tokens(4)");
    }
}

//! From what the configuration says to what verifies tokens.

use crate::{
    config::{self, AudienceConfig, Config, IdentityFrom, JwtConfig, JwtKeyConfig},
    identity::{Audience, ClaimNames, ClaimPath, JwtAlgorithm, JwtKey, JwtSettings},
};

impl Config {
    /// How tokens are verified and what is read from them; `None` where the application names its
    /// users itself.
    ///
    /// For an application that also issues tokens. The secret stays wrapped: reading it takes an
    /// explicit `expose_secret`.
    #[must_use]
    pub fn jwt(&self) -> Option<JwtSettings> {
        match &self.identity.from {
            IdentityFrom::Jwt(jwt) => Some(jwt.settings(self.identity.max_id_bytes)),
            IdentityFrom::Application => None,
        }
    }
}

impl JwtConfig {
    /// The settings of the verifier.
    pub(crate) fn settings(&self, max_id_bytes: usize) -> JwtSettings {
        let path = |claim: &Option<String>| claim.clone().map(ClaimPath::new);
        JwtSettings {
            algorithms: self.algorithms.iter().copied().map(algorithm).collect(),
            key: match &self.key {
                JwtKeyConfig::Secret(secret) => JwtKey::Secret(secret.clone()),
                JwtKeyConfig::PublicKeyPem(pem) => JwtKey::PublicKeyPem(pem.clone()),
                JwtKeyConfig::Jwks(url) => JwtKey::Jwks(url.clone()),
            },
            issuer: self.issuer.clone(),
            audience: match &self.audience {
                AudienceConfig::Any => Audience::Any,
                AudienceConfig::OneOf(names) => Audience::OneOf(names.clone()),
            },
            leeway: self.leeway,
            max_bytes: self.max_bytes,
            max_id_bytes,
            claims: ClaimNames {
                user: ClaimPath::new(self.claims.user.clone()),
                tenant: path(&self.claims.tenant),
                plan: path(&self.claims.plan),
                role: path(&self.claims.role),
            },
        }
    }
}

const fn algorithm(algorithm: config::JwtAlgorithm) -> JwtAlgorithm {
    match algorithm {
        config::JwtAlgorithm::Hs256 => JwtAlgorithm::Hs256,
        config::JwtAlgorithm::Rs256 => JwtAlgorithm::Rs256,
        config::JwtAlgorithm::Es256 => JwtAlgorithm::Es256,
        config::JwtAlgorithm::EdDsa => JwtAlgorithm::EdDsa,
    }
}

//! What a token must look like, as the configuration says it.

use std::{fmt, str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};

/// How tokens are verified, and what is read from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// The algorithms a token may be signed with; all of one family.
    pub algorithms: Vec<JwtAlgorithm>,
    /// What a token's signature is verified with.
    pub key: JwtKey,
    /// What `iss` must be, if anything.
    pub issuer: Option<String>,
    /// What `aud` must name.
    pub audience: Audience,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// The longest token that is looked at.
    pub max_bytes: usize,
    /// The longest id of a user or tenant.
    pub max_id_bytes: usize,
    /// Where in a token the user and what belongs to it stand.
    pub claims: ClaimNames,
}

impl JwtSettings {
    /// Settings with the defaults of `quota.toml` for what is not named.
    #[must_use]
    pub fn new(algorithms: Vec<JwtAlgorithm>, key: JwtKey, audience: Audience) -> Self {
        Self {
            algorithms,
            key,
            issuer: None,
            audience,
            leeway: Duration::from_secs(30),
            max_bytes: 8192,
            max_id_bytes: 256,
            claims: ClaimNames::default(),
        }
    }
}

/// An algorithm that tokens are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// `Ed25519`.
    EdDsa,
}

impl JwtAlgorithm {
    /// Which kind of key the algorithm takes.
    #[must_use]
    pub const fn family(self) -> AlgorithmFamily {
        match self {
            Self::Hs256 => AlgorithmFamily::Hmac,
            Self::Rs256 => AlgorithmFamily::Rsa,
            Self::Es256 => AlgorithmFamily::Ec,
            Self::EdDsa => AlgorithmFamily::Ed,
        }
    }

    /// Its name in tokens and in `quota.toml`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for JwtAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JwtAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or(UnknownAlgorithm)
    }
}

/// The text names no algorithm that tokens may be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an algorithm is one of HS256, RS256, ES256 and EdDSA; `none` is never accepted")]
pub struct UnknownAlgorithm;

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlgorithmFamily {
    /// A secret that both sides know.
    Hmac,
    /// An RSA key pair.
    Rsa,
    /// A key pair on the curve P-256.
    Ec,
    /// A key pair on the curve 25519.
    Ed,
}

impl AlgorithmFamily {
    /// The word for it in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hmac => "HMAC",
            Self::Rsa => "RSA",
            Self::Ec => "EC",
            Self::Ed => "Ed25519",
        }
    }
}

/// What a token's signature is verified with. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub enum JwtKey {
    /// A shared secret of at least 32 bytes.
    Secret(SecretString),
    /// A public key as PEM text.
    PublicKeyPem(String),
    /// The address of a JWKS: `https`, or `http` on loopback. Needs the feature `jwks`.
    Jwks(String),
}

// Only to find out whether a reload changed the key, which is the operator's own: nothing that a
// client sends is compared here.
impl PartialEq for JwtKey {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Secret(mine), Self::Secret(its)) => mine.expose_secret() == its.expose_secret(),
            (Self::PublicKeyPem(mine), Self::PublicKeyPem(its))
            | (Self::Jwks(mine), Self::Jwks(its)) => mine == its,
            _ => false,
        }
    }
}

impl Eq for JwtKey {}

/// What the claim `aud` must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Anything or nothing.
    Any,
    /// At least one of these.
    OneOf(Vec<String>),
}

/// Where in a token the user and what belongs to it stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// The user's id. The only claim that a token must have, besides `exp`.
    pub user: ClaimPath,
    /// The tenant's id.
    pub tenant: Option<ClaimPath>,
    /// The plan.
    pub plan: Option<ClaimPath>,
    /// The roles: a list of strings, or one string that separates them by spaces.
    pub role: Option<ClaimPath>,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            user: ClaimPath::new("sub"),
            tenant: Some(ClaimPath::new("org")),
            plan: Some(ClaimPath::new("plan")),
            role: Some(ClaimPath::new("role")),
        }
    }
}

/// The place of a claim: a name, or a JSON pointer (RFC 6901) when it starts with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath(String);

impl ClaimPath {
    /// A place; the empty text is refused when a verifier is made with it.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// The place as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_known_by_their_exact_names() {
        for name in ["HS256", "RS256", "ES256", "EdDSA"] {
            assert_eq!(name.parse::<JwtAlgorithm>().unwrap().as_str(), name);
        }
        for name in ["none", "None", "hs256", "HS512", ""] {
            assert!(name.parse::<JwtAlgorithm>().is_err(), "{name}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = JwtKey::Secret("correct horse battery staple".into());
        assert!(!format!("{key:?}").contains("horse"));
    }
}

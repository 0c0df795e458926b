//! Finding the user in a request's bearer token.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::HeaderMap;
use jsonwebtoken::{Validation, decode, decode_header, errors::ErrorKind};
use quota_store::{Clock, UnixMillis};
use serde_json::Value;

#[cfg(feature = "jwks")]
use super::jwks::Jwks;
use super::{
    IdentityError, JwtKey, JwtSettings, QuotaIdentity, Unauthenticated, bearer,
    cache::{TokenCache, Verified},
    claims::ClaimRules,
    keys::KeySet,
};

/// Finds the user in a request's bearer token, a JWT.
///
/// The settings alone decide which algorithms and keys are trusted; a token's own word on that
/// (`alg`, `jku`, `jwk`, `x5u`) never is. Verified tokens are remembered until they expire, at
/// most 10 000 of them.
#[derive(Debug)]
pub struct JwtIdentity {
    max_bytes: usize,
    rules: ClaimRules,
    validation: Validation,
    keys: KeySource,
    cache: TokenCache,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum KeySource {
    Fixed(KeySet),
    #[cfg(feature = "jwks")]
    Fetched(Arc<Jwks>),
}

/// What is known of a request without waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an unused answer admits everybody"]
pub enum Identified {
    /// The token holds.
    Known(QuotaIdentity),
    /// There is no token, or it does not hold.
    Refused(Unauthenticated),
    /// Keys must be fetched first: ask [`JwtIdentity::identify`].
    NeedsKeys,
}

/// Why a request's user was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentifyFailure {
    /// There is no token, or it does not hold.
    Unauthenticated(Unauthenticated),
    /// The keys could never be fetched so far; the same token may hold later.
    Unavailable,
}

/// What one set of keys says of a token.
enum Verdict {
    Known(QuotaIdentity),
    Refused(Unauthenticated),
    UnknownKey,
}

impl JwtIdentity {
    /// A verifier with an empty memory; nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] where the settings contradict themselves or the key can't be used.
    pub fn new(settings: JwtSettings, clock: Arc<dyn Clock>) -> Result<Self, IdentityError> {
        // Fails where the application has chosen a provider already, which then is used.
        jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER
            .install_default()
            .ok();
        let keys = key_source(&settings, &clock)?;
        let validation = signature_only(&settings);
        Ok(Self {
            max_bytes: settings.max_bytes,
            rules: ClaimRules::new(settings)?,
            validation,
            keys,
            cache: TokenCache::new(),
            clock,
        })
    }

    /// Finds the user without waiting, where that can be done: with a configured key always, with
    /// fetched keys unless the token needs one that is not there yet.
    ///
    /// Starts a fetch in the background where the keys are about to become too old.
    pub fn identify_now(&self, headers: &HeaderMap) -> Identified {
        match bearer::token(headers) {
            Ok(token) => self.identify_token_now(token),
            Err(refused) => Identified::Refused(refused),
        }
    }

    /// The same for a token that was found elsewhere.
    pub fn identify_token_now(&self, token: &[u8]) -> Identified {
        if token.len() > self.max_bytes {
            return Identified::Refused(Unauthenticated::Invalid("the token is too long"));
        }
        let now = self.clock.now();
        match &self.keys {
            KeySource::Fixed(keys) => self.judge(token, keys, 0, now).into(),
            #[cfg(feature = "jwks")]
            KeySource::Fetched(jwks) => self.judge_fetched(token, jwks, now),
        }
    }

    /// Finds the user, and waits for keys to be fetched where the token needs that.
    ///
    /// # Errors
    ///
    /// [`IdentifyFailure`] where the token does not hold, or where no keys were ever fetched.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a fetch that was begun goes on for the others that wait for it.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<QuotaIdentity, IdentifyFailure> {
        let token = bearer::token(headers).map_err(IdentifyFailure::Unauthenticated)?;
        self.identify_token(token).await
    }

    /// The same for a token that was found elsewhere.
    ///
    /// # Errors
    ///
    /// As [`identify`](Self::identify).
    ///
    /// # Cancel safety
    ///
    /// As [`identify`](Self::identify).
    pub async fn identify_token(&self, token: &[u8]) -> Result<QuotaIdentity, IdentifyFailure> {
        match self.identify_token_now(token) {
            Identified::Known(identity) => Ok(identity),
            Identified::Refused(refused) => Err(IdentifyFailure::Unauthenticated(refused)),
            Identified::NeedsKeys => self.identify_with_new_keys(token).await,
        }
    }

    /// Fetches the keys now where they come from a JWKS; does nothing with a configured key.
    ///
    /// Without it the first request that needs a key waits for the fetch.
    ///
    /// # Errors
    ///
    /// [`IdentifyFailure::Unavailable`] where no keys were ever fetched.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the fetch goes on.
    #[cfg_attr(
        not(feature = "jwks"),
        expect(clippy::unused_async, reason = "only fetching keys waits")
    )]
    pub async fn fetch_keys(&self) -> Result<(), IdentifyFailure> {
        match &self.keys {
            KeySource::Fixed(_) => Ok(()),
            #[cfg(feature = "jwks")]
            KeySource::Fetched(jwks) => {
                jwks.fetch(self.clock.now()).await;
                let stored = jwks.stored();
                let keys = stored.as_ref().ok_or(IdentifyFailure::Unavailable);
                keys.map(|_| ())
            }
        }
    }

    fn judge(&self, token: &[u8], keys: &KeySet, generation: u64, now: UnixMillis) -> Verdict {
        if let Some(identity) = self.cache.get(token, generation, now) {
            return Verdict::Known(identity);
        }
        match self.verify(token, keys, now) {
            Ok(Some((identity, expires))) => {
                let verified = Verified {
                    identity: identity.clone(),
                    expires,
                    generation,
                };
                self.cache.insert(token, verified);
                Verdict::Known(identity)
            }
            Ok(None) => Verdict::UnknownKey,
            Err(refused) => Verdict::Refused(refused),
        }
    }

    /// `None` where the token names a key that is not among these.
    fn verify(
        &self,
        token: &[u8],
        keys: &KeySet,
        now: UnixMillis,
    ) -> Result<Option<(QuotaIdentity, UnixMillis)>, Unauthenticated> {
        let header =
            decode_header(token).map_err(|_| Unauthenticated::Invalid("the token is malformed"))?;
        // Before the key is looked for: such a token must not cause a fetch.
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(Unauthenticated::Invalid("the algorithm is not allowed"));
        }
        if header.crit.is_some() {
            return Err(Unauthenticated::Invalid("crit is not supported"));
        }
        let Some(key) = keys.find(header.kid.as_deref()) else {
            return Ok(None);
        };
        let claims = decode::<Value>(token, key, &self.validation)
            .map_err(|error| describe(&error))?
            .claims;
        self.rules.read(&claims, now).map(Some)
    }
}

#[cfg(feature = "jwks")]
impl JwtIdentity {
    #[cfg(test)]
    pub(super) fn jwks(&self) -> Option<&Arc<Jwks>> {
        match &self.keys {
            KeySource::Fetched(jwks) => Some(jwks),
            KeySource::Fixed(_) => None,
        }
    }

    fn judge_fetched(&self, token: &[u8], jwks: &Arc<Jwks>, now: UnixMillis) -> Identified {
        let stored = jwks.stored();
        let Some(fetched) = stored.as_ref().filter(|it| jwks.may_use(it, now)) else {
            return Identified::NeedsKeys;
        };
        match self.judge(token, &fetched.keys, fetched.generation, now) {
            Verdict::UnknownKey if jwks.may_fetch(now) => Identified::NeedsKeys,
            verdict => verdict.into(),
        }
    }

    async fn identify_with_new_keys(&self, token: &[u8]) -> Result<QuotaIdentity, IdentifyFailure> {
        let KeySource::Fetched(jwks) = &self.keys else {
            return Err(IdentifyFailure::Unavailable);
        };
        jwks.fetch(self.clock.now()).await;
        let stored = jwks.stored();
        let fetched = stored.as_ref().ok_or(IdentifyFailure::Unavailable)?;
        let now = self.clock.now();
        match self
            .judge(token, &fetched.keys, fetched.generation, now)
            .into()
        {
            Identified::Known(identity) => Ok(identity),
            Identified::Refused(refused) => Err(IdentifyFailure::Unauthenticated(refused)),
            Identified::NeedsKeys => Err(IdentifyFailure::Unavailable),
        }
    }
}

#[cfg(not(feature = "jwks"))]
impl JwtIdentity {
    #[expect(clippy::unused_async, reason = "only fetching keys waits")]
    async fn identify_with_new_keys(&self, _: &[u8]) -> Result<QuotaIdentity, IdentifyFailure> {
        Err(IdentifyFailure::Unavailable)
    }
}

impl From<Verdict> for Identified {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Known(identity) => Self::Known(identity),
            Verdict::Refused(refused) => Self::Refused(refused),
            Verdict::UnknownKey => {
                Self::Refused(Unauthenticated::Invalid("the token names an unknown key"))
            }
        }
    }
}

#[cfg_attr(
    not(feature = "jwks"),
    expect(unused_variables, reason = "only fetched keys have an age")
)]
fn key_source(settings: &JwtSettings, clock: &Arc<dyn Clock>) -> Result<KeySource, IdentityError> {
    match &settings.key {
        JwtKey::Secret(secret) => {
            KeySet::from_secret(secret, &settings.algorithms).map(KeySource::Fixed)
        }
        JwtKey::PublicKeyPem(pem) => {
            KeySet::from_pem(pem, &settings.algorithms).map(KeySource::Fixed)
        }
        #[cfg(feature = "jwks")]
        JwtKey::Jwks(url) => {
            Jwks::new(url, settings.algorithms.clone(), Arc::clone(clock)).map(KeySource::Fetched)
        }
        #[cfg(not(feature = "jwks"))]
        JwtKey::Jwks(_) => Err(IdentityError::JwksNotBuilt),
    }
}

/// Checks of the signature only: the library's other checks read the system's clock, or let a
/// claim of the wrong type pass. `ClaimRules` does them.
fn signature_only(settings: &JwtSettings) -> Validation {
    let mut validation = Validation {
        algorithms: settings.algorithms.iter().map(|it| (*it).into()).collect(),
        validate_exp: false,
        validate_nbf: false,
        validate_aud: false,
        ..Validation::default()
    };
    validation.required_spec_claims.clear();
    validation
}

fn describe(error: &jsonwebtoken::errors::Error) -> Unauthenticated {
    Unauthenticated::Invalid(match error.kind() {
        ErrorKind::InvalidSignature => "the signature does not hold",
        ErrorKind::InvalidAlgorithm => "the algorithm is not allowed",
        _ => "the token is malformed",
    })
}

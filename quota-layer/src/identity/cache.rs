//! Tokens that were verified before.

use std::fmt;

use foldhash::quality::RandomState;
use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};
use quota_store::UnixMillis;

use super::QuotaIdentity;

const MAX_TOKENS: usize = 10_000;

/// Verified tokens, found by all their bytes.
///
/// Only tokens that were verified come in, so a stranger can neither fill it nor steer its hashes.
pub(super) struct TokenCache {
    tokens: Cache<Box<[u8]>, Verified, UnitWeighter, RandomState>,
}

/// What a verified token said.
#[derive(Clone)]
pub(super) struct Verified {
    /// Who the token is for.
    pub(super) identity: QuotaIdentity,
    /// The first instant at which the token no longer holds, leeway included.
    pub(super) expires: UnixMillis,
    /// The generation of the keys that verified it.
    pub(super) generation: u64,
}

impl TokenCache {
    pub(super) fn new() -> Self {
        Self {
            tokens: Cache::with(
                MAX_TOKENS,
                u64::try_from(MAX_TOKENS).unwrap_or(u64::MAX),
                UnitWeighter,
                RandomState::default(),
                DefaultLifecycle::default(),
            ),
        }
    }

    /// The identity of a token that still holds under the keys of `generation`.
    pub(super) fn get(
        &self,
        token: &[u8],
        generation: u64,
        now: UnixMillis,
    ) -> Option<QuotaIdentity> {
        let verified = self.tokens.get(token)?;
        if verified.generation == generation && now < verified.expires {
            Some(verified.identity)
        } else {
            self.tokens.remove(token);
            None
        }
    }

    pub(super) fn insert(&self, token: &[u8], verified: Verified) {
        self.tokens.insert(token.into(), verified);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache")
            .field("tokens", &self.tokens.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(expires: u64, generation: u64) -> Verified {
        Verified {
            identity: QuotaIdentity::new("alice"),
            expires: UnixMillis::new(expires),
            generation,
        }
    }

    #[test]
    fn a_token_is_known_until_it_expires_or_the_keys_change() {
        let cache = TokenCache::new();
        for (now, generation, known) in [(99, 1, true), (100, 1, false), (99, 2, false)] {
            cache.insert(b"token", verified(100, 1));
            let found = cache.get(b"token", generation, UnixMillis::new(now));
            assert_eq!(found.is_some(), known, "{now} {generation}");
            assert_eq!(cache.tokens.len(), usize::from(known));
        }
    }

    #[test]
    fn the_number_of_tokens_is_bounded() {
        let cache = TokenCache::new();
        for number in 0..3 * MAX_TOKENS {
            cache.insert(number.to_string().as_bytes(), verified(100, 1));
        }
        assert!(cache.tokens.len() <= MAX_TOKENS + MAX_TOKENS / 10);
    }
}

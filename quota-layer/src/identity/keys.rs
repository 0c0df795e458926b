//! The keys that signatures are verified with.

use std::collections::HashMap;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk},
};
use secrecy::{ExposeSecret, SecretString};

use super::{AlgorithmFamily, IdentityError, JwtAlgorithm};

const MIN_SECRET_BYTES: usize = 32;
// 2048 and 8192 bits; what lies outside can't be verified with.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The keys that are in force together.
#[derive(Debug)]
pub(super) enum KeySet {
    /// The configured key, whatever `kid` a token names.
    One(DecodingKey),
    /// Keys that a token chooses from by `kid`.
    #[cfg_attr(
        not(feature = "jwks"),
        expect(dead_code, reason = "only fetched keys have names")
    )]
    Named {
        /// By their `kid`.
        named: HashMap<String, DecodingKey>,
        /// The one key there is, with or without a `kid`.
        only: Option<DecodingKey>,
    },
}

impl KeySet {
    pub(super) fn from_secret(
        secret: &SecretString,
        algorithms: &[JwtAlgorithm],
    ) -> Result<Self, IdentityError> {
        require_family(algorithms, "secret", |family| {
            family == AlgorithmFamily::Hmac
        })?;
        let secret = secret.expose_secret().as_bytes();
        if secret.len() < MIN_SECRET_BYTES {
            return Err(IdentityError::SecretTooShort {
                bytes: secret.len(),
            });
        }
        Ok(Self::One(DecodingKey::from_secret(secret)))
    }

    pub(super) fn from_pem(pem: &str, algorithms: &[JwtAlgorithm]) -> Result<Self, IdentityError> {
        let algorithm = require_public(algorithms, "public_key")?;
        if pem.contains("PRIVATE KEY-----") {
            return Err(IdentityError::PrivateKey);
        }
        let key = read_pem(pem.as_bytes()).ok_or(IdentityError::UnreadablePem)?;
        let found = family(&key);
        if found != algorithm.family() {
            return Err(IdentityError::OtherKindOfKey { found, algorithm });
        }
        let suits = Jwk::from_decoding_key(&key, Some(algorithm.into()))
            .is_ok_and(|jwk| can_verify(&jwk, algorithms));
        if suits {
            Ok(Self::One(key))
        } else {
            Err(IdentityError::UnsuitableKey { algorithm })
        }
    }

    /// The key for a token that names this `kid`, or none.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&DecodingKey> {
        match (self, kid) {
            (Self::One(key), _) => Some(key),
            (Self::Named { named, .. }, Some(kid)) => named.get(kid),
            (Self::Named { only, .. }, None) => only.as_ref(),
        }
    }
}

/// Checks that the algorithms take public keys, and gives one of them.
pub(super) fn require_public(
    algorithms: &[JwtAlgorithm],
    given: &'static str,
) -> Result<JwtAlgorithm, IdentityError> {
    require_family(algorithms, given, |family| family != AlgorithmFamily::Hmac)
}

fn require_family(
    algorithms: &[JwtAlgorithm],
    given: &'static str,
    suits: impl Fn(AlgorithmFamily) -> bool,
) -> Result<JwtAlgorithm, IdentityError> {
    let first = *algorithms.first().ok_or(IdentityError::NoAlgorithm)?;
    if let Some(other) = algorithms.iter().find(|it| it.family() != first.family()) {
        return Err(IdentityError::MixedAlgorithms {
            first,
            other: *other,
        });
    }
    if suits(first.family()) {
        Ok(first)
    } else {
        Err(IdentityError::KeyDoesNotSuit {
            algorithm: first,
            given,
        })
    }
}

/// Whether a key can verify tokens of these algorithms.
pub(super) fn can_verify(jwk: &Jwk, algorithms: &[JwtAlgorithm]) -> bool {
    algorithms.iter().any(|algorithm| match &jwk.algorithm {
        AlgorithmParameters::RSA(key) => {
            algorithm.family() == AlgorithmFamily::Rsa
                && RSA_MODULUS_BYTES.contains(&decoded_len(&key.n))
        }
        AlgorithmParameters::EllipticCurve(key) => {
            algorithm.family() == AlgorithmFamily::Ec && key.curve == EllipticCurve::P256
        }
        AlgorithmParameters::OctetKeyPair(key) => {
            algorithm.family() == AlgorithmFamily::Ed && key.curve == EllipticCurve::Ed25519
        }
        // A secret that is published is none.
        _ => false,
    })
}

/// How many bytes a base64 text without padding stands for.
const fn decoded_len(base64: &str) -> usize {
    base64.len() * 3 / 4
}

fn read_pem(pem: &[u8]) -> Option<DecodingKey> {
    DecodingKey::from_ec_pem(pem)
        .or_else(|_| DecodingKey::from_ed_pem(pem))
        .or_else(|_| DecodingKey::from_rsa_pem(pem))
        .ok()
}

fn family(key: &DecodingKey) -> AlgorithmFamily {
    match key.family() {
        jsonwebtoken::AlgorithmFamily::Hmac => AlgorithmFamily::Hmac,
        jsonwebtoken::AlgorithmFamily::Rsa => AlgorithmFamily::Rsa,
        jsonwebtoken::AlgorithmFamily::Ec => AlgorithmFamily::Ec,
        jsonwebtoken::AlgorithmFamily::Ed => AlgorithmFamily::Ed,
    }
}

impl From<JwtAlgorithm> for Algorithm {
    fn from(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::Hs256 => Self::HS256,
            JwtAlgorithm::Rs256 => Self::RS256,
            JwtAlgorithm::Es256 => Self::ES256,
            JwtAlgorithm::EdDsa => Self::EdDSA,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA: &str = include_str!("testdata/rsa_a_public.pem");
    const RSA_PRIVATE: &str = include_str!("testdata/rsa_a_private.pem");
    const RSA_SHORT: &str = include_str!("testdata/rsa_short_public.pem");
    const EC: &str = include_str!("testdata/ec_public.pem");
    const EC_P384: &str = include_str!("testdata/ec_p384_public.pem");
    const ED: &str = include_str!("testdata/ed_public.pem");

    #[track_caller]
    fn refused(key: Result<KeySet, IdentityError>, message: &str) {
        let error = key.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn each_algorithm_takes_its_own_kind_of_pem() {
        for (algorithm, good) in [
            (JwtAlgorithm::Rs256, RSA),
            (JwtAlgorithm::Es256, EC),
            (JwtAlgorithm::EdDsa, ED),
        ] {
            for pem in [RSA, EC, ED] {
                let key = KeySet::from_pem(pem, &[algorithm]);
                assert_eq!(key.is_ok(), pem == good, "{algorithm}");
            }
        }
        refused(
            KeySet::from_pem(EC, &[JwtAlgorithm::Rs256]),
            "is of the kind EC, but RS256 takes RSA",
        );
    }

    #[test]
    fn keys_that_could_never_verify_are_refused_at_start() {
        let unsuitable = "`public_key` does not suit";
        refused(
            KeySet::from_pem(RSA_SHORT, &[JwtAlgorithm::Rs256]),
            unsuitable,
        );
        refused(
            KeySet::from_pem(EC_P384, &[JwtAlgorithm::Es256]),
            unsuitable,
        );
        refused(
            KeySet::from_pem(RSA_PRIVATE, &[JwtAlgorithm::Rs256]),
            "holds a private key",
        );
        for text in [
            "",
            "not a key",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        ] {
            refused(
                KeySet::from_pem(text, &[JwtAlgorithm::Rs256]),
                "not a public key in PEM form",
            );
        }
    }

    #[test]
    fn secrets_are_long_and_for_hs256_only() {
        let secret = SecretString::from("x".repeat(32));
        assert!(KeySet::from_secret(&secret, &[JwtAlgorithm::Hs256]).is_ok());
        refused(
            KeySet::from_secret(&"x".repeat(31).into(), &[JwtAlgorithm::Hs256]),
            "has 31 bytes",
        );
        refused(
            KeySet::from_secret(&secret, &[JwtAlgorithm::Rs256]),
            "RS256 can't be verified with `secret`",
        );
        refused(
            KeySet::from_pem(RSA, &[JwtAlgorithm::Hs256]),
            "HS256 can't be verified with `public_key`",
        );
    }

    #[test]
    fn algorithms_are_of_one_family_and_at_least_one() {
        refused(KeySet::from_pem(RSA, &[]), "`algorithms` is empty");
        let mixed = [JwtAlgorithm::Rs256, JwtAlgorithm::Es256];
        refused(KeySet::from_pem(RSA, &mixed), "mixes RS256 and ES256");
        let twice = [JwtAlgorithm::Rs256, JwtAlgorithm::Rs256];
        assert!(KeySet::from_pem(RSA, &twice).is_ok());
    }
}

//! Why a verifier can't be made.

use super::{AlgorithmFamily, JwtAlgorithm};

/// The settings of a verifier contradict themselves or can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No algorithm is named.
    #[error("`algorithms` is empty: name the algorithm that the issuer signs with, such as RS256")]
    NoAlgorithm,
    /// The algorithms take different kinds of keys.
    #[error("`algorithms` mixes {first} and {other}: name algorithms of one family only")]
    MixedAlgorithms {
        /// The first algorithm.
        first: JwtAlgorithm,
        /// One of another family.
        other: JwtAlgorithm,
    },
    /// The way the key is given does not suit the algorithms.
    #[error(
        "{algorithm} can't be verified with `{given}`: HS256 takes `secret`, the others take \
         `public_key` or `jwks`"
    )]
    KeyDoesNotSuit {
        /// An algorithm that was named.
        algorithm: JwtAlgorithm,
        /// The setting that the key was given with.
        given: &'static str,
    },
    /// The secret is too short to be safe.
    #[error(
        "the secret has {bytes} bytes and HS256 needs at least 32: make one with \
         `openssl rand -hex 32`"
    )]
    SecretTooShort {
        /// How long it is.
        bytes: usize,
    },
    /// The PEM text holds no public key that can be read.
    #[error("`public_key` is not a public key in PEM form (`-----BEGIN PUBLIC KEY-----`)")]
    UnreadablePem,
    /// The PEM text holds a private key.
    #[error(
        "`public_key` holds a private key, which belongs to the issuer alone: write the public \
         one with `openssl pkey -in private.pem -pubout`"
    )]
    PrivateKey,
    /// The PEM text holds a key of another kind than the algorithms take.
    #[error("`public_key` is of the kind {}, but {algorithm} takes {}", found.as_str(), algorithm.family().as_str())]
    OtherKindOfKey {
        /// What it holds.
        found: AlgorithmFamily,
        /// What was wanted.
        algorithm: JwtAlgorithm,
    },
    /// The public key is of the right kind but can't verify anything.
    #[error(
        "`public_key` does not suit {algorithm}: RS256 takes RSA keys of 2048 to 8192 bits, ES256 keys on P-256"
    )]
    UnsuitableKey {
        /// What was wanted.
        algorithm: JwtAlgorithm,
    },
    /// The list of audiences is empty.
    #[error("`audience` is an empty list: name at least one, or write \"any\"")]
    NoAudience,
    /// A claim has no name.
    #[error("`claims.{claim}` is empty: give the name of a claim, or a JSON pointer such as /a/b")]
    EmptyClaimPath {
        /// Which one.
        claim: &'static str,
    },
    /// The address of the keys can't be used.
    #[error("`jwks` {problem}: give an https address, or http on loopback")]
    JwksAddress {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The build can't fetch keys.
    #[error("`jwks` needs the feature `jwks` of quota-layer, which this build lacks")]
    JwksNotBuilt,
    /// The HTTP client can't be made, for lack of root certificates for instance.
    #[error("the client that fetches `jwks` can't be made")]
    HttpClient(#[source] Box<dyn std::error::Error + Send + Sync>),
}

//! What is taken from a JWKS document.

use std::collections::HashMap;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    errors::Error,
    jwk::{Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::client::FetchError;
use crate::identity::{
    JwtAlgorithm,
    keys::{KeySet, can_verify},
};

const MAX_KEYS: usize = 100;

// Each key is read by itself, so that one of a kind yet unknown does not hide the others.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// The keys that verify tokens of these algorithms; all others are passed over.
pub(super) fn usable_keys(
    body: &[u8],
    algorithms: &[JwtAlgorithm],
) -> Result<Vec<Jwk>, FetchError> {
    let document: Document = serde_json::from_slice(body)?;
    if document.keys.len() > MAX_KEYS {
        return Err(FetchError::TooManyKeys(document.keys.len()));
    }
    Ok(document
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value(key).ok())
        .filter(|key| is_for_signatures(key) && has_algorithm(key, algorithms))
        .filter(|key| can_verify(key, algorithms) && DecodingKey::from_jwk(key).is_ok())
        .collect())
}

/// The keys by their names.
pub(super) fn key_set(source: &[Jwk]) -> Result<KeySet, Error> {
    let mut named = HashMap::new();
    // The first of a name wins.
    for key in source.iter().rev() {
        if let Some(kid) = &key.common.key_id {
            named.insert(kid.clone(), DecodingKey::from_jwk(key)?);
        }
    }
    let only = match source {
        [key] => Some(DecodingKey::from_jwk(key)?),
        _ => None,
    };
    Ok(KeySet::Named { named, only })
}

fn is_for_signatures(key: &Jwk) -> bool {
    let by_use = matches!(
        key.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let by_operation = key
        .common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    by_use && by_operation
}

/// A key that names its algorithm serves that one only.
fn has_algorithm(key: &Jwk, algorithms: &[JwtAlgorithm]) -> bool {
    key.common.key_algorithm.is_none_or(|named| {
        algorithms
            .iter()
            .any(|algorithm| named == KeyAlgorithm::from(Algorithm::from(*algorithm)))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RSA: &str = include_str!("../testdata/rsa_a_public.pem");
    const EC: &str = include_str!("../testdata/ec_public.pem");
    const ED: &str = include_str!("../testdata/ed_public.pem");
    const RSA_SHORT: &str = include_str!("../testdata/rsa_short_public.pem");

    fn rsa(pem: &str, more: &Value) -> Value {
        let key = DecodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        let mut key = serde_json::to_value(Jwk::from_decoding_key(&key, None).unwrap()).unwrap();
        let more = more.as_object().unwrap().clone();
        key.as_object_mut().unwrap().extend(more);
        key
    }

    #[track_caller]
    fn check(key: &Value, expected: usize) {
        let body = json!({"keys": [key]}).to_string();
        let keys = usable_keys(body.as_bytes(), &[JwtAlgorithm::Rs256]).unwrap();
        assert_eq!(keys.len(), expected, "{body}");
    }

    #[test]
    fn only_keys_that_verify_the_algorithms_are_taken() {
        check(&rsa(RSA, &json!({})), 1);
        check(&rsa(RSA, &json!({"alg": "RS256", "use": "sig"})), 1);
        check(&rsa(RSA, &json!({"key_ops": ["verify"]})), 1);
        check(&rsa(RSA, &json!({"use": "enc"})), 0);
        check(&rsa(RSA, &json!({"use": "other"})), 0);
        check(&rsa(RSA, &json!({"key_ops": ["encrypt"]})), 0);
        check(&rsa(RSA, &json!({"alg": "RS512"})), 0);
        check(&rsa(RSA, &json!({"alg": "HS256"})), 0);
        check(&rsa(RSA, &json!({"alg": "new"})), 0);
        check(&rsa(RSA_SHORT, &json!({})), 0);
    }

    #[test]
    fn each_algorithm_takes_its_own_kind_of_key() {
        let kinds = [
            (
                JwtAlgorithm::Rs256,
                DecodingKey::from_rsa_pem(RSA.as_bytes()),
            ),
            (JwtAlgorithm::Es256, DecodingKey::from_ec_pem(EC.as_bytes())),
            (JwtAlgorithm::EdDsa, DecodingKey::from_ed_pem(ED.as_bytes())),
        ];
        let keys = kinds.map(|(algorithm, key)| {
            let key = Jwk::from_decoding_key(&key.unwrap(), None).unwrap();
            (algorithm, key)
        });
        let body = json!({"keys": keys.iter().map(|(_, key)| key).collect::<Vec<_>>()});
        for (algorithm, key) in &keys {
            let usable = usable_keys(body.to_string().as_bytes(), &[*algorithm]).unwrap();
            assert_eq!(usable.as_slice(), std::slice::from_ref(key), "{algorithm}");
        }
    }

    #[test]
    fn keys_of_other_kinds_and_broken_keys_are_passed_over() {
        check(&json!({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}), 0);
        check(&json!({"kty": "oct", "k": "c2VjcmV0", "alg": "RS256"}), 0);
        check(&json!({"kty": "AKP", "pub": "AA"}), 0);
        check(
            &json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
            0,
        );
        check(&json!({"kty": "RSA", "n": "!".repeat(342), "e": "AQAB"}), 0);
        check(&json!({"kty": "RSA", "n": 1, "e": []}), 0);
        for key in [json!(null), json!(1), json!([]), json!({}), json!("RSA")] {
            check(&key, 0);
        }
    }

    #[test]
    fn a_document_that_is_no_jwks_or_too_large_is_an_error() {
        let algorithms = [JwtAlgorithm::Rs256];
        for body in ["", "{}", "[]", "{\"keys\": 1}", "<html>", "\u{0}"] {
            assert!(usable_keys(body.as_bytes(), &algorithms).is_err(), "{body}");
        }
        let body = json!({"keys": vec![json!({}); MAX_KEYS + 1]}).to_string();
        assert!(usable_keys(body.as_bytes(), &algorithms).is_err());
    }

    #[test]
    fn a_token_without_kid_gets_the_only_key_or_none() {
        let key = |kid: &str| serde_json::from_value(rsa(RSA, &json!({"kid": kid}))).unwrap();
        let one = key_set(&[key("a")]).unwrap();
        assert!(one.find(None).is_some());
        assert!(one.find(Some("a")).is_some());
        assert!(one.find(Some("b")).is_none());
        let two = key_set(&[key("a"), key("b")]).unwrap();
        assert!(two.find(None).is_none());
        assert!(two.find(Some("b")).is_some());
    }
}

//! Tokens for tests, and the keys they are signed with.

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use quota_store::{ManualClock, UnixMillis};
use serde_json::{Value, json};

use super::{JwtIdentity, JwtSettings, Unauthenticated};

pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(super) const RSA_PUBLIC: &str = include_str!("testdata/rsa_a_public.pem");
pub(super) const EC_PUBLIC: &str = include_str!("testdata/ec_public.pem");
pub(super) const ED_PUBLIC: &str = include_str!("testdata/ed_public.pem");

/// The present of every test, in seconds since the epoch.
pub(super) const NOW: u64 = 1_700_000_000;

pub(super) fn clock() -> ManualClock {
    ManualClock::new(UnixMillis::from_seconds(NOW))
}

pub(super) fn verifier(settings: JwtSettings, clock: &ManualClock) -> JwtIdentity {
    JwtIdentity::new(settings, std::sync::Arc::new(clock.clone())).unwrap()
}

pub(super) fn secret_key() -> EncodingKey {
    EncodingKey::from_secret(SECRET.as_bytes())
}

pub(super) fn rsa_a() -> EncodingKey {
    EncodingKey::from_rsa_pem(include_bytes!("testdata/rsa_a_private.pem")).unwrap()
}

pub(super) fn rsa_b() -> EncodingKey {
    EncodingKey::from_rsa_pem(include_bytes!("testdata/rsa_b_private.pem")).unwrap()
}

pub(super) fn ec() -> EncodingKey {
    EncodingKey::from_ec_pem(include_bytes!("testdata/ec_private.pem")).unwrap()
}

pub(super) fn ed() -> EncodingKey {
    EncodingKey::from_ed_pem(include_bytes!("testdata/ed_private.pem")).unwrap()
}

/// Claims of a token that holds for an hour.
pub(super) fn alice() -> Value {
    json!({"sub": "alice", "exp": NOW + 3600})
}

pub(super) fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    sign_with(&Header::new(algorithm), key, claims)
}

pub(super) fn sign_with(header: &Header, key: &EncodingKey, claims: &Value) -> String {
    encode(header, claims, key).unwrap()
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()).unwrap();
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}

pub(super) const fn invalid(why: &'static str) -> Unauthenticated {
    Unauthenticated::Invalid(why)
}

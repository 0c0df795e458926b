//! Signed tokens for test users.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

/// A secret that is long enough for HS256.
pub const TEST_SECRET: &str = "a secret of the tests, 32 bytes or more";

/// 2100-01-01, in Unix seconds.
const FAR_AWAY: u64 = 4_102_444_800;

/// What a token says.
#[derive(Clone, Debug)]
#[must_use]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// A token of `user` that expires in the year 2100.
    pub fn user(user: &str) -> Self {
        Self(Map::new())
            .with("sub", json!(user))
            .with("exp", json!(FAR_AWAY))
    }

    /// With this tenant in `org`.
    pub fn with_org(self, org: &str) -> Self {
        self.with("org", json!(org))
    }

    /// With this plan in `plan`.
    pub fn with_plan(self, plan: &str) -> Self {
        self.with("plan", json!(plan))
    }

    /// With this role in `role`.
    pub fn with_role(self, role: &str) -> Self {
        self.with("role", json!(role))
    }

    /// With any claim, of any type; replaces what was there.
    pub fn with(mut self, claim: &str, value: Value) -> Self {
        self.0.insert(claim.to_owned(), value);
        self
    }

    /// Without this claim.
    pub fn without(mut self, claim: &str) -> Self {
        self.0.remove(claim);
        self
    }
}

/// A token with these claims, signed with HS256.
#[must_use]
pub fn token(secret: &str, claims: &Claims) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    token_with(&Header::new(Algorithm::HS256), &key, claims)
}

/// A token with any header and key.
#[must_use]
pub fn token_with(header: &Header, key: &EncodingKey, claims: &Claims) -> String {
    jsonwebtoken::encode(header, &claims.0, key).expect("the key fits the header's algorithm")
}

/// The value of an `Authorization` header: a token of `user`, signed with `TEST_SECRET`.
#[must_use]
pub fn bearer(user: &str) -> String {
    format!("Bearer {}", token(TEST_SECRET, &Claims::user(user)))
}

//! Who makes a request is known for sure, or it is refused before the store is asked.

mod sources;

use std::io::Write as _;

use axum::{Router, body::Body, routing};
use base64_url::encode;
use http::{HeaderValue, Request};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quota_tests::{
    doubles::Watch,
    layers::{Store, identity, layered_watched},
    requests::{header, json, send},
    tokens::{Claims, TEST_SECRET, token, token_with},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// Rules for `/chat`; `more` belongs above them, `[identity.jwt]` below.
fn config(more: &str, jwt: &str) -> String {
    format!(
        r#"
        {more}
        [quotas.messages]
        [plans.free]
        default = true
        limits.messages = "100/lifetime"
        [plans.visitor]
        limits.messages = "2/lifetime"
        [[routes]]
        match = "GET /chat"
        charge = {{ messages = 1 }}
        {jwt}
        "#
    )
}

/// An application behind the layer, with a store that must not be asked.
struct Guarded {
    app: Router,
    watch: Watch,
}

impl Guarded {
    async fn new(store: Store, config: &str) -> Self {
        let (layered, watch) = layered_watched(store, config).await;
        let app = Router::new()
            .route("/chat", routing::get(async || "hello"))
            .layer(layered.quota);
        Self { app, watch }
    }

    /// The `error_description` of a refusal, without any call of the store; empty if none is told.
    async fn refusal(&self, headers: &[(&str, &[u8])]) -> String {
        let mut request = Request::get("/chat").body(Body::empty()).unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            let value = HeaderValue::from_bytes(value).unwrap();
            request.headers_mut().append(name, value);
        }
        let before = self.watch.all_calls();
        let response = send(&self.app, request).await;
        assert_eq!(response.status(), 401, "{headers:?}");
        assert_eq!(self.watch.all_calls(), before, "{headers:?}");
        assert_eq!(
            header(&response, "content-type"),
            "application/problem+json"
        );
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(header(&response, "x-quota-state"), "");
        let body = json(&response);
        assert_eq!(
            (&body["reason"], &body["status"]),
            (&json!("unauthenticated"), &json!(401))
        );
        assert_eq!(body["type"], "about:blank");
        let challenge = header(&response, "www-authenticate");
        let rest = challenge
            .strip_prefix("Bearer realm=\"quota\"")
            .expect(challenge);
        if rest.is_empty() {
            return String::new();
        }
        let told = rest.strip_prefix(", error=\"invalid_token\", error_description=\"");
        told.expect(challenge).trim_end_matches('"').to_owned()
    }

    async fn refused_token(&self, token: &str) -> String {
        let value = format!("Bearer {token}");
        self.refusal(&[("authorization", value.as_bytes())]).await
    }

    async fn status(&self, token: &str) -> u16 {
        let request = Request::get("/chat").header("authorization", format!("Bearer {token}"));
        let response = send(&self.app, request.body(Body::empty()).unwrap()).await;
        response.status().as_u16()
    }
}

fn signed(claims: &Claims) -> String {
    token(TEST_SECRET, claims)
}

fn alice() -> Claims {
    Claims::user("alice")
}

async fn bad_tokens_are_refused_without_the_store(store: Store) {
    let guarded = Guarded::new(store, &config("", &identity())).await;
    let missing = async |headers: &[(&str, &[u8])]| guarded.refusal(headers).await;
    assert_eq!(missing(&[]).await, "");
    assert_eq!(missing(&[("authorization", b"Basic YTpi")]).await, "");
    assert_eq!(missing(&[("cookie", b"session=x")]).await, "");
    let good = format!("Bearer {}", signed(&alice()));
    let twice: [(&str, &[u8]); 2] = [
        ("authorization", good.as_bytes()),
        ("authorization", good.as_bytes()),
    ];
    assert_eq!(
        guarded.refusal(&twice).await,
        "more than one Authorization header"
    );
    assert_eq!(
        guarded
            .refusal(&[("authorization", b"Bearer \xff\xfe")])
            .await,
        "the token is malformed"
    );
    let expired = alice().with("exp", json!(1_000));
    assert_eq!(
        guarded.refused_token(&signed(&expired)).await,
        "the token has expired"
    );
    let wrong_key = token("another secret of the tests, 32 bytes", &alice());
    assert_eq!(
        guarded.refused_token(&wrong_key).await,
        "the signature does not hold"
    );
    let key = EncodingKey::from_secret(TEST_SECRET.as_bytes());
    let stronger = token_with(&Header::new(Algorithm::HS512), &key, &alice());
    assert_eq!(
        guarded.refused_token(&stronger).await,
        "the algorithm is not allowed"
    );
    for odd in ["", "x", "a.b", "a.b.c", "a.b.c.d", "..", "\t"] {
        guarded.refused_token(odd).await;
    }
    assert_eq!(guarded.watch.all_calls(), 0);
    assert_eq!(guarded.status(&signed(&alice())).await, 200);
}

async fn a_token_without_a_signature_is_refused(store: Store) {
    let guarded = Guarded::new(store, &config("", &identity())).await;
    let good = signed(&alice());
    let claims = good.split('.').nth(1).unwrap();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let head = encode(json!({ "alg": alg, "typ": "JWT" }).to_string().as_bytes());
        for end in ["", ".", ".AAAA", &good[good.rfind('.').unwrap()..]] {
            guarded
                .refused_token(&format!("{head}.{claims}{end}"))
                .await;
        }
    }
}

/// The key is public, so anybody can make such a token.
async fn a_token_signed_with_the_public_key_as_secret_is_refused(store: Store) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let public = pair.public_key_pem();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(public.as_bytes()).unwrap();
    let jwt = format!(
        "[identity.jwt]\nalgorithms = [\"ES256\"]\npublic_key = \"file:{}\"\naudience = \"any\"",
        file.path().display()
    );
    let guarded = Guarded::new(store, &config("", &jwt)).await;
    for secret in [public.as_str(), public.trim()] {
        assert_eq!(
            guarded.refused_token(&token(secret, &alice())).await,
            "the algorithm is not allowed"
        );
    }
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let good = token_with(&Header::new(Algorithm::ES256), &key, &alice());
    assert_eq!(guarded.status(&good).await, 200);
}

async fn issuer_and_audience_must_be_there_and_right(store: Store) {
    let jwt = format!(
        "{}issuer = \"https://issuer.example\"\naudience = [\"api\"]\n",
        identity()
    );
    let guarded = Guarded::new(store, &config("", &jwt)).await;
    let good = alice()
        .with("iss", json!("https://issuer.example"))
        .with("aud", json!("api"));
    let wrong: [Value; 8] = [
        json!("https://other.example"),
        json!(["https://other.example"]),
        json!(7),
        json!(null),
        json!({}),
        json!(["https://issuer.example", 7]),
        json!(true),
        json!([]),
    ];
    for value in wrong {
        guarded
            .refused_token(&signed(&good.clone().with("iss", value.clone())))
            .await;
        guarded
            .refused_token(&signed(&good.clone().with("aud", value)))
            .await;
    }
    guarded
        .refused_token(&signed(&good.clone().without("iss")))
        .await;
    guarded
        .refused_token(&signed(&good.clone().without("aud")))
        .await;
    assert_eq!(guarded.status(&signed(&good)).await, 200);
    let several = good.with("aud", json!(["other", "api"]));
    assert_eq!(guarded.status(&signed(&several)).await, 200);
}

async fn claims_of_the_wrong_type_are_refused(store: Store) {
    let guarded = Guarded::new(store, &config("", &identity())).await;
    for claims in [
        alice().without("sub"),
        alice().without("exp"),
        alice().with("sub", json!("")),
        alice().with("sub", json!(null)),
        alice().with("sub", json!(["alice"])),
        alice().with("sub", json!("a".repeat(257))),
        alice().with("sub", json!("a\0b")),
        alice().with("exp", json!("tomorrow")),
        alice().with("exp", json!(null)),
        alice().with("exp", json!(-1)),
        alice().with("nbf", json!(4_102_444_799_u64)),
        alice().with("nbf", json!("now")),
        alice().with("org", json!("")),
        alice().with("org", json!(["acme"])),
        alice().with("org", json!("o".repeat(257))),
    ] {
        let text = guarded.refused_token(&signed(&claims)).await;
        assert!(!text.is_empty(), "{claims:?}");
    }
    assert_eq!(guarded.watch.all_calls(), 0);
}

async fn a_token_of_65_kb_is_refused(store: Store) {
    let guarded = Guarded::new(store, &config("", &identity())).await;
    let long = signed(&alice().with("padding", json!("x".repeat(65_000))));
    assert!(long.len() > 65_000);
    assert_eq!(guarded.refused_token(&long).await, "the token is too long");
    let dots = ".".repeat(65_000);
    assert_eq!(guarded.refused_token(&dots).await, "the token is too long");
}

/// A token that was good is refused as soon as it has expired, though it was cached.
#[tokio::test]
async fn a_cached_token_expires() {
    let clock = quota_store::ManualClock::new(quota_store::UnixMillis::from_seconds(1_000_000));
    let toml = config("", &identity());
    let layered =
        quota_tests::layers::layered_at(Store::Memory, &toml, std::sync::Arc::new(clock.clone()))
            .await;
    let app = Router::new()
        .route("/chat", routing::get(async || "hello"))
        .layer(layered.quota);
    let token = signed(&alice().with("exp", json!(1_000_060)));
    let mut seen = Vec::new();
    for second in [1_000_000, 1_000_059, 1_000_089, 1_000_091, 1_000_059] {
        clock.set(quota_store::UnixMillis::from_seconds(second));
        let request = Request::get("/chat").header("authorization", format!("Bearer {token}"));
        seen.push(
            send(&app, request.body(Body::empty()).unwrap())
                .await
                .status()
                .as_u16(),
        );
    }
    assert_eq!(seen, [200, 200, 200, 401, 200]);
}

on_both_stores!(
    bad_tokens_are_refused_without_the_store,
    a_token_without_a_signature_is_refused,
    a_token_signed_with_the_public_key_as_secret_is_refused,
    issuer_and_audience_must_be_there_and_right,
    claims_of_the_wrong_type_are_refused,
    a_token_of_65_kb_is_refused,
);

/// Base64 without padding, as tokens have it (RFC 7515, section 2).
mod base64_url {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    pub(super) fn encode(bytes: &[u8]) -> String {
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let group = chunk
                .iter()
                .fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
            let group = group << (8 * (3 - chunk.len()));
            for place in 0..=chunk.len() {
                let digit = group >> (18 - 6 * place) & 63;
                text.push(char::from(DIGITS[usize::try_from(digit).unwrap()]));
            }
        }
        text
    }
}

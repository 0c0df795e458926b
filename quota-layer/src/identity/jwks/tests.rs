mod issuer;

use axum::http::StatusCode;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use quota_store::ManualClock;
use serde_json::{Value, json};

use self::issuer::Issuer;
use super::*;
use crate::identity::{
    Audience, Identified, IdentifyFailure, JwtIdentity, JwtKey, JwtSettings, QuotaIdentity,
    test_tokens::{
        NOW, alice, bearer, clock, invalid, rsa_a, rsa_b, secret_key, sign_with, verifier as make,
    },
};

fn settings(url: &str) -> JwtSettings {
    let key = JwtKey::Jwks(url.to_owned());
    JwtSettings::new(vec![JwtAlgorithm::Rs256], key, Audience::Any)
}

fn jwks(verifier: &JwtIdentity) -> &Arc<Jwks> {
    verifier.jwks().unwrap()
}

fn public(key: &EncodingKey, kid: &str) -> Value {
    let mut key = Jwk::from_encoding_key(key, Algorithm::RS256).unwrap();
    key.common.key_id = Some(kid.to_owned());
    serde_json::to_value(key).unwrap()
}

fn token(key: &EncodingKey, kid: &str) -> http::HeaderMap {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(kid.to_owned());
    let mut claims = alice();
    claims["exp"] = json!(NOW + 1_000_000);
    bearer(&sign_with(&header, key, &claims))
}

fn known() -> Identified {
    Identified::Known(QuotaIdentity::new("alice"))
}

fn unknown_key() -> IdentifyFailure {
    IdentifyFailure::Unauthenticated(invalid("the token names an unknown key"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    tokio::time::timeout(seconds(10), async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

async fn started(keys: &[Value]) -> (Issuer, ManualClock, JwtIdentity) {
    let issuer = Issuer::start(keys).await;
    let clock = clock();
    let verifier = make(settings(&issuer.url), &clock);
    (issuer, clock, verifier)
}

#[tokio::test]
async fn the_first_request_fetches_and_the_next_do_not_wait() {
    let (issuer, _, verifier) = started(&[public(&rsa_a(), "a")]).await;
    let headers = token(&rsa_a(), "a");
    assert_eq!(verifier.identify_now(&headers), Identified::NeedsKeys);
    assert_eq!(issuer.fetches(), 0);
    assert!(verifier.identify(&headers).await.is_ok());
    assert_eq!(verifier.identify_now(&headers), known());
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn keys_can_be_fetched_before_the_first_request() {
    let (issuer, clock, verifier) = started(&[public(&rsa_a(), "a")]).await;
    verifier.fetch_keys().await.unwrap();
    assert_eq!(verifier.identify_now(&token(&rsa_a(), "a")), known());
    assert_eq!(issuer.fetches(), 1);
    let unreachable = make(settings("http://127.0.0.1:1/keys"), &clock);
    let failure = unreachable.fetch_keys().await;
    assert_eq!(failure, Err(IdentifyFailure::Unavailable));
}

#[tokio::test]
async fn a_token_with_a_new_key_is_known_after_one_fetch() {
    let (issuer, clock, verifier) = started(&[public(&rsa_a(), "a")]).await;
    verifier.fetch_keys().await.unwrap();
    issuer.set_keys(&[public(&rsa_a(), "a"), public(&rsa_b(), "b")]);
    clock.advance(seconds(10));
    let (old, new) = (token(&rsa_a(), "a"), token(&rsa_b(), "b"));
    assert_eq!(verifier.identify_now(&new), Identified::NeedsKeys);
    assert_eq!(verifier.identify_now(&old), known());
    assert!(verifier.identify(&new).await.is_ok());
    assert_eq!(verifier.identify_now(&new), known());
    assert_eq!(verifier.identify_now(&old), known());
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn a_removed_key_takes_its_remembered_tokens_along() {
    let both = [public(&rsa_a(), "a"), public(&rsa_b(), "b")];
    let (issuer, clock, verifier) = started(&both).await;
    let (old, new) = (token(&rsa_a(), "a"), token(&rsa_b(), "b"));
    assert!(verifier.identify(&old).await.is_ok());
    issuer.set_keys(&both[1..]);
    clock.advance(seconds(1000));
    assert_eq!(verifier.identify(&old).await, Err(unknown_key()));
    assert_eq!(verifier.identify_now(&new), known());
}

#[tokio::test]
async fn a_key_that_changes_under_its_name_takes_its_remembered_tokens_along() {
    let (issuer, clock, verifier) = started(&[public(&rsa_a(), "a")]).await;
    let headers = token(&rsa_a(), "a");
    assert!(verifier.identify(&headers).await.is_ok());
    issuer.set_keys(&[public(&rsa_b(), "a")]);
    clock.advance(seconds(1000));
    let wrong = IdentifyFailure::Unauthenticated(invalid("the signature does not hold"));
    assert_eq!(verifier.identify(&headers).await, Err(wrong));
}

#[tokio::test]
async fn twenty_requests_with_an_unknown_key_make_one_fetch() {
    let (issuer, clock, verifier) = started(&[public(&rsa_a(), "a")]).await;
    verifier.fetch_keys().await.unwrap();
    clock.advance(seconds(10));
    issuer.hold();
    let verifier = Arc::new(verifier);
    let requests: Vec<_> = (0..20)
        .map(|number| {
            let verifier = Arc::clone(&verifier);
            let headers = token(&rsa_b(), &format!("b{number}"));
            tokio::spawn(async move { verifier.identify(&headers).await })
        })
        .collect();
    until("all wait", || jwks(&verifier).landed.receiver_count() == 20).await;
    // Those with a known key do not wait with them.
    assert_eq!(verifier.identify_now(&token(&rsa_a(), "a")), known());
    issuer.let_go();
    for request in requests {
        assert_eq!(request.await.unwrap(), Err(unknown_key()));
    }
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn unknown_keys_are_refused_without_a_fetch_for_ten_seconds() {
    let (issuer, clock, verifier) = started(&[public(&rsa_a(), "a")]).await;
    let headers = token(&rsa_b(), "b");
    assert_eq!(verifier.identify(&headers).await, Err(unknown_key()));
    clock.advance(Duration::from_millis(9_999));
    assert_eq!(verifier.identify(&headers).await, Err(unknown_key()));
    assert_eq!(issuer.fetches(), 1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(verifier.identify(&headers).await, Err(unknown_key()));
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test]
async fn a_token_with_another_algorithm_causes_no_fetch() {
    let (issuer, clock, verifier) = started(&[public(&rsa_a(), "a")]).await;
    verifier.fetch_keys().await.unwrap();
    clock.advance(seconds(10));
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("b".to_owned());
    let headers = bearer(&sign_with(&header, &secret_key(), &alice()));
    let refused = Identified::Refused(invalid("the algorithm is not allowed"));
    assert_eq!(verifier.identify_now(&headers), refused);
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_fetch() {
    let (issuer, _, verifier) = started(&[public(&rsa_a(), "a")]).await;
    issuer.hold();
    let verifier = Arc::new(verifier);
    let request = tokio::spawn({
        let verifier = Arc::clone(&verifier);
        async move { verifier.identify(&token(&rsa_a(), "a")).await }
    });
    until("the fetch runs", || issuer.fetches() == 1).await;
    request.abort();
    issuer.let_go();
    until("keys are there", || jwks(&verifier).stored().is_some()).await;
    assert_eq!(verifier.identify_now(&token(&rsa_a(), "a")), known());
}

#[tokio::test]
async fn old_keys_are_fetched_again_without_waiting() {
    let (issuer, clock, verifier) = started(&[public(&rsa_a(), "a")]).await;
    let headers = token(&rsa_a(), "a");
    assert!(verifier.identify(&headers).await.is_ok());
    clock.advance(seconds(749));
    assert_eq!(verifier.identify_now(&headers), known());
    assert!(!jwks(&verifier).flight().running);
    clock.advance(seconds(1));
    issuer.hold();
    for _ in 0..5 {
        assert_eq!(verifier.identify_now(&headers), known());
    }
    until("the fetch runs", || issuer.fetches() == 2).await;
    assert_eq!(verifier.identify_now(&headers), known());
    issuer.let_go();
    until("it landed", || !jwks(&verifier).flight().running).await;
    assert_eq!(verifier.identify_now(&headers), known());
    assert!(!jwks(&verifier).flight().running);
    assert_eq!(issuer.fetches(), 2);
    // The same keys again leave the remembered tokens alone.
    assert_eq!(jwks(&verifier).stored().as_ref().unwrap().generation, 0);
}

#[tokio::test]
async fn an_issuer_that_is_down_refuses_nobody() {
    let (issuer, clock, verifier) = started(&[public(&rsa_a(), "a")]).await;
    let headers = token(&rsa_a(), "a");
    assert!(verifier.identify(&headers).await.is_ok());
    for (status, body) in [
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            json!({"keys": []}).to_string(),
        ),
        (StatusCode::NO_CONTENT, String::new()),
        (StatusCode::OK, "<html>".to_owned()),
        (
            StatusCode::OK,
            format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(300_000)),
        ),
    ] {
        let fetches = issuer.fetches();
        issuer.set_answer(status, body);
        clock.advance(seconds(2000));
        // Stale: one request waits for one more fetch, the next do not.
        assert_eq!(verifier.identify_now(&headers), Identified::NeedsKeys);
        assert!(verifier.identify(&headers).await.is_ok(), "{status}");
        assert_eq!(verifier.identify_now(&headers), known());
        assert_eq!(issuer.fetches(), fetches + 1);
        issuer.set_keys(&[public(&rsa_a(), "a")]);
        clock.advance(seconds(10));
        verifier.fetch_keys().await.unwrap();
    }
}

#[tokio::test]
async fn keys_that_were_never_fetched_are_unavailable() {
    let (issuer, clock, verifier) = started(&[public(&rsa_a(), "a")]).await;
    issuer.set_answer(StatusCode::BAD_GATEWAY, String::new());
    let headers = token(&rsa_a(), "a");
    let unavailable = Err(IdentifyFailure::Unavailable);
    assert_eq!(verifier.identify(&headers).await, unavailable);
    assert_eq!(verifier.identify(&headers).await, unavailable);
    assert_eq!(issuer.fetches(), 1);
    // No token is a 401 whatever the issuer does.
    let nobody = verifier.identify(&http::HeaderMap::new()).await;
    assert!(matches!(nobody, Err(IdentifyFailure::Unauthenticated(_))));
    issuer.set_keys(&[public(&rsa_a(), "a")]);
    clock.advance(seconds(1));
    assert!(verifier.identify(&headers).await.is_ok());
}

#[tokio::test]
async fn a_secret_in_the_set_is_ignored() {
    // The secret of the tests in base64.
    let secret = json!({
        "kty": "oct", "kid": "s", "alg": "HS256",
        "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
    });
    let (_, _, verifier) = started(&[secret, public(&rsa_a(), "a")]).await;
    verifier.fetch_keys().await.unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("s".to_owned());
    let headers = bearer(&sign_with(&header, &secret_key(), &alice()));
    let refused = Identified::Refused(invalid("the algorithm is not allowed"));
    assert_eq!(verifier.identify_now(&headers), refused);
    let as_rsa = verifier.identify(&token(&rsa_a(), "s")).await;
    assert_eq!(as_rsa, Err(unknown_key()));
}

#[tokio::test]
async fn redirects_stay_on_allowed_addresses() {
    let (issuer, clock, _) = started(&[public(&rsa_a(), "a")]).await;
    for (path, is_followed) in [("/near", true), ("/away", false), ("/round", false)] {
        let url = issuer.url.replace("/keys", path);
        let verifier = make(settings(&url), &clock);
        assert_eq!(verifier.fetch_keys().await.is_ok(), is_followed, "{path}");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_stop_fetching() {
    let (issuer, clock, verifier) = started(&[public(&rsa_a(), "a")]).await;
    verifier.fetch_keys().await.unwrap();
    issuer.set_keys(&[public(&rsa_b(), "b")]);
    clock.set(UnixMillis::from_seconds(NOW - 3600));
    assert!(verifier.identify(&token(&rsa_b(), "b")).await.is_ok());
}

#[tokio::test]
async fn a_fetch_whose_runtime_shut_down_does_not_block_the_next() {
    let (issuer, clock, verifier) = started(&[public(&rsa_a(), "a")]).await;
    issuer.hold();
    let other = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let guard = other.enter();
    drop(jwks(&verifier).start(clock.now()));
    drop(guard);
    until("the fetch runs", || issuer.fetches() == 1).await;
    other.shutdown_background();
    until("it is over", || !jwks(&verifier).flight().running).await;
    issuer.let_go();
    clock.advance(seconds(1));
    assert!(verifier.identify(&token(&rsa_a(), "a")).await.is_ok());
}

#[tokio::test]
async fn addresses_and_algorithms_are_checked_at_start() {
    let message = |settings: JwtSettings| {
        let error = JwtIdentity::new(settings, Arc::new(clock())).unwrap_err();
        error.to_string()
    };
    assert!(message(settings("http://issuer.example/keys")).contains("neither https"));
    let mut symmetric = settings("https://issuer.example/keys");
    symmetric.algorithms = vec![JwtAlgorithm::Hs256];
    assert!(message(symmetric).contains("HS256 can't be verified with `jwks`"));
    let https = settings("https://issuer.example/keys");
    assert!(JwtIdentity::new(https, Arc::new(clock())).is_ok());
}

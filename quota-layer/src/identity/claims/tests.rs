use serde_json::json;

use super::*;
use crate::identity::{JwtAlgorithm, JwtKey};

const NOW: UnixMillis = UnixMillis::from_seconds(1_000);

fn settings() -> JwtSettings {
    let mut settings = JwtSettings::new(
        vec![JwtAlgorithm::Hs256],
        JwtKey::Secret("".into()),
        Audience::Any,
    );
    settings.max_id_bytes = 8;
    settings
}

fn read(settings: &JwtSettings, claims: &Value) -> Result<QuotaIdentity, Unauthenticated> {
    let rules = ClaimRules::new(settings.clone()).unwrap();
    rules.read(claims, NOW).map(|(identity, _)| identity)
}

#[track_caller]
fn refused(settings: &JwtSettings, claims: &Value, why: &'static str) {
    assert_eq!(
        read(settings, claims),
        Err(Unauthenticated::Invalid(why)),
        "{claims}"
    );
}

#[test]
fn exp_is_required_and_ends_after_the_leeway() {
    let check = |exp: Value, why| refused(&settings(), &json!({"sub": "a", "exp": exp}), why);
    refused(&settings(), &json!({"sub": "a"}), "the token has no exp");
    check(json!(970), "the token has expired");
    check(json!(969.999), "the token has expired");
    check(json!(0), "the token has expired");
    check(json!(-5), "the token has expired");
    check(json!(i64::MIN), "the token has expired");
    check(json!(-1.5e9), "the token has expired");
    for bad in [
        json!(null),
        json!("2000"),
        json!([2000]),
        json!({}),
        json!(1e300),
    ] {
        check(bad, "exp is not a time");
    }
    for good in [json!(971), json!(970.001), json!(2e3), json!(u64::MAX)] {
        let claims = json!({"sub": "a", "exp": good});
        assert!(read(&settings(), &claims).is_ok(), "{claims}");
    }
}

#[test]
fn the_expiry_that_is_kept_includes_the_leeway() {
    let rules = ClaimRules::new(settings()).unwrap();
    let expires = |exp: Value| rules.read(&json!({"sub": "a", "exp": exp}), NOW).unwrap().1;
    assert_eq!(expires(json!(2000)), UnixMillis::from_seconds(2030));
    assert_eq!(expires(json!(2000.5)), UnixMillis::new(2_030_500));
    assert_eq!(expires(json!(u64::MAX)), UnixMillis::new(u64::MAX));
}

#[test]
fn nbf_is_checked_with_leeway_where_there_is_one() {
    let claims = |nbf: Value| json!({"sub": "a", "exp": 2000, "nbf": nbf});
    assert!(read(&settings(), &claims(json!(1030))).is_ok());
    assert!(read(&settings(), &claims(json!(-7))).is_ok());
    for late in [json!(1031), json!(1030.001), json!(u64::MAX)] {
        refused(&settings(), &claims(late), "the token is not valid yet");
    }
    for bad in [json!(null), json!("900"), json!(1e300)] {
        refused(&settings(), &claims(bad), "nbf is not a time");
    }
}

#[test]
fn the_issuer_is_required_when_it_is_configured() {
    let mut settings = settings();
    let claims = |iss: Value| json!({"sub": "a", "exp": 2000, "iss": iss});
    assert!(read(&settings, &claims(json!(7))).is_ok());
    settings.issuer = Some("me".to_owned());
    assert!(read(&settings, &claims(json!("me"))).is_ok());
    refused(
        &settings,
        &claims(json!("you")),
        "the issuer is not trusted",
    );
    refused(&settings, &claims(json!(7)), "iss is not a string");
    refused(&settings, &claims(json!(["me"])), "iss is not a string");
    refused(
        &settings,
        &json!({"sub": "a", "exp": 2000}),
        "the token has no iss",
    );
}

#[test]
fn one_audience_must_match_when_they_are_configured() {
    let mut settings = settings();
    settings.audience = Audience::OneOf(vec!["api".to_owned(), "app".to_owned()]);
    let claims = |aud: Value| json!({"sub": "a", "exp": 2000, "aud": aud});
    assert!(read(&settings, &claims(json!("app"))).is_ok());
    assert!(read(&settings, &claims(json!(["x", "api"]))).is_ok());
    for other in [json!("x"), json!([]), json!(["apis"])] {
        refused(
            &settings,
            &claims(other),
            "the token is for another audience",
        );
    }
    for bad in [json!(1), json!({"api": 1}), json!(["api", 1]), json!(null)] {
        let why = "aud is neither a string nor a list of strings";
        refused(&settings, &claims(bad), why);
    }
    refused(
        &settings,
        &json!({"sub": "a", "exp": 2000}),
        "the token has no aud",
    );
}

#[test]
fn the_user_is_required_and_within_bounds() {
    let claims = |sub: Value| json!({"exp": 2000, "sub": sub});
    let check = |sub: Value, why| refused(&settings(), &claims(sub), why);
    refused(
        &settings(),
        &json!({"exp": 2000}),
        "the token names no user",
    );
    check(json!(null), "the token names no user");
    check(json!(""), "the user is empty");
    check(json!("123456789"), "the user is too long");
    for bad in [json!(1.5), json!(true), json!(["a"]), json!({})] {
        check(bad, "the user is not a string");
    }
    let user = |sub: Value| read(&settings(), &claims(sub)).unwrap().user().to_owned();
    assert_eq!(user(json!("12345678")), "12345678");
    assert_eq!(user(json!(42)), "42");
    assert_eq!(user(json!(-1)), "-1");
}

#[test]
fn tenant_plan_and_roles_are_read_where_they_are() {
    let identity = read(
        &settings(),
        &json!({"exp": 2000, "sub": "a", "org": "acme", "plan": "Pro!", "role": "x  y"}),
    )
    .unwrap();
    assert_eq!(identity.tenant(), Some("acme"));
    assert_eq!(identity.plan(), Some("Pro!"));
    assert_eq!(identity.roles(), ["x", "y"]);
    let claims = |name: &str, value: Value| json!({"exp": 2000, "sub": "a", name: value});
    refused(
        &settings(),
        &claims("org", json!("")),
        "the tenant is empty",
    );
    refused(
        &settings(),
        &claims("org", json!({})),
        "the tenant is not a string",
    );
    refused(
        &settings(),
        &claims("plan", json!(1)),
        "the plan is not a string",
    );
    refused(
        &settings(),
        &claims("role", json!([1])),
        "the role is neither a string nor a list of strings",
    );
    let listed = read(&settings(), &claims("role", json!(["x y", "z"]))).unwrap();
    assert_eq!(listed.roles(), ["x y", "z"]);
    let none = read(&settings(), &claims("org", json!(null))).unwrap();
    assert_eq!((none.tenant(), none.plan()), (None, None));
}

#[test]
fn a_slash_makes_a_place_a_json_pointer() {
    let mut settings = settings();
    settings.claims.user = ClaimPath::new("/ids/0/user");
    settings.claims.tenant = Some(ClaimPath::new("https://me/org"));
    let claims = json!({"exp": 2000, "ids": [{"user": "a"}], "https://me/org": "b"});
    let identity = read(&settings, &claims).unwrap();
    assert_eq!((identity.user(), identity.tenant()), ("a", Some("b")));
}

#[test]
fn claims_that_are_no_object_are_refused() {
    for claims in [json!(null), json!(1), json!("exp"), json!(["exp", 2000])] {
        refused(&settings(), &claims, "the token has no exp");
    }
}

#[test]
fn empty_places_and_audiences_are_refused_at_start() {
    let mut bad = settings();
    bad.audience = Audience::OneOf(Vec::new());
    assert!(matches!(
        ClaimRules::new(bad),
        Err(IdentityError::NoAudience)
    ));
    let mut bad = settings();
    bad.claims.plan = Some(ClaimPath::new(""));
    assert!(matches!(
        ClaimRules::new(bad),
        Err(IdentityError::EmptyClaimPath { claim: "plan" })
    ));
}

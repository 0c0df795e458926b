//! What a verified token says, and whether it still holds.

use std::time::Duration;

use quota_store::UnixMillis;
use serde_json::Value;

use super::{
    Audience, ClaimNames, ClaimPath, IdentityError, JwtSettings, QuotaIdentity, Unauthenticated,
};

/// What the claims of a token must be.
#[derive(Debug)]
pub(super) struct ClaimRules {
    issuer: Option<String>,
    audience: Audience,
    leeway: Duration,
    max_id_bytes: usize,
    names: ClaimNames,
}

impl ClaimRules {
    pub(super) fn new(settings: &JwtSettings) -> Result<Self, IdentityError> {
        if matches!(&settings.audience, Audience::OneOf(names) if names.is_empty()) {
            return Err(IdentityError::NoAudience);
        }
        let names = settings.claims.clone();
        for (claim, path) in [
            ("user", Some(&names.user)),
            ("tenant", names.tenant.as_ref()),
            ("plan", names.plan.as_ref()),
            ("role", names.role.as_ref()),
        ] {
            if path.is_some_and(|path| path.as_str().is_empty()) {
                return Err(IdentityError::EmptyClaimPath { claim });
            }
        }
        Ok(Self {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            leeway: settings.leeway,
            max_id_bytes: settings.max_id_bytes,
            names,
        })
    }

    /// Who the claims are about, and the first instant at which they no longer hold.
    pub(super) fn read(
        &self,
        claims: &Value,
        now: UnixMillis,
    ) -> Result<(QuotaIdentity, UnixMillis), Unauthenticated> {
        let expires = self.check_times(claims, now)?;
        self.check_issuer(claims)?;
        self.check_audience(claims)?;
        Ok((self.identity(claims)?, expires))
    }

    fn check_times(&self, claims: &Value, now: UnixMillis) -> Result<UnixMillis, Unauthenticated> {
        let now = i128::from(now.get());
        let leeway = i128::try_from(self.leeway.as_millis()).unwrap_or(i128::MAX);
        let exp = claims
            .get("exp")
            .ok_or(Unauthenticated::Invalid("the token has no exp"))?;
        let exp = millis(exp).ok_or(Unauthenticated::Invalid("exp is not a time"))?;
        let expires = exp.saturating_add(leeway);
        if now >= expires {
            return Err(Unauthenticated::Invalid("the token has expired"));
        }
        if let Some(nbf) = claims.get("nbf") {
            let nbf = millis(nbf).ok_or(Unauthenticated::Invalid("nbf is not a time"))?;
            if now.saturating_add(leeway) < nbf {
                return Err(Unauthenticated::Invalid("the token is not valid yet"));
            }
        }
        // Later than `now`, so it is not negative; what does not fit lies beyond every clock.
        Ok(UnixMillis::new(u64::try_from(expires).unwrap_or(u64::MAX)))
    }

    fn check_issuer(&self, claims: &Value) -> Result<(), Unauthenticated> {
        let Some(issuer) = &self.issuer else {
            return Ok(());
        };
        match claims.get("iss") {
            Some(Value::String(iss)) if iss == issuer => Ok(()),
            Some(Value::String(_)) => Err(Unauthenticated::Invalid("the issuer is not trusted")),
            Some(_) => Err(Unauthenticated::Invalid("iss is not a string")),
            None => Err(Unauthenticated::Invalid("the token has no iss")),
        }
    }

    fn check_audience(&self, claims: &Value) -> Result<(), Unauthenticated> {
        let Audience::OneOf(allowed) = &self.audience else {
            return Ok(());
        };
        let aud = claims
            .get("aud")
            .ok_or(Unauthenticated::Invalid("the token has no aud"))?;
        let named = strings(aud).ok_or(Unauthenticated::Invalid(
            "aud is neither a string nor a list of strings",
        ))?;
        if named.iter().any(|name| allowed.iter().any(|it| it == name)) {
            Ok(())
        } else {
            Err(Unauthenticated::Invalid(
                "the token is for another audience",
            ))
        }
    }

    fn identity(&self, claims: &Value) -> Result<QuotaIdentity, Unauthenticated> {
        let user = find(claims, Some(&self.names.user))
            .ok_or(Unauthenticated::Invalid("the token names no user"))?;
        let user = id(user).ok_or(Unauthenticated::Invalid("the user is not a string"))?;
        let mut identity = QuotaIdentity::new(user);
        if let Some(tenant) = find(claims, self.names.tenant.as_ref()) {
            let tenant =
                id(tenant).ok_or(Unauthenticated::Invalid("the tenant is not a string"))?;
            identity = identity.with_tenant(tenant);
        }
        if let Some(plan) = find(claims, self.names.plan.as_ref()) {
            let plan = plan
                .as_str()
                .ok_or(Unauthenticated::Invalid("the plan is not a string"))?;
            identity = identity.with_plan(plan);
        }
        if let Some(role) = find(claims, self.names.role.as_ref()) {
            identity = identity.with_roles(roles(role)?);
        }
        match identity.check(self.max_id_bytes) {
            Ok(_) => Ok(identity),
            Err(invalid) => Err(Unauthenticated::Invalid(invalid.as_str())),
        }
    }
}

/// The claim at a place; `null` counts as absent.
fn find<'a>(claims: &'a Value, path: Option<&ClaimPath>) -> Option<&'a Value> {
    let path = path?.as_str();
    let found = if path.starts_with('/') {
        claims.pointer(path)
    } else {
        claims.get(path)
    };
    found.filter(|value| !value.is_null())
}

/// An id as text; an integer, as some issuers have for a user, becomes its decimal digits.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

fn roles(value: &Value) -> Result<Vec<&str>, Unauthenticated> {
    match value {
        Value::String(text) => Ok(text.split_ascii_whitespace().collect()),
        _ => strings(value).ok_or(Unauthenticated::Invalid(
            "the role is neither a string nor a list of strings",
        )),
    }
}

/// One string or a list of nothing but strings.
fn strings(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// A time of RFC 7519 (seconds since the epoch, perhaps with a fraction) in milliseconds.
fn millis(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    match number.as_i128() {
        Some(seconds) => Some(seconds * 1000),
        // Through text, since a cast would hide what does not fit.
        None => format!("{:.3}", number.as_f64()?)
            .replace('.', "")
            .parse()
            .ok(),
    }
}

#[cfg(test)]
mod tests {
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
        let rules = ClaimRules::new(settings).unwrap();
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
        let rules = ClaimRules::new(&settings()).unwrap();
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
            ClaimRules::new(&bad),
            Err(IdentityError::NoAudience)
        ));
        let mut bad = settings();
        bad.claims.plan = Some(ClaimPath::new(""));
        assert!(matches!(
            ClaimRules::new(&bad),
            Err(IdentityError::EmptyClaimPath { claim: "plan" })
        ));
    }
}

//! What a verified token says, and whether it still holds.

#[cfg(test)]
mod tests;

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
    pub(super) fn new(settings: JwtSettings) -> Result<Self, IdentityError> {
        if matches!(&settings.audience, Audience::OneOf(names) if names.is_empty()) {
            return Err(IdentityError::NoAudience);
        }
        let names = &settings.claims;
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
            issuer: settings.issuer,
            audience: settings.audience,
            leeway: settings.leeway,
            max_id_bytes: settings.max_id_bytes,
            names: settings.claims,
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

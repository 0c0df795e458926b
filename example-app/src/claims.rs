//! What a token says, with every claim where the configuration looks for it.

use quota_layer::{Audience, ClaimPath, JwtSettings};
use serde_json::{Map, Value, json};

use crate::{cli::TokenArguments, failure::Failure};

/// The claims of a token that is made at `now`, in Unix seconds.
pub(crate) fn claims(
    arguments: &TokenArguments,
    settings: &JwtSettings,
    now: u64,
) -> Result<Value, Failure> {
    let mut claims = Map::new();
    let names = &settings.claims;
    place(&mut claims, &names.user, json!(arguments.user))?;
    let optional = [
        (
            "tenant",
            &names.tenant,
            arguments.tenant.as_ref().map(|tenant| json!(tenant)),
        ),
        (
            "plan",
            &names.plan,
            arguments.plan.as_ref().map(|plan| json!(plan)),
        ),
        ("role", &names.role, roles(&arguments.role)),
    ];
    for (option, path, value) in optional {
        let Some(value) = value else { continue };
        let path = path.as_ref().ok_or_else(|| {
            Failure::wrong_use(format!(
                "--{option} can't be told: the configuration reads no such claim; name it in \
                 identity.jwt.claims, or leave the option out"
            ))
        })?;
        place(&mut claims, path, value)?;
    }
    // Verifiers want one, wherever the user's id stands.
    claims.entry("sub").or_insert_with(|| json!(arguments.user));
    if let Some(issuer) = &settings.issuer {
        claims.insert("iss".to_owned(), json!(issuer));
    }
    if let Audience::OneOf(audience) = &settings.audience {
        claims.insert("aud".to_owned(), json!(audience));
    }
    claims.insert("iat".to_owned(), json!(now));
    let expires = now.saturating_add(arguments.expires.as_secs());
    claims.insert("exp".to_owned(), json!(expires));
    Ok(Value::Object(claims))
}

/// One role as a text, as most issuers write it; several as a list.
fn roles(roles: &[String]) -> Option<Value> {
    match roles {
        [] => None,
        [role] => Some(json!(role)),
        roles => Some(json!(roles)),
    }
}

/// Puts a value where a claim's name, or its JSON pointer, leads to.
fn place(claims: &mut Map<String, Value>, path: &ClaimPath, value: Value) -> Result<(), Failure> {
    let steps = steps(path.as_str());
    let Some((last, folders)) = steps.split_last() else {
        return Err(clash(path));
    };
    let mut folder = claims;
    for step in folders {
        let next = folder.entry(step.as_str()).or_insert_with(|| json!({}));
        folder = next.as_object_mut().ok_or_else(|| clash(path))?;
    }
    match folder.insert(last.clone(), value) {
        None => Ok(()),
        Some(_) => Err(clash(path)),
    }
}

fn clash(path: &ClaimPath) -> Failure {
    Failure::wrong_use(format!(
        "identity.jwt.claims puts two claims into one place, {:?}; give each a place of its own",
        path.as_str()
    ))
}

fn steps(path: &str) -> Vec<String> {
    match path.strip_prefix('/') {
        None => vec![path.to_owned()],
        Some(pointer) => pointer
            .split('/')
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quota_layer::{JwtAlgorithm, JwtKey};

    use super::*;

    fn settings() -> JwtSettings {
        let key = JwtKey::Secret("0123456789012345678901234567890123456789".into());
        JwtSettings::new(vec![JwtAlgorithm::Hs256], key, Audience::Any)
    }

    fn arguments() -> TokenArguments {
        TokenArguments {
            user: "alice".to_owned(),
            tenant: None,
            plan: None,
            role: Vec::new(),
            expires: Duration::from_hours(1),
            config: None,
        }
    }

    #[test]
    fn a_token_says_no_more_than_it_was_told() {
        let claims = claims(&arguments(), &settings(), 1_000).unwrap();
        assert_eq!(
            claims,
            json!({ "sub": "alice", "iat": 1_000, "exp": 4_600 })
        );
    }

    #[test]
    fn claims_stand_where_the_configuration_looks_for_them() {
        let mut settings = settings();
        settings.issuer = Some("https://issuer.example".to_owned());
        settings.audience = Audience::OneOf(vec!["api".to_owned()]);
        settings.claims.user = ClaimPath::new("/user/id");
        settings.claims.tenant = Some(ClaimPath::new("/user/a~1b"));
        let mut arguments = arguments();
        arguments.tenant = Some("acme".to_owned());
        arguments.plan = Some("pro".to_owned());
        arguments.role = vec!["one".to_owned(), "two".to_owned()];
        let claims = claims(&arguments, &settings, 1_000).unwrap();
        let expected = json!({
            "sub": "alice",
            "user": { "id": "alice", "a/b": "acme" },
            "plan": "pro",
            "role": ["one", "two"],
            "iss": "https://issuer.example",
            "aud": ["api"],
            "iat": 1_000,
            "exp": 4_600,
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn what_the_configuration_can_not_read_is_refused() {
        let mut settings = settings();
        settings.claims.tenant = None;
        let mut arguments = arguments();
        arguments.tenant = Some("acme".to_owned());
        let failure = claims(&arguments, &settings, 0).unwrap_err().to_string();
        assert!(failure.starts_with("--tenant can't be told"), "{failure}");
        settings.claims.tenant = Some(ClaimPath::new("/sub/tenant"));
        let failure = claims(&arguments, &settings, 0).unwrap_err().to_string();
        assert!(failure.contains("two claims into one place"), "{failure}");
    }
}

//! `[identity.jwt]`.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{
    duration::duration,
    findings::{Findings, Problem, suggestion},
    identity::refuse_empty,
    node::{Place, Value},
    reader::{Item, Keys},
    secret::{is_loopback, secret, web_url},
    source::{Reference, Source},
};
use crate::identity::{Audience, ClaimNames, ClaimPath, JwtAlgorithm, JwtKey, JwtSettings};

const ALGORITHMS: [(&str, JwtAlgorithm); 4] = [
    ("HS256", JwtAlgorithm::Hs256),
    ("RS256", JwtAlgorithm::Rs256),
    ("ES256", JwtAlgorithm::Es256),
    ("EdDSA", JwtAlgorithm::EdDsa),
];

/// The variable that holds the secret where the file does not say which.
const DEFAULT_SECRET: &str = "QUOTA_JWT_SECRET";

/// Reads the section, or its defaults; `place` is where a missing section would be.
pub(super) fn read(
    mut keys: Option<Keys<'_>>,
    place: &Place,
    source: &Source,
    findings: &mut Findings,
) -> Option<JwtSettings> {
    let place = keys.as_ref().map_or(place, |keys| keys.place).clone();
    let mut take = |key| keys.as_mut().and_then(|keys| keys.take(key));
    let algorithms = take("algorithms").map_or_else(
        || Some(vec![JwtAlgorithm::Hs256]),
        |item| algorithms(&item, findings),
    );
    let key = KeyItems {
        secret: take("secret"),
        public_key: take("public_key"),
        jwks: take("jwks"),
    };
    let symmetric = algorithms.as_deref() == Some(&[JwtAlgorithm::Hs256]);
    let needs_audience = key.public_key.is_some() || key.jwks.is_some();
    let key = key.read(
        algorithms.as_ref().map(|_| symmetric),
        &place,
        source,
        findings,
    );
    let issuer = take("issuer")
        .and_then(|item| item.words("issuer = \"https://issuer.example\"", findings))
        .map(str::to_owned);
    let audience = match take("audience") {
        Some(item) => audience(&item, findings),
        None if needs_audience => {
            findings.error(
                &place,
                "`identity.jwt.audience` is missing",
                "with public_key or jwks, say whose tokens are meant: audience = [\"api\"], or \"any\"",
            );
            None
        }
        None => Some(Audience::Any),
    };
    let leeway = take("leeway")
        .and_then(|item| duration(&item, "30s", findings))
        .unwrap_or(Duration::from_secs(30));
    let max_bytes = take("max_bytes")
        .and_then(|item| item.whole(64..=1_048_576, findings))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(8192);
    let claims = claims(take("claims"), findings);
    if let Some(keys) = keys {
        keys.finish(findings);
    }
    Some(JwtSettings {
        issuer,
        leeway,
        max_bytes,
        claims,
        ..JwtSettings::new(algorithms?, key?, audience?)
    })
}

fn algorithms(item: &Item<'_>, findings: &mut Findings) -> Option<Vec<JwtAlgorithm>> {
    let before = findings.errors.len();
    refuse_empty(
        item,
        "name the algorithm of your keys, such as [\"HS256\"]",
        findings,
    );
    let mut algorithms: Vec<JwtAlgorithm> = Vec::new();
    for entry in item.list("[\"HS256\"]", findings)? {
        let Some(text) = entry.text("[\"HS256\"]", findings) else {
            continue;
        };
        let Some((_, algorithm)) = ALGORITHMS.iter().find(|(name, _)| *name == text) else {
            refuse_algorithm(&entry, text, findings);
            continue;
        };
        // Each of the four is a family of its own: HMAC, RSA, ECDSA and Edwards curves.
        if algorithms.iter().any(|other| other != algorithm) {
            findings.error(
                entry.place(),
                format!("`{text}` is of another family than the algorithms before it"),
                "keep one family: a token must never choose how it is verified",
            );
        } else if algorithms.is_empty() {
            algorithms.push(*algorithm);
        }
    }
    (findings.errors.len() == before).then_some(algorithms)
}

fn refuse_algorithm(item: &Item<'_>, text: &str, findings: &mut Findings) {
    if text.eq_ignore_ascii_case("none") {
        findings.error(
            item.place(),
            "`none` would accept tokens that anybody can write",
            "name the algorithm of your keys, such as \"HS256\"",
        );
    } else {
        findings.error(
            item.place(),
            format!("`{text}` is not an algorithm that is supported"),
            suggestion(text, ALGORITHMS.map(|(name, _)| name), "use one of"),
        );
    }
}

/// The three ways to give a key, of which exactly one is used.
struct KeyItems<'a> {
    secret: Option<Item<'a>>,
    public_key: Option<Item<'a>>,
    jwks: Option<Item<'a>>,
}

impl KeyItems<'_> {
    /// Reads the key; `symmetric` is `None` where the algorithms are wrong themselves.
    fn read(
        self,
        symmetric: Option<bool>,
        place: &Place,
        source: &Source,
        findings: &mut Findings,
    ) -> Option<JwtKey> {
        let given: Vec<&Item<'_>> = [&self.secret, &self.public_key, &self.jwks]
            .into_iter()
            .flatten()
            .collect();
        if let [first, others @ ..] = given.as_slice() {
            for other in others {
                findings.error_with_other(
                    other.key_place,
                    (first.key_place, "the other key"),
                    Problem::new(
                        format!("`{}` is given beside `{}`", other.path, first.path),
                        "keep exactly one of secret, public_key and jwks",
                    ),
                );
            }
            if others.is_empty() {
                self.refuse_other_family(symmetric?, findings);
            }
        }
        let secret_key = self.secret.map(|item| {
            let secret = secret(&item, source, findings)?;
            long_enough(secret, item.place(), findings)
        });
        let public_key = self
            .public_key
            .map(|item| public_key(&item, source, findings));
        let jwks = self.jwks.map(|item| {
            let example = "https://issuer.example/.well-known/jwks.json";
            web_url(&item, example, is_loopback, source, findings)
        });
        match (secret_key, public_key, jwks) {
            (Some(secret), _, _) => secret.map(JwtKey::Secret),
            (None, Some(pem), _) => pem.map(JwtKey::PublicKeyPem),
            (None, None, Some(url)) => url.map(JwtKey::Jwks),
            (None, None, None) => default_secret(symmetric?, place, source, findings),
        }
    }

    fn refuse_other_family(&self, symmetric: bool, findings: &mut Findings) {
        let (wrong, hint) = if symmetric {
            let wrong = [self.public_key.as_ref(), self.jwks.as_ref()];
            (
                wrong,
                "HS256 takes a secret; for public keys write algorithms = [\"RS256\"] or so",
            )
        } else {
            let wrong = [self.secret.as_ref(), None];
            (
                wrong,
                "give public_key or jwks; a secret is for algorithms = [\"HS256\"]",
            )
        };
        for item in wrong.into_iter().flatten() {
            findings.error(
                item.key_place,
                format!("`{}` does not fit the algorithms", item.path),
                hint,
            );
        }
    }
}

fn default_secret(
    symmetric: bool,
    place: &Place,
    source: &Source,
    findings: &mut Findings,
) -> Option<JwtKey> {
    if !symmetric {
        findings.error(
            place,
            "`identity.jwt` has no key",
            "give public_key = \"file:PATH\" or jwks = \"https://...\"",
        );
        return None;
    }
    let result = Reference::Variable(DEFAULT_SECRET).resolve(source);
    let result = result.map_err(|problem| {
        Problem::new(
            format!("`identity.jwt` has no key, and {}", problem.message),
            format!(
                "set {DEFAULT_SECRET}, or give secret, public_key or jwks in [identity.jwt]; or \
                 identity.from = \"application\" if the application knows its users"
            ),
        )
        .unresolved()
    });
    let secret = findings.keep(place, result)?;
    long_enough(secret, place, findings).map(JwtKey::Secret)
}

fn long_enough(
    secret: SecretString,
    place: &Place,
    findings: &mut Findings,
) -> Option<SecretString> {
    let bytes = secret.expose_secret().len();
    if bytes < 32 {
        findings.error(
            place,
            format!("the secret for HS256 has {bytes} bytes, and needs 32"),
            "make one with `openssl rand -base64 48`",
        );
        return None;
    }
    Some(secret)
}

fn public_key(item: &Item<'_>, source: &Source, findings: &mut Findings) -> Option<String> {
    let pem = secret(item, source, findings)?;
    let pem = pem.expose_secret();
    let hint = "it is a PEM file that begins with -----BEGIN PUBLIC KEY-----";
    if pem.contains("PRIVATE KEY-----") {
        findings.error(
            item.place(),
            format!("`{}` is a private key", item.path),
            "keep it where tokens are made, and give the public key that belongs to it",
        );
        return None;
    }
    if !pem.contains("-----BEGIN ") {
        findings.error(
            item.place(),
            format!("`{}` is not a PEM file", item.path),
            hint,
        );
        return None;
    }
    Some(pem.to_owned())
}

fn audience(item: &Item<'_>, findings: &mut Findings) -> Option<Audience> {
    const HINT: &str = "name whose tokens are meant: audience = [\"api\"], or \"any\"";
    if matches!(&item.node.value, Value::String(text) if text == "any") {
        return Some(Audience::Any);
    }
    if let Value::String(text) = &item.node.value {
        findings.error(
            item.place(),
            format!("`{}` is a list, or \"any\"", item.path),
            format!("write audience = [{text:?}]"),
        );
        return None;
    }
    refuse_empty(item, HINT, findings);
    let entries = item.list("[\"api\"]", findings)?;
    let names = entries
        .iter()
        .filter_map(|entry| entry.words("audience = [\"api\"]", findings))
        .map(str::to_owned)
        .collect();
    Some(Audience::OneOf(names))
}

fn claims(item: Option<Item<'_>>, findings: &mut Findings) -> ClaimNames {
    let mut keys = item.and_then(|item| item.table(findings));
    let mut claim = |key: &'static str, default: &str| -> Option<String> {
        let Some(item) = keys.as_mut().and_then(|keys| keys.take(key)) else {
            return Some(default.to_owned());
        };
        let text = item.text(&format!("{key} = \"{default}\""), findings)?;
        if !is_claim(text) {
            findings.error(
                item.place(),
                format!("`{text}` is not a JSON pointer"),
                "after `~` comes 0 or 1: `~1` stands for a `/`, `~0` for a `~`",
            );
        }
        Some(text.to_owned()).filter(|text| !text.is_empty())
    };
    let (user, tenant, plan, role) = (
        claim("user", "sub"),
        claim("tenant", "org"),
        claim("plan", "plan"),
        claim("role", "role"),
    );
    if user.is_none()
        && let Some(item) = keys.as_mut().and_then(|keys| keys.take("user"))
        && matches!(item.node.value, Value::String(_))
    {
        findings.error(
            item.place(),
            format!("`{}` is empty", item.path),
            "only the user is required: name the claim, such as \"sub\"",
        );
    }
    if let Some(keys) = keys {
        keys.finish(findings);
    }
    ClaimNames {
        user: ClaimPath::new(user.unwrap_or_else(|| "sub".to_owned())),
        tenant: tenant.map(ClaimPath::new),
        plan: plan.map(ClaimPath::new),
        role: role.map(ClaimPath::new),
    }
}

/// A name, or a JSON pointer (RFC 6901).
fn is_claim(text: &str) -> bool {
    !text.starts_with('/')
        || text
            .split('~')
            .skip(1)
            .all(|rest| rest.starts_with(['0', '1']))
}

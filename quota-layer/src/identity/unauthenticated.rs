//! Why a request has no user.

use std::fmt;

use http::HeaderValue;

/// The request does not say who makes it, or can't prove it: a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unauthenticated {
    /// There is no bearer token.
    Missing,
    /// There is one that does not hold; the words say why and may be shown to the client.
    Invalid(&'static str),
}

impl Unauthenticated {
    /// The value of the `WWW-Authenticate` header (RFC 6750, section 3).
    #[must_use]
    pub fn www_authenticate(&self) -> HeaderValue {
        match self {
            Self::Missing => HeaderValue::from_static("Bearer realm=\"quota\""),
            Self::Invalid(description) => invalid_token(description),
        }
    }
}

impl fmt::Display for Unauthenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("Send a bearer token in the Authorization header."),
            Self::Invalid(why) => write!(f, "The bearer token was not accepted: {why}."),
        }
    }
}

fn invalid_token(description: &str) -> HeaderValue {
    const WITHOUT_DESCRIPTION: &str = "Bearer realm=\"quota\", error=\"invalid_token\"";
    // RFC 6750 allows printable ASCII but for quotes and backslashes.
    let description: String = description
        .chars()
        .filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'))
        .collect();
    HeaderValue::try_from(format!(
        "{WITHOUT_DESCRIPTION}, error_description=\"{description}\""
    ))
    .unwrap_or(HeaderValue::from_static(WITHOUT_DESCRIPTION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(refusal: Unauthenticated, expected: &str) {
        assert_eq!(refusal.www_authenticate(), expected);
    }

    #[test]
    fn the_challenge_follows_rfc_6750() {
        check(Unauthenticated::Missing, r#"Bearer realm="quota""#);
        check(
            Unauthenticated::Invalid("the token has expired"),
            r#"Bearer realm="quota", error="invalid_token", error_description="the token has expired""#,
        );
        check(
            Unauthenticated::Invalid("a \"b\"\r\n\\é"),
            r#"Bearer realm="quota", error="invalid_token", error_description="a b""#,
        );
    }
}

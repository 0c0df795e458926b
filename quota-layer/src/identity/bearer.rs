//! The bearer token of a request (RFC 6750, section 2.1).

use http::{HeaderMap, header::AUTHORIZATION};

use super::Unauthenticated;

/// The token in the one `Authorization` header, not verified in any way.
///
/// A header of another scheme counts as none.
pub(crate) fn token(headers: &HeaderMap) -> Result<&[u8], Unauthenticated> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Unauthenticated::Missing)?.as_bytes();
    if values.next().is_some() {
        // Two parties could believe in two different ones.
        return Err(Unauthenticated::Invalid(
            "more than one Authorization header",
        ));
    }
    let (scheme, token) = match value.iter().position(|byte| *byte == b' ') {
        Some(space) => value.split_at(space),
        None => (value, &[][..]),
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Unauthenticated::Missing);
    }
    let token = token.trim_ascii();
    if token.is_empty() {
        return Err(Unauthenticated::Invalid("the token is empty"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(values: &[&[u8]], expected: Result<&str, Unauthenticated>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(token(&headers), expected.map(str::as_bytes));
    }

    #[test]
    fn the_token_comes_from_one_bearer_header() {
        check(&[b"Bearer a.b.c"], Ok("a.b.c"));
        check(&[b"bEARER   a.b.c "], Ok("a.b.c"));
        check(&[b"Bearer 12345678"], Ok("12345678"));
    }

    #[test]
    fn another_scheme_is_no_token() {
        check(&[], Err(Unauthenticated::Missing));
        check(&[b""], Err(Unauthenticated::Missing));
        check(&[b"Basic YTpi"], Err(Unauthenticated::Missing));
        check(&[b"Bearera.b.c"], Err(Unauthenticated::Missing));
        check(&[b"\xff\xfe x"], Err(Unauthenticated::Missing));
    }

    #[test]
    fn two_headers_and_no_token_are_invalid() {
        let invalid = |words| Err(Unauthenticated::Invalid(words));
        let twice = invalid("more than one Authorization header");
        check(&[b"Bearer a", b"Bearer a"], twice);
        check(&[b"Basic a", b"Bearer a"], twice);
        check(&[b"Bearer"], invalid("the token is empty"));
        check(&[b"Bearer  "], invalid("the token is empty"));
    }
}

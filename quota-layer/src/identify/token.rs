//! Where a request carries its token.

use std::borrow::Cow;

use http::{HeaderMap, header};

use crate::{
    config::TokenFrom,
    identity::{Unauthenticated, bearer_token},
};

/// The token of the first source that has one, not verified in any way.
pub(super) fn find<'a>(
    sources: &[TokenFrom],
    headers: &'a HeaderMap,
    host: Option<&str>,
) -> Result<Cow<'a, [u8]>, Unauthenticated> {
    for source in sources {
        let found = match source {
            TokenFrom::Authorization => bearer_token(headers).map(Cow::Borrowed),
            TokenFrom::Cookie(name) => cookie(name, headers, host),
            TokenFrom::WebSocketProtocol => websocket_protocol(headers),
        };
        match found {
            Err(Unauthenticated::Missing) => {}
            found => return found,
        }
    }
    Err(Unauthenticated::Missing)
}

/// The cookie of that name (RFC 6265, section 4.2), where the request comes from this site.
///
/// Browsers send cookies with requests that other sites make, so those are refused.
fn cookie<'a>(
    name: &str,
    headers: &'a HeaderMap,
    host: Option<&str>,
) -> Result<Cow<'a, [u8]>, Unauthenticated> {
    let value = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
        .ok_or(Unauthenticated::Missing)?;
    if is_cross_site(headers, host) {
        return Err(Unauthenticated::Invalid(
            "the token is in a cookie, and another site made the request",
        ));
    }
    Ok(Cow::Borrowed(value.as_bytes()))
}

/// Whether `Origin` (RFC 6454, section 7) names another host than the one that was asked.
fn is_cross_site(headers: &HeaderMap, host: Option<&str>) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((scheme, authority)), Some(host)) => {
            let without_default_port = |authority: &str| {
                let port = if scheme == "https" { ":443" } else { ":80" };
                authority
                    .strip_suffix(port)
                    .unwrap_or(authority)
                    .to_ascii_lowercase()
            };
            without_default_port(authority) != without_default_port(host)
        }
        _ => true,
    }
}

/// The word after `bearer` in `Sec-WebSocket-Protocol`, which is all that browsers let pages set.
fn websocket_protocol(headers: &HeaderMap) -> Result<Cow<'_, [u8]>, Unauthenticated> {
    let mut words = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    words
        .find(|word| word.eq_ignore_ascii_case("bearer"))
        .and_then(|_| words.next())
        .map(|token| Cow::Borrowed(token.as_bytes()))
        .ok_or(Unauthenticated::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: TokenFrom, headers: &[(&str, &str)], expected: Result<&str, Unauthenticated>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        let host = map.get(header::HOST).and_then(|host| host.to_str().ok());
        let found = find(&[TokenFrom::Authorization, source], &map, host);
        assert_eq!(
            found.as_deref(),
            expected.map(str::as_bytes).as_ref().map(|t| *t)
        );
    }

    fn session() -> TokenFrom {
        TokenFrom::Cookie("session".to_owned())
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        check(
            session(),
            &[("cookie", "a=b; session=t.o.k; c=d")],
            Ok("t.o.k"),
        );
        check(
            session(),
            &[("cookie", "xsession=1")],
            Err(Unauthenticated::Missing),
        );
        check(session(), &[], Err(Unauthenticated::Missing));
    }

    #[test]
    fn a_cookie_from_another_site_is_refused() {
        let cross_site =
            Unauthenticated::Invalid("the token is in a cookie, and another site made the request");
        let cookie = ("cookie", "session=t");
        let host = ("host", "app.example:8080");
        check(
            session(),
            &[cookie, host, ("origin", "https://app.example:8080")],
            Ok("t"),
        );
        check(
            session(),
            &[cookie, host, ("origin", "https://evil.example")],
            Err(cross_site),
        );
        check(
            session(),
            &[
                cookie,
                ("host", "App.example:443"),
                ("origin", "https://app.example"),
            ],
            Ok("t"),
        );
        check(
            session(),
            &[cookie, host, ("origin", "null")],
            Err(cross_site),
        );
    }

    #[test]
    fn a_websocket_carries_it_as_a_protocol() {
        let protocols = [("sec-websocket-protocol", "quota, bearer, t.o.k")];
        check(TokenFrom::WebSocketProtocol, &protocols, Ok("t.o.k"));
        let without = [("sec-websocket-protocol", "quota")];
        check(
            TokenFrom::WebSocketProtocol,
            &without,
            Err(Unauthenticated::Missing),
        );
    }

    #[test]
    fn the_first_source_that_has_one_wins() {
        let both = [
            ("authorization", "Bearer first"),
            ("cookie", "session=second"),
        ];
        check(session(), &both, Ok("first"));
    }
}

//! Keeping the demo to this machine.
//!
//! The demo hands out tokens and answers to order. A listener on loopback is not enough to keep
//! others out: a web page may make a browser call it under a name of its own (DNS rebinding), and
//! a tunnel or proxy may lead strangers to it.

use std::net::{IpAddr, SocketAddr};

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, StatusCode, Uri, header::HOST, uri::Authority};

use crate::problem::problem;

/// Headers in which proxies say whom they speak for, as lists of addresses or hosts.
const FORWARDING: [&str; 8] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-server",
    "x-original-host",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
];

/// Refuses requests that are not from this machine, or not to it.
pub(crate) async fn refuse_others(request: Request, next: Next) -> Response {
    match check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(detail) => problem(StatusCode::FORBIDDEN, &detail),
    }
}

/// Whether only this machine can be at that address.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
    let refused = |what: &str| {
        Err(format!(
            "This is a demo for one machine, and {what}. Call it as localhost or 127.0.0.1 from \
             the machine it runs on, without a proxy; for anything else start it with --config \
             and without --demo."
        ))
    };
    let mut hosts = headers
        .get_all(HOST)
        .iter()
        .map(|host| host.to_str().unwrap_or_default())
        .chain(uri.authority().map(Authority::as_str))
        .peekable();
    if hosts.peek().is_none() {
        return refused("the request does not say which host it is for");
    }
    if !hosts.all(names_loopback) {
        return refused("the request is for another host");
    }
    for name in FORWARDING {
        if !values(headers, name).all(|value| value.split(',').all(names_loopback)) {
            return refused(&format!("the header {name} names somebody else"));
        }
    }
    if !values(headers, "forwarded").all(forwards_loopback) {
        return refused("the header forwarded names somebody else");
    }
    Ok(())
}

/// Every value of a header; what is not text names nobody.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter();
    values.map(|value| value.to_str().unwrap_or_default())
}

/// Reads the header of RFC 7239. What looks odd names somebody else.
fn forwards_loopback(value: &str) -> bool {
    value.split([',', ';']).all(|pair| {
        pair.split_once('=').is_some_and(|(name, value)| {
            let is_protocol = name.trim().eq_ignore_ascii_case("proto");
            is_protocol || names_loopback(value.trim().trim_matches('"'))
        })
    })
}

/// Whether a text is a host or an address of this machine, with or without a port.
fn names_loopback(text: &str) -> bool {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return is_loopback(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return is_loopback(address.ip());
    }
    let Ok(authority) = text.parse::<Authority>() else {
        return false;
    };
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_name = host.eq_ignore_ascii_case("localhost");
    let is_address = || bare.parse().is_ok_and(is_loopback);
    !text.contains('@') && (is_name || is_address())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn answer(headers: &[(&str, &str)]) -> Result<(), String> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        check(&Uri::from_static("/health"), &headers)
    }

    #[test]
    fn this_machine_is_let_in_under_each_of_its_names() {
        for host in [
            "localhost",
            "LOCALHOST:7500",
            "127.0.0.1:7500",
            "127.8.9.1",
            "[::1]:80",
            "[::1]",
        ] {
            assert_eq!(answer(&[("host", host)]), Ok(()), "{host}");
        }
        let forwarded = [
            ("x-forwarded-for", "127.0.0.1, ::1"),
            ("x-real-ip", "::ffff:127.0.0.1"),
            ("x-forwarded-host", "localhost:3000"),
            (
                "forwarded",
                "for=127.0.0.1;host=localhost;proto=https, for=\"[::1]:80\"",
            ),
        ];
        for header in forwarded {
            assert_eq!(
                answer(&[("host", "localhost"), header]),
                Ok(()),
                "{header:?}"
            );
        }
    }

    #[test]
    fn other_hosts_are_refused() {
        for host in [
            "example.com",
            "localhost.example.com",
            "localhost@example.com",
            "10.0.0.1",
            "",
            "0.0.0.0",
        ] {
            assert!(answer(&[("host", host)]).is_err(), "{host}");
        }
        assert!(answer(&[]).is_err());
        assert!(answer(&[("host", "localhost"), ("host", "example.com")]).is_err());
        let absolute = Uri::from_static("http://example.com/health");
        assert!(check(&absolute, &HeaderMap::new()).is_err());
    }

    #[test]
    fn requests_for_others_are_refused() {
        let forwarded = [
            ("x-forwarded-for", "127.0.0.1, 203.0.113.9"),
            ("x-forwarded-for", "unknown"),
            ("x-forwarded-host", "demo.example.com"),
            ("x-real-ip", "203.0.113.9"),
            ("cf-connecting-ip", "203.0.113.9"),
            ("forwarded", "for=203.0.113.9"),
            ("forwarded", "for=_hidden"),
            ("forwarded", "for=\"127.0.0.1;host=example.com\""),
            ("forwarded", "proto=https;host=example.com"),
            ("forwarded", "nonsense"),
        ];
        for header in forwarded {
            let refused = answer(&[("host", "localhost"), header]).unwrap_err();
            assert!(refused.contains(header.0), "{refused}");
        }
    }
}

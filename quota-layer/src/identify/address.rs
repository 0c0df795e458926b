//! The address of a client behind proxies.

use std::net::IpAddr;

use http::{Extensions, HeaderMap};

use crate::config::IpRange;

/// The address of the connection's other end; an application may put one into the request's
/// extensions where axum's `ConnectInfo<SocketAddr>` is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// What an anonymous client is counted by: its address, or the /64 of an IPv6 address.
pub(super) fn client(
    trusted: &[IpRange],
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Option<String> {
    client_ip(trusted, headers, extensions).map(group)
}

/// The address of a client.
///
/// Behind trusted proxies it is the rightmost hop of `X-Forwarded-For` that is not one of them;
/// everything further left anybody can have written.
pub(crate) fn client_ip(
    trusted: &[IpRange],
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Option<IpAddr> {
    let mut address = peer(extensions)?.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let hops: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        // What is not text is a hop that can't be read.
        .flat_map(|value| value.to_str().unwrap_or("unreadable").split(','))
        .map(str::trim)
        .collect();
    for hop in hops.iter().rev() {
        if !is_trusted(address) {
            break;
        }
        // What can't be read is not believed, nor anything left of it.
        let Ok(hop) = hop.parse::<IpAddr>() else {
            break;
        };
        address = hop.to_canonical();
    }
    Some(address)
}

fn group(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

fn peer(extensions: &Extensions) -> Option<IpAddr> {
    if let Some(ClientAddress(address)) = extensions.get() {
        return Some(*address);
    }
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(address)) =
        extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>()
    {
        return Some(address.ip());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: &str, expected: &str) {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        let mut extensions = Extensions::new();
        extensions.insert(ClientAddress(peer.parse().unwrap()));
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        assert_eq!(
            client(&trusted, &headers, &extensions).as_deref(),
            Some(expected)
        );
    }

    #[test]
    fn the_rightmost_hop_that_is_not_trusted_is_the_client() {
        check("203.0.113.9", "", "203.0.113.9");
        check("203.0.113.9", "198.51.100.1", "203.0.113.9");
        check("10.0.0.1", "198.51.100.1", "198.51.100.1");
        check(
            "10.0.0.1",
            "1.2.3.4, 198.51.100.1, 10.0.0.2",
            "198.51.100.1",
        );
        check("10.0.0.1", "1.2.3.4, nonsense", "10.0.0.1");
        check("10.0.0.1", "10.0.0.3", "10.0.0.3");
    }

    #[test]
    fn an_ipv6_client_is_counted_by_its_network() {
        check("2001:db8:1:2:3::9", "", "2001:db8:1:2::/64");
        check("::ffff:203.0.113.9", "", "203.0.113.9");
    }
}

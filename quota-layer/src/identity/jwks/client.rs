//! The HTTP side of fetching keys.

use std::time::Duration;

use http::{HeaderMap, header::CACHE_CONTROL};
use reqwest::{
    Client, Url,
    redirect::{Attempt, Policy},
};

use crate::identity::IdentityError;

const MAX_BODY_BYTES: usize = 256 * 1024;
const MAX_REDIRECTS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

const MIN_LIFETIME: Duration = Duration::from_mins(5);
const DEFAULT_LIFETIME: Duration = Duration::from_mins(15);
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// Fetches one document from one address.
pub(super) struct JwksClient {
    url: Url,
    client: Client,
}

/// Why a fetch brought no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the issuer can't be reached")]
    Http(#[from] reqwest::Error),
    #[error("the issuer answered {0}")]
    Status(http::StatusCode),
    #[error("the answer is longer than {MAX_BODY_BYTES} bytes")]
    TooLong,
    #[error("the answer is not a JWKS")]
    NotAJwks(#[from] serde_json::Error),
    #[error("the JWKS has {0} keys, more than are looked at")]
    TooManyKeys(usize),
    #[error("a key can't be read")]
    Key(#[from] jsonwebtoken::errors::Error),
}

impl JwksClient {
    pub(super) fn new(url: &str) -> Result<Self, IdentityError> {
        let url = checked(url).map_err(|problem| IdentityError::JwksAddress { problem })?;
        // Fails where the application has chosen a provider already, which then is used.
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        let mut client = Client::builder()
            .user_agent("quota-layer")
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // The next fetch is minutes away, and perhaps on another runtime.
            .pool_max_idle_per_host(0);
        client = if url.scheme() == "https" {
            client.https_only(true).redirect(redirects(is_https))
        } else {
            // Plain text on this machine needs neither a proxy nor root certificates.
            client
                .no_proxy()
                .tls_certs_only([])
                .redirect(redirects(is_loopback_http))
        };
        let client = client
            .build()
            .map_err(|error| IdentityError::HttpClient(error.into()))?;
        Ok(Self { url, client })
    }

    /// The document, and how long it may be used.
    pub(super) async fn get(&self) -> Result<(Vec<u8>, Duration), FetchError> {
        let mut response = self.client.get(self.url.clone()).send().await?;
        if response.status() != http::StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let lifetime = lifetime(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body, lifetime))
    }
}

fn checked(url: &str) -> Result<Url, &'static str> {
    let url = Url::parse(url).map_err(|_| "is not an address")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password");
    }
    if is_https(&url) || is_loopback_http(&url) {
        Ok(url)
    } else {
        Err("is neither https nor on loopback")
    }
}

fn is_https(url: &Url) -> bool {
    url.scheme() == "https"
}

fn is_loopback_http(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    // An IPv6 address stands in brackets here.
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    url.scheme() == "http" && is_loopback
}

fn redirects(is_allowed: fn(&Url) -> bool) -> Policy {
    Policy::custom(move |attempt: Attempt<'_>| {
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if is_allowed(attempt.url()) {
            attempt.follow()
        } else {
            attempt.error("a redirect to an address that is not allowed")
        }
    })
}

/// `max-age`, within bounds; an issuer that wants no caching at all gets the lower one.
fn lifetime(headers: &HeaderMap) -> Duration {
    let directives = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase());
    let mut lifetime = DEFAULT_LIFETIME;
    for directive in directives {
        if directive == "no-store" || directive == "no-cache" {
            return MIN_LIFETIME;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            lifetime = seconds
                .trim_matches('"')
                .parse()
                .map_or(MIN_LIFETIME, Duration::from_secs);
        }
    }
    lifetime.clamp(MIN_LIFETIME, MAX_LIFETIME)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn addresses_are_https_or_on_loopback() {
        for good in [
            "https://issuer.example/jwks.json",
            "http://127.0.0.1:80/k",
            "http://127.9.9.9",
            "http://[::1]:8080/k",
            "http://localhost/k",
        ] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "issuer.example",
            "http://issuer.example/k",
            "http://127.0.0.1.example/k",
            "http://localhost.example/k",
            "http://[::2]/k",
            "ftp://127.0.0.1/k",
            "file:///etc/passwd",
            "https://me:secret@issuer.example/k",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[track_caller]
    fn check(values: &[&'static str], expected_seconds: u64) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        assert_eq!(lifetime(&headers).as_secs(), expected_seconds, "{values:?}");
    }

    #[test]
    fn max_age_is_kept_within_bounds() {
        check(&[], 900);
        check(&["public, max-age=3600"], 3600);
        check(&["public", "Max-Age=3600"], 3600);
        check(&["max-age=0"], 300);
        check(&["max-age=31536000"], 86400);
        check(&["max-age=99999999999999999999"], 300);
        check(&["max-age=-1"], 300);
        check(&["max-age=3600, no-store"], 300);
    }
}

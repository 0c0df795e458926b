//! `[store]`.

use std::time::Duration;

use http::Uri;
use quota_store::{Amount, Orphans, Percent};
use secrecy::SecretString;

use super::{
    amount::{amount, percent},
    duration::duration,
    findings::{Findings, Problem},
    node::{Place, Table},
    reader::{Item, Keys, not_supported},
    secret::{UserInfo, secret, url},
    settings::{OnFailure, Settle, StoreConfig, StoreUrl},
    source::{self, Source},
};

const URL_HINT: &str = "write \"memory:\", \"redis://host:6379/0\" or \"rediss://host:6379/0\"";

/// Reads the section, or its defaults.
pub(super) fn read(root: &mut Keys<'_>, source: &Source, findings: &mut Findings) -> StoreConfig {
    let nothing = Table::default();
    let mut keys = root
        .take("store")
        .and_then(|item| item.table(findings))
        .unwrap_or_else(|| Keys::new("store".to_owned(), &Place::Whole, &nothing));
    let keys = &mut keys;
    let connection = Connection::read(keys, source, findings);
    let times = Times::read(keys, findings);
    let config = StoreConfig {
        url: connection.url,
        username: connection.username,
        password: connection.password,
        ca_pem: connection.ca_pem,
        prefix: keys
            .take("prefix")
            .and_then(|item| prefix(&item, findings))
            .unwrap_or_else(|| "quota".to_owned()),
        timeout: times.timeout,
        settle: settle(keys, findings).unwrap_or_default(),
        orphans: keys
            .take("orphans")
            .and_then(|item| orphans(&item, findings))
            .unwrap_or_default(),
        reservation_ttl: times.reservation_ttl,
        max_reservation: times.max_reservation,
        max_in_flight: keys
            .take("max_in_flight")
            .and_then(|item| item.whole(1..=1_000_000, findings))
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(100),
        on_failure: on_failure(keys, findings).unwrap_or_default(),
        allow_max: keys
            .take("allow_max")
            .and_then(|item| amount(&item, findings))
            .unwrap_or(Amount::saturating(100)),
        local_share: keys
            .take("local_share")
            .and_then(|item| percent(&item, &(1..=100), findings))
            .unwrap_or(Percent::new(10)),
        accept_eviction: keys
            .take("accept_eviction")
            .and_then(|item| item.boolean(findings))
            .unwrap_or(false),
        memory_subjects: keys
            .take("memory_subjects")
            .and_then(|item| item.whole(1..=1_000_000_000, findings))
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(1_000_000),
    };
    std::mem::replace(keys, Keys::new(String::new(), &Place::Whole, &nothing)).finish(findings);
    config
}

/// `orphans`, of the store or of a plan.
pub(super) fn orphans(item: &Item<'_>, findings: &mut Findings) -> Option<Orphans> {
    let words = [("release", Orphans::Release), ("charge", Orphans::Charge)];
    item.choice(&words, findings)
}

/// `settle`, of the store or of a rule.
pub(super) fn settle(keys: &mut Keys<'_>, findings: &mut Findings) -> Option<Settle> {
    let words = [
        ("before-response", Settle::BeforeResponse),
        ("background", Settle::Background),
    ];
    keys.take("settle")?.choice(&words, findings)
}

/// `on_failure`, of the store or of a rule.
pub(super) fn on_failure(keys: &mut Keys<'_>, findings: &mut Findings) -> Option<OnFailure> {
    let words = [
        ("deny", OnFailure::Deny),
        ("allow", OnFailure::Allow),
        ("local", OnFailure::Local),
    ];
    keys.take("on_failure")?.choice(&words, findings)
}

/// Where the store is, and how to get in.
struct Connection {
    url: StoreUrl,
    username: Option<String>,
    password: Option<SecretString>,
    ca_pem: Option<String>,
}

impl Connection {
    fn read(keys: &mut Keys<'_>, source: &Source, findings: &mut Findings) -> Self {
        let (url, user_info) = keys
            .take("url")
            .and_then(|item| store_url(&item, source, findings))
            .unwrap_or((
                StoreUrl::Memory,
                UserInfo {
                    username: None,
                    password: None,
                },
            ));
        let username = keys.take("username");
        let password = keys.take("password");
        let in_url = [
            (&username, user_info.username.is_some()),
            (&password, user_info.password.is_some()),
        ];
        for (item, _) in in_url.iter().filter(|(_, in_url)| *in_url) {
            if let Some(item) = item {
                findings.error(
                    item.key_place,
                    format!("`{}` is given, and so it is in `store.url`", item.path),
                    "keep one of them",
                );
            }
        }
        if let (Some(item), None, None) = (&username, &password, &user_info.password) {
            findings.error(
                item.key_place,
                "`store.username` is given without `store.password`",
                "add password = \"env:NAME\" or \"file:PATH\"",
            );
        }
        let ca_file = keys.take("ca_file");
        warn_unused(&url, [&username, &password, &ca_file], findings);
        Self {
            url,
            username: username
                .and_then(|item| item.words("username = \"quota\"", findings))
                .map(str::to_owned)
                .or(user_info.username),
            password: password
                .and_then(|item| secret(&item, source, findings))
                .or(user_info.password),
            ca_pem: ca_file.and_then(|item| certificate(&item, source, findings)),
        }
    }
}

fn warn_unused(url: &StoreUrl, items: [&Option<Item<'_>>; 3], findings: &mut Findings) {
    for item in items.into_iter().flatten() {
        let reason = match url {
            StoreUrl::Memory => "the store is in memory",
            StoreUrl::Redis { address } if item.key() == "ca_file" => {
                if address.starts_with("rediss://") {
                    continue;
                }
                "`store.url` is not rediss://"
            }
            StoreUrl::Redis { .. } => continue,
        };
        findings.warning(
            item.key_place,
            format!("`{}` is not used: {reason}", item.path),
        );
    }
}

fn certificate(item: &Item<'_>, source: &Source, findings: &mut Findings) -> Option<String> {
    let path = item.words("ca_file = \"ca.pem\"", findings)?;
    let result = source::read(path, source).and_then(|pem| {
        if pem.contains("-----BEGIN CERTIFICATE-----") {
            Ok(pem)
        } else {
            Err(Problem::new(
                format!("the file `{path}` has no certificate"),
                "it is a PEM file that begins with -----BEGIN CERTIFICATE-----",
            ))
        }
    });
    findings.keep(
        item.place(),
        result.map_err(|problem| problem.at(&item.path)),
    )
}

fn store_url(
    item: &Item<'_>,
    source: &Source,
    findings: &mut Findings,
) -> Option<(StoreUrl, UserInfo)> {
    let url = url(item, "redis://host:6379/0", source, findings)?;
    let scheme = url.expose().split(':').next().unwrap_or_default();
    if matches!(scheme, "redis-cluster" | "redis-sentinel") {
        not_supported_value(item, &format!("{scheme}://"), findings);
        return None;
    }
    let hint = "give them as store.username and store.password = \"env:NAME\", or all of the URL as \
                \"env:NAME\"";
    let result = url
        .split_user_info(hint)
        .and_then(|(address, user_info)| Ok((parse_address(&address)?, user_info)));
    findings.keep(
        item.place(),
        result.map_err(|problem| problem.at(&item.path)),
    )
}

fn not_supported_value(item: &Item<'_>, value: &str, findings: &mut Findings) {
    let named = Item {
        path: format!("{} = {value}", item.path),
        key_place: item.place(),
        node: item.node,
    };
    not_supported(&named, URL_HINT, findings);
}

fn parse_address(address: &str) -> Result<StoreUrl, Problem> {
    if address == "memory:" {
        return Ok(StoreUrl::Memory);
    }
    let refuse = |message: &str| Problem::new(message, URL_HINT);
    let Some((scheme @ ("redis" | "rediss"), _)) = address.split_once("://") else {
        return Err(refuse("this is not the URL of a store"));
    };
    let uri: Uri = address.parse().map_err(|_| refuse("this is not a URL"))?;
    let host = uri
        .host()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| refuse("the URL has no host"))?;
    // `Uri::port` does not tell a wrong port from none.
    let after_host = uri
        .authority()
        .and_then(|authority| authority.as_str().strip_prefix(host))
        .unwrap_or_default();
    let port = match after_host.strip_prefix(':') {
        None if after_host.is_empty() => Some(6379),
        None => None,
        Some(digits) => digits.parse::<u16>().ok().filter(|port| *port > 0),
    };
    let port = port.ok_or_else(|| refuse("the port of the URL is not a number from 1 to 65535"))?;
    if uri.query().is_some() || address.contains('#') {
        return Err(refuse("the URL has parts after the database number"));
    }
    let database = match uri.path().trim_start_matches('/') {
        "" => 0,
        digits => digits
            .parse::<u16>()
            .map_err(|_| refuse("the database of the URL is not a number"))?,
    };
    Ok(StoreUrl::Redis {
        address: format!("{scheme}://{host}:{port}/{database}"),
    })
}

fn prefix(item: &Item<'_>, findings: &mut Findings) -> Option<String> {
    let text = item.words("prefix = \"quota\"", findings)?;
    // Braces would move the hash tag that keeps a partition's keys together, and patterns of
    // access rules have signs of their own.
    let fits = text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
    if !fits {
        findings.error(
            item.place(),
            format!("`{}` cannot be the beginning of a key", item.path),
            "use at most 64 of a-z, A-Z, 0-9 and -._:",
        );
        return None;
    }
    Some(text.to_owned())
}

/// The three times that belong together.
struct Times {
    timeout: Duration,
    reservation_ttl: Duration,
    max_reservation: Duration,
}

impl Times {
    fn read(keys: &mut Keys<'_>, findings: &mut Findings) -> Self {
        let timeout_item = keys.take("timeout");
        let ttl_item = keys.take("reservation_ttl");
        let max_item = keys.take("max_reservation");
        let mut read = |item: &Option<Item<'_>>, example, default| {
            item.as_ref()
                .map_or(Some(default), |item| duration(item, example, findings))
        };
        let timeout = read(&timeout_item, "50ms", Duration::from_millis(50));
        let ttl = read(&ttl_item, "30s", Duration::from_secs(30));
        let max = read(&max_item, "15m", Duration::from_mins(15));
        let places = [&timeout_item, &ttl_item, &max_item]
            .map(|item| item.as_ref().map_or(&Place::Whole, |item| item.place()));
        let times = Self {
            timeout: timeout.unwrap_or_default(),
            reservation_ttl: ttl.unwrap_or_default(),
            max_reservation: max.unwrap_or_default(),
        };
        if timeout.is_some() && ttl.is_some() && max.is_some() {
            times.check(places, findings);
        }
        times
    }

    fn check(&self, places: [&Place; 3], findings: &mut Findings) {
        let [timeout, ttl, max] = places;
        if self.timeout.is_zero() {
            findings.error(timeout, "`store.timeout` is zero", "write at least \"1ms\"");
        }
        if self.reservation_ttl < Duration::from_secs(1) {
            findings.error(
                ttl,
                "`store.reservation_ttl` is shorter than 1s",
                "write at least \"1s\": a shorter one expires under a request that is well",
            );
        } else if self.timeout >= self.reservation_ttl {
            let place = if *timeout == Place::Whole {
                ttl
            } else {
                timeout
            };
            findings.error(
                place,
                "`store.timeout` is not shorter than `store.reservation_ttl`",
                "give an operation less time than a reservation lives",
            );
        }
        if self.max_reservation < self.reservation_ttl {
            let place = if *max == Place::Whole { ttl } else { max };
            findings.error(
                place,
                "`store.max_reservation` is shorter than `store.reservation_ttl`",
                "give a reservation at least one time to live",
            );
        }
    }
}

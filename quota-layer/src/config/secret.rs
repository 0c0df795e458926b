//! Secrets and URLs: what may be written as it is, and what only elsewhere.

use http::Uri;
use secrecy::{ExposeSecret, SecretString};

use super::{
    findings::{Findings, Problem},
    reader::Item,
    source::{Reference, Source},
};

/// Reads `env:NAME` or `file:PATH`, and what that refers to.
pub(super) fn secret(
    item: &Item<'_>,
    source: &Source,
    findings: &mut Findings,
) -> Option<SecretString> {
    let text = item.text(&format!("{} = \"env:NAME\"", item.key()), findings)?;
    let result = Reference::parse(text).map_or_else(
        || {
            Err(Problem::new(
                "the value itself does not belong here (it is not shown)",
                "refer to it: \"env:NAME\" for an environment variable, \"file:PATH\" for a file",
            ))
        },
        |reference| reference.resolve(source),
    );
    findings.keep(
        item.place(),
        result.map_err(|problem| problem.at(&item.path)),
    )
}

/// A URL, and where it was written.
pub(super) struct Url {
    /// Kept secret, since it may hold a password where it comes from the environment.
    text: SecretString,
    from_environment: bool,
}

/// What stands before the `@` of a URL.
pub(super) struct UserInfo {
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
}

/// Reads a URL, or `env:NAME` where all of it is in the environment.
pub(super) fn url(
    item: &Item<'_>,
    example: &str,
    source: &Source,
    findings: &mut Findings,
) -> Option<Url> {
    let text = item.text(&format!("{} = \"{example}\"", item.key()), findings)?;
    match Reference::parse(text) {
        None => Some(Url {
            text: SecretString::from(text),
            from_environment: false,
        }),
        Some(reference @ Reference::Variable(_)) => {
            let result = reference.resolve(source);
            let result = result.map_err(|problem| problem.at(&item.path));
            let text = findings.keep(item.place(), result)?;
            Some(Url {
                text,
                from_environment: true,
            })
        }
        Some(Reference::File(_)) => {
            findings.error(
                item.place(),
                format!(
                    "`{}` is a URL, and a URL is not read from a file",
                    item.path
                ),
                format!("write it here, like \"{example}\", or as a whole as \"env:NAME\""),
            );
            None
        }
    }
}

impl Url {
    pub(super) fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// All of it; in the file a password in it is an error.
    pub(super) fn without_password(&self, hint: &str) -> Result<&SecretString, Problem> {
        let text = self.expose();
        let Some((_, rest)) = text.split_once("://") else {
            return Ok(&self.text);
        };
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let is_password = |pair: &str| pair.split('=').next() == Some("password");
        // A password may itself hold a `/`, so the last `@` counts.
        let has_password = address
            .rsplit_once('@')
            .is_some_and(|(user_info, _)| user_info.contains(':'))
            || query.split('&').any(is_password);
        if has_password && !self.from_environment {
            return Err(in_url(hint));
        }
        Ok(&self.text)
    }

    /// Takes the user name and password out; in the file they are an error.
    pub(super) fn split_user_info(&self, hint: &str) -> Result<(String, UserInfo), Problem> {
        let text = self.expose();
        let none = UserInfo {
            username: None,
            password: None,
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok((text.to_owned(), none));
        };
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let Some((user_info, _)) = authority.rsplit_once('@') else {
            // A password with a `/` in it: no URL, but nothing to show either.
            return if rest.contains('@') {
                Err(in_url(hint))
            } else {
                Ok((text.to_owned(), none))
            };
        };
        if !self.from_environment {
            return Err(in_url(hint));
        }
        let (username, password) = match user_info.split_once(':') {
            Some((username, password)) => (username, Some(password)),
            None => (user_info, None),
        };
        let user_info_of_url = UserInfo {
            username: Some(decode(username)).filter(|name| !name.is_empty()),
            password: password.map(|password| SecretString::from(decode(password))),
        };
        let address = format!("{scheme}://{}", &rest[user_info.len() + 1..]);
        Ok((address, user_info_of_url))
    }
}

fn in_url(hint: &str) -> Problem {
    Problem::new(
        "a user name or password stands inside the URL (it is not shown)",
        hint,
    )
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

/// Reads an `https://` URL; `http://` where `plain` allows its host.
pub(super) fn web_url(
    item: &Item<'_>,
    example: &str,
    plain: fn(&str) -> bool,
    source: &Source,
    findings: &mut Findings,
) -> Option<String> {
    let url = url(item, example, source, findings)?;
    let result = check_web_url(&url, example, plain);
    findings.keep(
        item.place(),
        result.map_err(|problem| problem.at(&item.path)),
    )
}

fn check_web_url(url: &Url, example: &str, plain: fn(&str) -> bool) -> Result<String, Problem> {
    let text = url.expose();
    let (address, user_info) =
        url.split_user_info("leave them out; this address is fetched or shown as it is")?;
    if user_info.username.is_some() || user_info.password.is_some() {
        return Err(in_url("leave them out"));
    }
    let hint = || format!("write it like \"{example}\"");
    let uri: Uri = text
        .parse()
        .map_err(|_| Problem::new("this is not a URL", hint()))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => Ok(address),
        (Some("http"), Some(host)) if plain(host) => Ok(address),
        (Some("http"), Some(_)) => Err(Problem::new(
            "plain http is for a loopback host only",
            "write https://",
        )),
        _ => Err(Problem::new("this is not an https:// URL", hint())),
    }
}

/// Whether only this machine can answer under that host.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

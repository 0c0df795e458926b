//! What is said on the terminal.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use quota_layer::Config;

use crate::{cli::TokenArguments, demo, router::Mode, token};

/// How long the printed tokens are valid.
const EXPIRES: Duration = Duration::from_hours(12);

/// What is served, and how to try it.
pub(crate) struct Greeting<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) mode: Mode,
    pub(crate) config: &'a Config,
    pub(crate) path: &'a Path,
    /// The `--config` of the command line.
    pub(crate) given: Option<&'a Path>,
}

impl Greeting<'_> {
    pub(crate) fn text(&self) -> String {
        let base = format!("http://{}", reachable(self.address));
        let token = match self.mode {
            Mode::Demo => self.token(),
            // A token of a real deployment does not belong on a terminal unasked.
            Mode::Deployment => None,
        };
        let mut text = format!("listening on {base}\n\n");
        text.push_str(&self.serves());
        if token.is_none() {
            // Writing to a text can't fail.
            writeln!(
                text,
                "# A token for the lines below, where the configuration has a secret:\n\
                 TOKEN=$({})\n",
                self.token_command("--user alice")
            )
            .ok();
        }
        let curl = Curl {
            base: &base,
            token: token.as_deref(),
        };
        text.push_str(&curl.lines(self.mode));
        writeln!(
            text,
            "\n# A token for another user or plan:\n{}",
            self.token_command("--user bob --plan pro")
        )
        .ok();
        if self.given.is_none() {
            let ledger = self.path.with_file_name("quota.db");
            writeln!(
                text,
                "\n# What administrators see of alice:\n\
                 curl -s '{base}/admin/quotas/users/alice?tenant=-' -H \"X-Admin-Token: $(cat {})\"\n\n\
                 # What was used is kept in {}*: remove these files to start from zero.",
                quoted(&demo::admin_token_path()),
                ledger.display()
            )
            .ok();
        }
        text
    }

    fn serves(&self) -> String {
        let demo = match self.mode {
            Mode::Deployment => "",
            Mode::Demo => {
                "  GET|POST /demo/status/{code}?delay_ms=   that status, after that delay\n  \
                 GET  /demo/panic                         a handler that panics\n  \
                 GET  /demo/stream?chunks=&delay_ms=      an answer in pieces\n  \
                 GET  /demo/cost/{n}                      costs n demo units\n"
            }
        };
        format!(
            "Quotas and plans: {} (read again when it changes)\n  \
             POST /api/v1/chat                        one message, and the tokens of its answer\n  \
             POST /api/v1/studies/{{id}}/detect         one detection\n  \
             POST /api/v1/studies/{{id}}/continue       one continued study\n  \
             GET  /health, GET /metrics               free, and without a token\n  \
             GET  /quota/status, /usage, /plans       what a user may use, and did\n  \
             GET  /admin/quotas/...                   for administrators; see /openapi.json\n{demo}\n",
            self.path.display()
        )
    }

    fn token(&self) -> Option<String> {
        let arguments = TokenArguments {
            user: "alice".to_owned(),
            tenant: None,
            plan: None,
            role: Vec::new(),
            expires: EXPIRES,
            config: None,
        };
        token::sign(&arguments, self.config).ok()
    }

    fn token_command(&self, who: &str) -> String {
        let config = self
            .given
            .map(|path| format!(" --config {}", quoted(path)))
            .unwrap_or_default();
        format!("cargo run -q -p example-app -- token {who}{config}")
    }
}

/// The lines to paste.
struct Curl<'a> {
    base: &'a str,
    token: Option<&'a str>,
}

impl Curl<'_> {
    fn lines(&self, mode: Mode) -> String {
        let chat = self.chat();
        let failing = match mode {
            Mode::Demo => {
                let request = self.request("/demo/status/500");
                format!(
                    "# 2. A request that fails: 500, and X-Quota-Used stays where it was, so it \
                     cost nothing.\n{request}\n"
                )
            }
            Mode::Deployment => {
                let request = self.request("/api/v1/chat");
                format!(
                    "# 2. A request that fails: no message, and X-Quota-Used stays where it \
                     was.\n{request} --json '{{}}'\n"
                )
            }
        };
        format!(
            "# 1. A chat message: X-Quota-Used counts up, X-Quota-Remaining down.\n{chat}\n\
             {failing}\
             # 3. More messages than the free plan has in a day: 429, and a problem that says \
             why.\n\
             for i in 1 2 3 4 5 6; do {chat}; done\n"
        )
    }

    fn chat(&self) -> String {
        let request = self.request("/api/v1/chat");
        format!("{request} -H 'Content-Type: application/json' -d '{{\"message\": \"hello\"}}'")
    }

    fn request(&self, path: &str) -> String {
        let base = self.base;
        let authorization = match self.token {
            Some(token) => format!("'Authorization: Bearer {token}'"),
            None => "\"Authorization: Bearer $TOKEN\"".to_owned(),
        };
        format!("curl -si -w '\\n\\n' {base}{path} -H {authorization}")
    }
}

/// Where a client on this machine finds the listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}

/// As a shell reads it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Prints to the standard output, whole and at once.
pub(crate) fn say(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{}", text.trim_end())?;
    output.flush()
}

/// Prints to the standard error; where that is closed nobody is left to tell.
pub fn say_on_stderr(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_sent_where_it_finds_the_listener() {
        let seen = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(seen("0.0.0.0:7500"), "127.0.0.1:7500");
        assert_eq!(seen("[::]:7500"), "[::1]:7500");
        assert_eq!(seen("192.0.2.1:80"), "192.0.2.1:80");
    }

    #[test]
    fn paths_survive_the_shell() {
        assert_eq!(quoted(Path::new("a b'c")), r"'a b'\''c'");
    }
}

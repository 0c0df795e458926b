//! Options of a server, its configuration file, and its start.

use std::{
    fmt::Write,
    fs,
    io::Read,
    path::Path,
    process::{Child, Command},
};

use super::{RedisServer, connect, tls};
use crate::{
    eventually::poll_blocking,
    processes::{self, free_port},
};

/// Name and password of the user that the methods of `RedisServer` log in as.
pub const ADMIN: &str = "test-admin";

/// A user that the tested side logs in as.
#[derive(Clone, Debug)]
pub(crate) struct AclUser {
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) rules: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) password: Option<String>,
    pub(crate) acl_user: Option<AclUser>,
    pub(crate) tls: bool,
    pub(crate) persistent: bool,
    replica_of: Option<u16>,
    directives: Vec<String>,
}

/// Options of a `RedisServer`.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RedisBuilder {
    settings: Settings,
    port: Option<u16>,
}

impl RedisBuilder {
    /// The default user needs this password (`requirepass`).
    pub fn password(mut self, password: &str) -> Self {
        self.settings.password = Some(password.to_owned());
        self
    }

    /// The default user is off, and this one has `rules`, such as `~* &* +@all`.
    pub fn acl_user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self.settings.acl_user = Some(AclUser {
            name: name.to_owned(),
            password: password.to_owned(),
            rules: rules.to_owned(),
        });
        self
    }

    /// Limits the memory, such as `2mb`, with a policy, such as `noeviction`.
    pub fn max_memory(self, limit: &str, policy: &str) -> Self {
        self.directive("maxmemory", limit)
            .directive("maxmemory-policy", policy)
    }

    /// Speaks TLS only, with a certificate whose authority is in `RedisServer::ca_file`.
    pub fn tls(mut self) -> Self {
        self.settings.tls = true;
        self
    }

    /// Copies `primary`, which must be one of ours without TLS; it is ready once in step.
    pub fn replica_of(mut self, primary: &RedisServer) -> Self {
        self.settings.replica_of = Some(primary.port());
        self
    }

    /// Every write is in the append-only file before it is acknowledged, so that it survives
    /// SIGKILL.
    pub fn persistent(mut self) -> Self {
        self.settings.persistent = true;
        self
    }

    /// A line more in the configuration file.
    pub fn directive(mut self, name: &str, value: &str) -> Self {
        self.settings.directives.push(format!("{name} {value}"));
        self
    }

    /// Listens on this port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Starts the server and waits until it answers.
    #[must_use]
    pub fn start(self) -> RedisServer {
        const TRIES: u32 = 5;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        if self.settings.tls {
            tls::write_certificates(folder.path());
        }
        let mut last_log = String::new();
        // Another process may take a free port first.
        for _ in 0..TRIES {
            let port = self.port.unwrap_or_else(free_port);
            match launch(&self.settings, folder.path(), port) {
                Ok(child) => {
                    return RedisServer {
                        settings: self.settings,
                        port,
                        folder,
                        child: child.into(),
                    };
                }
                Err(log) => last_log = log,
            }
        }
        panic!("redis-server does not start:\n{last_log}");
    }
}

/// Starts a server in `folder` and waits until it answers; gives its log if it does not.
pub(crate) fn launch(settings: &Settings, folder: &Path, port: u16) -> Result<Child, String> {
    let file = folder.join("redis.conf");
    fs::write(&file, configuration(settings, folder, port)).expect("the folder can be written");
    let mut child = processes::spawn(Command::new(program()).arg(&file))
        .unwrap_or_else(|error| panic!("redis-server does not start: {error}"));
    let ready = poll_blocking(|| {
        if let Ok(Some(status)) = child.try_wait() {
            return Ok(Err(format!("it ended with {status}")));
        }
        check_ready(settings, folder, port, child.id()).map(Ok)
    });
    match ready.flatten() {
        Ok(()) => Ok(child),
        Err(reason) => {
            processes::end(&mut child);
            let mut log = fs::read_to_string(folder.join("redis.log")).unwrap_or_default();
            // A mistake in the configuration is told here, before there is a log.
            if let Some(mut stderr) = child.stderr.take() {
                stderr.read_to_string(&mut log).ok();
            }
            Err(format!("{reason}\n{log}"))
        }
    }
}

/// Empties the folder but for the certificates.
pub(crate) fn remove_data(folder: &Path) {
    fs::remove_dir_all(folder.join("appendonlydir")).ok();
    fs::remove_file(folder.join("dump.rdb")).ok();
}

/// The value of a field in the text of `INFO`.
pub(crate) fn info_field<'a>(info: &'a str, field: &str) -> Option<&'a str> {
    info.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| (name == field).then_some(value.trim_end()))
}

fn program() -> &'static str {
    let is_there = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join("redis-server").is_file())
    });
    assert!(
        is_there,
        "install redis-server: apt-get install redis-server"
    );
    "redis-server"
}

fn check_ready(settings: &Settings, folder: &Path, port: u16, id: u32) -> Result<(), String> {
    let info: String = connect(settings, folder, port)
        .and_then(|mut connection| redis::cmd("INFO").arg("everything").query(&mut connection))
        .map_err(|error| error.to_string())?;
    // Another server may answer at this port, whose address was free a moment ago.
    let is_ours = info_field(&info, "process_id") == Some(id.to_string().as_str());
    let is_loaded = info_field(&info, "loading") == Some("0");
    let is_in_step =
        settings.replica_of.is_none() || info_field(&info, "master_link_status") == Some("up");
    if is_ours && is_loaded && is_in_step {
        Ok(())
    } else {
        Err(format!(
            "not ready: is_ours {is_ours}, is_loaded {is_loaded}, is_in_step {is_in_step}"
        ))
    }
}

fn configuration(settings: &Settings, folder: &Path, port: u16) -> String {
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        "daemonize no".to_owned(),
        "save \"\"".to_owned(),
        "repl-diskless-sync-delay 0".to_owned(),
        format!("dir {}", folder.display()),
        format!("logfile {}", folder.join("redis.log").display()),
        format!("user {ADMIN} on >{ADMIN} ~* &* +@all"),
    ];
    if settings.tls {
        let files = tls::Files::in_folder(folder);
        lines.extend([
            "port 0".to_owned(),
            format!("tls-port {port}"),
            "tls-auth-clients no".to_owned(),
            format!("tls-ca-cert-file {}", files.authority.display()),
            format!("tls-cert-file {}", files.certificate.display()),
            format!("tls-key-file {}", files.key.display()),
        ]);
    } else {
        lines.push(format!("port {port}"));
    }
    if settings.persistent {
        lines.push("appendonly yes".to_owned());
    }
    if let Some(password) = &settings.password {
        lines.push(format!("requirepass {password}"));
    }
    if let Some(AclUser {
        name,
        password,
        rules,
    }) = &settings.acl_user
    {
        lines.push("user default off".to_owned());
        lines.push(format!("user {name} on >{password} {rules}"));
    }
    if let Some(primary) = settings.replica_of {
        lines.extend([
            format!("replicaof 127.0.0.1 {primary}"),
            format!("masteruser {ADMIN}"),
            format!("masterauth {ADMIN}"),
        ]);
    }
    lines.extend(settings.directives.iter().cloned());
    lines.into_iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").expect("a String takes every line");
        text
    })
}

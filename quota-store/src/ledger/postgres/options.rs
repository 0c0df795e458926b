//! Where a server is, and how it is spoken to.

use std::{fmt, path::PathBuf, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio_postgres::{Config, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::LedgerStartError;

/// Where a server is, and how it is spoken to.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) config: Config,
    /// A file with the certificates that sign the server's, instead of those of the web.
    pub(super) ca_file: Option<PathBuf>,
    /// How many connections there are at most.
    pub connections: usize,
    /// How long anything that is asked may take.
    pub timeout: Duration,
}

impl PostgresOptions {
    /// Reads `postgres://user:password@host/database?sslmode=...`.
    ///
    /// `sslmode` is `disable`, `require`, `verify-ca` or `verify-full`; the last three are the same
    /// here: the certificate is always verified. Without it, a server on this machine is spoken to
    /// in plain text, and any other one over TLS. `sslrootcert` names a file of certificates.
    ///
    /// # Errors
    ///
    /// What can't be read, without the address itself, which may hold a password.
    pub fn new(url: &str) -> Result<Self, LedgerStartError> {
        let address_error = |reason: &str| LedgerStartError::Address {
            reason: reason.to_owned(),
        };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(address_error("it begins with `postgres://`"));
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut rest, mut ca_file, mut tls) = (Vec::new(), None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", "disable")) => tls = Some(SslMode::Disable),
                Some(("sslmode", "require" | "verify-ca" | "verify-full")) => {
                    tls = Some(SslMode::Require);
                }
                Some(("sslmode", _)) => {
                    return Err(address_error(
                        "`sslmode` is disable, require, verify-ca or verify-full",
                    ));
                }
                Some(("sslrootcert", path)) => ca_file = Some(PathBuf::from(path)),
                _ => rest.push(pair),
            }
        }
        let mut config: Config = format!("{base}?{}", rest.join("&"))
            .parse()
            .map_err(|error: tokio_postgres::Error| address_error(&describe(&error)))?;
        let tls = tls.unwrap_or(if is_local(&config) {
            SslMode::Disable
        } else {
            SslMode::Require
        });
        config.ssl_mode(tls);
        set_up(&mut config);
        Ok(Self {
            config,
            ca_file,
            connections: 8,
            timeout: Duration::from_secs(10),
        })
    }

    pub(super) fn tls(&self) -> Result<MakeRustlsConnect, LedgerStartError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails where another thread was faster, and then there is one.
            drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        }
        let Some(file) = &self.ca_file else {
            return Ok(MakeRustlsConnect::with_webpki_roots());
        };
        let file_error = |error: String| LedgerStartError::Address {
            reason: format!(
                "the certificates in {} can't be read: {error}",
                file.display()
            ),
        };
        let mut roots = RootCertStore::empty();
        let certificates =
            CertificateDer::pem_file_iter(file).map_err(|error| file_error(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| file_error(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| file_error(error.to_string()))?;
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }
}

/// Bounds on what the server does for us, and our name.
fn set_up(config: &mut Config) {
    let given = config.get_options().unwrap_or_default();
    // What comes last wins, so an operator's own bounds do.
    let options = format!(
        "-c statement_timeout=10s -c lock_timeout=5s \
         -c idle_in_transaction_session_timeout=30s {given}"
    );
    config.options(options.trim_end());
    if config.get_application_name().is_none() {
        config.application_name("quota-ledger");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(2));
    }
}

fn is_local(config: &Config) -> bool {
    use tokio_postgres::config::Host;

    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            let address = name.parse::<std::net::IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

/// The whole chain of an error, which says nothing of what was connected with.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("database", &self.config.get_dbname())
            .field("ca_file", &self.ca_file)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: SslMode) {
        let options = PostgresOptions::new(url).unwrap();
        assert_eq!(options.config.get_ssl_mode(), expected, "{url}");
    }

    #[test]
    fn only_a_server_on_this_machine_is_spoken_to_in_plain_text() {
        check("postgres://localhost/db", SslMode::Disable);
        check("postgres://127.0.0.1:5433/db", SslMode::Disable);
        check("postgres:///db?host=/run/postgresql", SslMode::Disable);
        check("postgres://db.example/db", SslMode::Require);
        check("postgres://db.example/db?sslmode=disable", SslMode::Disable);
        check(
            "postgres://localhost/db?sslmode=verify-full",
            SslMode::Require,
        );
    }

    #[test]
    fn a_bad_address_is_told_without_its_password() {
        for url in [
            "mysql://u:hunter2@h/db",
            "postgres://u:hunter2@h/db?sslmode=maybe",
            "postgres://u:hunter2@h:port/db",
            "postgres://u:hunter2@h/db?nonsense=1",
        ] {
            let error = PostgresOptions::new(url).unwrap_err();
            assert!(matches!(error, LedgerStartError::Address { .. }));
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let options = PostgresOptions::new("postgres://u:hunter2@h/db").unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}

//! The command line.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

use crate::{duration, router::Mode};

/// Where the application listens unless it is told otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7500));

/// A chat API with quotas. Without arguments: a demo on 127.0.0.1:7500 that needs no set-up.
#[derive(Debug, Parser)]
#[command(name = "example-app", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// How to serve.
    #[command(flatten)]
    pub serve: ServeArguments,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// How to serve.
#[derive(Args, Debug)]
pub struct ServeArguments {
    /// The configuration; without one it is demo mode
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Where to listen; with port 0 the system chooses one
    #[arg(long, value_name = "ADDR", default_value_t = DEFAULT_LISTEN, value_parser = address)]
    pub listen: SocketAddr,
    /// Adds the demo's routes to a run with --config, on loopback only
    #[arg(long)]
    pub demo: bool,
}

impl ServeArguments {
    pub(crate) fn mode(&self) -> Mode {
        if self.demo || self.config.is_none() {
            Mode::Demo
        } else {
            Mode::Deployment
        }
    }
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints a token for a user, signed with the secret of the configuration
    Token(TokenArguments),
}

/// Whose token to print.
#[derive(Args, Debug)]
pub struct TokenArguments {
    /// Who the token is for
    #[arg(long)]
    pub user: String,
    /// The organisation the user belongs to
    #[arg(long)]
    pub tenant: Option<String>,
    /// The plan that the token claims
    #[arg(long)]
    pub plan: Option<String>,
    /// A role, such as `quota_admin`; may be repeated
    #[arg(long)]
    pub role: Vec<String>,
    /// How long the token is valid: 90s, 30m, 1h or 7d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    pub expires: Duration,
    /// The configuration that names the secret and the claims; the demo's without it
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address and a port, such as 127.0.0.1:7500 or [::1]:0".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_configuration_it_is_the_demo() {
        let mode = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["example-app"], arguments].concat()).unwrap();
            cli.serve.mode()
        };
        assert_eq!(mode(&[]), Mode::Demo);
        assert_eq!(mode(&["--config", "quota.toml"]), Mode::Deployment);
        assert_eq!(mode(&["--config", "quota.toml", "--demo"]), Mode::Demo);
    }
}

//! One honest deployment of the quota layer: a chat, a few API calls, and a demo that shows what
//! is charged and what is not.
//!
//! `router` puts the layers around the routes; everything else starts and ends the process.

mod claims;
mod cli;
mod demo;
mod duration;
mod failure;
mod greeting;
mod loopback;
mod metrics;
mod problem;
mod router;
mod routes;
mod secret;
mod serve;
mod stop;
mod token;

pub use cli::{Cli, Command, ServeArguments, TokenArguments};
pub use failure::Failure;
pub use greeting::say_on_stderr;
pub use metrics::{InstallError, install as install_metrics};
pub use router::{Application, Mode, router};
pub use serve::serve;
pub use stop::{Stop, Stopped};
pub use token::print as print_token;

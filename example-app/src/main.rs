//! Parses the command line and does what it says.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::Parser;
use example_app::{Cli, Command, Failure};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    start_logging();
    let result = match &cli.command {
        Some(Command::Token(arguments)) => example_app::print_token(arguments),
        None => serve(&cli),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            example_app::say_on_stderr(&format!("error: {failure}"));
            failure.exit_code()
        }
    }
}

fn serve(cli: &Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::start(format!("the runtime does not start: {error}")))?;
    runtime.block_on(example_app::serve(&cli.serve))
}

/// `--help` and `--version` are no errors; everything else is a wrong use.
fn explain(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell where the terminal is gone.
    error.print().ok();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}

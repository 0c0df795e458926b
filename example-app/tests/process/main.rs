//! The program as people start it: its output, its answers, its signals, its exit codes.
#![cfg(unix)]
#![expect(
    clippy::panic,
    reason = "a helper of tests fails the test by panicking, with a message"
)]

mod app;
mod demo;
mod life;
mod start;
mod tokens;

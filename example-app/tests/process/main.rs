//! The program as people start it: its output, its answers, its signals, its exit codes.
#![cfg(unix)]

#[cfg(test)]
mod app;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod guide;
#[cfg(test)]
mod life;
#[cfg(test)]
mod start;
#[cfg(test)]
mod tokens;

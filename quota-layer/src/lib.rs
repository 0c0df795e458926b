//! A tower layer that reserves quota before a request runs and commits it when the answer is a
//! success.

mod config;

pub use config::{Config, ConfigError, ConfigErrors};

//! A tower layer that reserves quota before a request runs and commits it when the answer is a
//! success.

#[expect(unused_imports, reason = "what reads the configuration comes next")]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "what reads the configuration comes next")
)]
mod config;

pub use config::{Config, ConfigError, ConfigErrors};

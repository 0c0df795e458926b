//! Reading `quota.toml`.

mod settings;

mod load;
mod source;

mod environment;
mod errors;
mod findings;
mod mask;
mod node;
mod reader;

mod amount;
mod duration;
mod ip_range;
mod names;
mod pattern;
mod secret;
mod text;

mod admin;
mod charges;
mod identity;
mod jwt;
mod later;
mod ledger;
mod limits;
mod plan_text;
mod plans;
mod quotas;
mod responses;
mod revision;
mod routes;
mod store;
mod stored;
mod windows;

mod watch;

use std::path::Path;

pub use errors::{ConfigError, ConfigErrors};
pub(crate) use ip_range::IpRange;
pub use settings::Config;
#[cfg(any(test, feature = "sqlite"))]
pub(crate) use settings::LedgerDurability;
#[cfg(any(test, feature = "jwt"))]
pub(crate) use settings::TokenFrom;
pub(crate) use settings::{
    Actual, Anonymous, ChargeItem, DenialRecords, IdentityConfig, IdentityFrom, LedgerConfig,
    LedgerUrl, Methods, OnBacklogFull, OnFailure, PlanFrom, PostgresUrl, QuotaConfig, Record,
    ResponsesConfig, RuleAction, Settle, StoreConfig, StoreUrl, UnknownPlan, Unmatched,
};
pub(crate) use source::Source;
pub(crate) use stored::{Rejected, merged};
pub(crate) use watch::ConfigWatcher;

impl Config {
    /// Reads a configuration from the text of a `quota.toml`.
    ///
    /// `QUOTA__...` variables of the process are laid over it, and secrets are resolved. Relative
    /// paths begin at the current folder.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the file.
    pub fn from_toml(text: &str) -> Result<Self, ConfigErrors> {
        Self::load(&Source::of_text(text))
    }

    /// Reads a configuration from a file.
    ///
    /// As [`Config::from_toml`], and relative paths begin at the file's folder.
    ///
    /// # Errors
    ///
    /// That the file cannot be read, or everything that is wrong with it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        Self::load(&Source::of_file(path.as_ref())?)
    }

    pub(crate) fn load(source: &Source) -> Result<Self, ConfigErrors> {
        load::load(source)
    }
}

#[cfg(test)]
mod tests;

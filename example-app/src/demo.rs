//! What demo mode brings along.

use std::path::{Path, PathBuf};

use crate::{failure::Failure, secret};

/// Where the demo's admin token is.
pub(crate) fn admin_token_path() -> PathBuf {
    folder().join(".admin-token")
}

/// The demo's configuration: the file of the checkout that this program was built from.
pub(crate) fn config_path() -> PathBuf {
    folder().join("quota.toml")
}

/// The configuration to use, and the demo's secrets made where none are there yet.
pub(crate) fn prepare(config: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(config) = config {
        return Ok(config.to_owned());
    }
    let config = config_path();
    if !config.is_file() {
        return Err(Failure::wrong_use(format!(
            "the demo's configuration is not at {}, where it was when this program was built; \
             build it again in its checkout, or name a file with --config",
            config.display()
        )));
    }
    secret::ensure(&folder().join(".secret"))?;
    secret::ensure(&admin_token_path())?;
    Ok(config)
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

mod admin;
mod ledger;
mod right;
mod secrets;
mod stored;
mod variables;
mod wrong;

use std::path::PathBuf;

use super::{Config, ConfigErrors, Source};

const IDENTITY: &str = "\n[identity]\nfrom = \"application\"\n";
const QUOTAS: &str = "\n[quotas.messages]\n[quotas.tokens]\n";
const PLANS: &str = "\n[plans.free]\ndefault = true\n";
const SECRET: &str = "a-secret-of-thirty-two-bytes-and-more";

fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::load(&Source {
        text: text.to_owned(),
        name: "quota.toml".to_owned(),
        folder: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    })
}

/// Adds what every file needs, where the text does not have it.
fn completed(text: &str) -> String {
    let mut completed = text.to_owned();
    for (section, default) in [("identity", IDENTITY), ("quotas", QUOTAS), ("plans", PLANS)] {
        if !text.contains(&format!("[{section}")) && !text.starts_with(&format!("{section} =")) {
            completed.push_str(default);
        }
    }
    completed
}

fn load(text: &str) -> Result<Config, ConfigErrors> {
    load_with(&completed(text), &[("QUOTA_JWT_SECRET", SECRET)])
}

#[track_caller]
fn loaded(text: &str) -> Config {
    load(text).unwrap_or_else(|errors| panic!("{errors}"))
}

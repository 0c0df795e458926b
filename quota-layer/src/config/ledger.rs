//! `[ledger]`.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::{
    duration::duration,
    findings::{Findings, Problem},
    node::{Place, Table},
    reader::{Item, Keys},
    secret::url,
    settings::{
        DenialRecords, LedgerConfig, LedgerDurability, LedgerFile, LedgerUrl, OnBacklogFull,
        PostgresUrl, Record,
    },
    source::Source,
};

const URL_HINT: &str = "write \"sqlite:quota.db\", \"postgres://host/database\" or \"none\"";
const SHORTEST_RETENTION: Duration = Duration::from_hours(24);
const RETENTION: Duration = Duration::from_hours(400 * 24);

/// Reads the section, or its defaults.
pub(super) fn read(root: &mut Keys<'_>, source: &Source, findings: &mut Findings) -> LedgerConfig {
    let nothing = Table::default();
    let mut keys = root
        .take("ledger")
        .and_then(|item| item.table(findings))
        .unwrap_or_else(|| Keys::new("ledger".to_owned(), &Place::Whole, &nothing));
    let url = match keys.take("url") {
        Some(item) => ledger_url(&item, source, findings).unwrap_or(LedgerUrl::None),
        None => default_url(source, findings),
    };
    let config = LedgerConfig {
        durability: durability(&mut keys, &url, findings).unwrap_or_default(),
        url,
        record: record(&mut keys, findings).unwrap_or_default(),
        denials: denials(&mut keys, findings).unwrap_or_default(),
        retention: retention(&mut keys, findings).unwrap_or(RETENTION),
        backlog: keys
            .take("backlog")
            .and_then(|item| item.whole(1..=1_000_000_000, findings))
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(1_000_000),
        on_backlog_full: on_backlog_full(&mut keys, findings).unwrap_or_default(),
        client_ip: boolean(&mut keys, "client_ip", findings),
        user_agent: boolean(&mut keys, "user_agent", findings),
    };
    keys.finish(findings);
    config
}

/// `record`, of the ledger or of a quota.
pub(super) fn record(keys: &mut Keys<'_>, findings: &mut Findings) -> Option<Record> {
    let item = keys.take("record")?;
    let words = [("each", Record::Each), ("minute", Record::Minute)];
    item.choice(&words, findings)
}

/// A file beside the configuration, where this build can write one.
fn default_url(source: &Source, findings: &mut Findings) -> LedgerUrl {
    if cfg!(feature = "sqlite") {
        return LedgerUrl::Sqlite(LedgerFile {
            written: "quota.db".to_owned(),
            folder: source.folder.clone(),
        });
    }
    findings.warning(
        &Place::Whole,
        "there is no ledger, so nothing is recorded and lost counters are not rebuilt: build with \
         the feature `sqlite` of quota-layer, or write ledger.url = \"none\"",
    );
    LedgerUrl::None
}

fn ledger_url(item: &Item<'_>, source: &Source, findings: &mut Findings) -> Option<LedgerUrl> {
    let url = url(item, "sqlite:quota.db", source, findings)?;
    let result = url
        .without_password("give all of the URL as \"env:NAME\"")
        .and_then(|url| parse_url(url.expose_secret(), source));
    findings.keep(
        item.place(),
        result.map_err(|problem| problem.at(&item.path)),
    )
}

fn parse_url(url: &str, source: &Source) -> Result<LedgerUrl, Problem> {
    if url == "none" {
        return Ok(LedgerUrl::None);
    }
    if let Some(path) = url.strip_prefix("sqlite:") {
        return sqlite_file(path, source).map(LedgerUrl::Sqlite);
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        check_postgres(url)?;
        return Ok(LedgerUrl::Postgres(PostgresUrl(url.into())));
    }
    Err(Problem::new("this is not the URL of a ledger", URL_HINT))
}

fn sqlite_file(path: &str, source: &Source) -> Result<LedgerFile, Problem> {
    let refuse = |message: &str, hint: &str| Err(Problem::new(message, hint));
    if path.trim().is_empty() {
        return refuse("the URL has no path", "write it like \"sqlite:quota.db\"");
    }
    if path.starts_with("//") {
        return refuse(
            "the path of the file follows `sqlite:` at once",
            "write \"sqlite:quota.db\", or \"sqlite:/var/lib/quota.db\"",
        );
    }
    if path == ":memory:" {
        return refuse(
            "a ledger that is gone with the process is none",
            "name a file, such as \"sqlite:quota.db\", or write \"none\"",
        );
    }
    Ok(LedgerFile {
        written: path.to_owned(),
        folder: source.folder.clone(),
    })
}

#[cfg(feature = "postgres")]
fn check_postgres(url: &str) -> Result<(), Problem> {
    use quota_store::ledger::{LedgerStartError, PostgresOptions};

    match PostgresOptions::new(url) {
        Ok(_) => Ok(()),
        Err(LedgerStartError::Address { reason }) => Err(Problem::new(
            format!("the URL can't be read: {reason}"),
            "write it like \"postgres://host/database?sslmode=verify-full\"",
        )),
        Err(error) => Err(Problem::new(error.to_string(), URL_HINT)),
    }
}

#[cfg(not(feature = "postgres"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "only its client can tell what is wrong with it"
)]
fn check_postgres(_: &str) -> Result<(), Problem> {
    Ok(())
}

fn durability(
    keys: &mut Keys<'_>,
    url: &LedgerUrl,
    findings: &mut Findings,
) -> Option<LedgerDurability> {
    let item = keys.take("durability")?;
    let words = [
        ("process", LedgerDurability::Process),
        ("power", LedgerDurability::Power),
    ];
    let durability = item.choice(&words, findings)?;
    if let LedgerUrl::Postgres(_) = url {
        findings.warning(
            item.key_place,
            format!("`{}` is not used: Postgres decides that itself", item.path),
        );
    }
    Some(durability)
}

fn denials(keys: &mut Keys<'_>, findings: &mut Findings) -> Option<DenialRecords> {
    let words = [
        ("sampled", DenialRecords::Sampled),
        ("each", DenialRecords::Each),
        ("off", DenialRecords::Off),
    ];
    keys.take("denials")?.choice(&words, findings)
}

fn retention(keys: &mut Keys<'_>, findings: &mut Findings) -> Option<Duration> {
    let item = keys.take("retention")?;
    let retention = duration(&item, "400d", findings)?;
    if retention < SHORTEST_RETENTION {
        findings.error(
            item.place(),
            format!("`{}` is shorter than 1d", item.path),
            "write at least \"1d\": what is younger may still be sent again",
        );
        return None;
    }
    Some(retention)
}

fn on_backlog_full(keys: &mut Keys<'_>, findings: &mut Findings) -> Option<OnBacklogFull> {
    let words = [("deny", OnBacklogFull::Deny), ("drop", OnBacklogFull::Drop)];
    keys.take("on_backlog_full")?.choice(&words, findings)
}

fn boolean(keys: &mut Keys<'_>, key: &'static str, findings: &mut Findings) -> bool {
    keys.take(key)
        .and_then(|item| item.boolean(findings))
        .unwrap_or(false)
}

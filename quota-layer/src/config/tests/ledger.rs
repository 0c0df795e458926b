//! `[ledger]`, and what it means.

use std::{path::Path, time::Duration};

use super::{
    super::{
        DenialRecords, LedgerConfig, LedgerDurability, LedgerUrl, OnBacklogFull, settings::Record,
    },
    loaded,
};

#[test]
fn the_ledger_has_the_documented_defaults() {
    let expected = LedgerConfig {
        url: ledger_file("quota.db"),
        durability: LedgerDurability::Process,
        record: Record::Each,
        denials: DenialRecords::Sampled,
        retention: Duration::from_hours(400 * 24),
        backlog: 1_000_000,
        on_backlog_full: OnBacklogFull::Deny,
        client_ip: false,
        user_agent: false,
    };
    assert_eq!(
        loaded("[ledger]\nurl = \"sqlite:quota.db\"\n").ledger,
        expected
    );
    if cfg!(feature = "sqlite") {
        assert_eq!(loaded("").ledger, expected);
    } else {
        assert_eq!(loaded("").ledger.url, LedgerUrl::None);
        assert!(loaded("").warnings[0].contains("there is no ledger"));
    }
}

#[test]
fn a_ledger_may_be_another_one() {
    let ledger = loaded(
        "[ledger]\nurl = \"sqlite:/var/lib/q.db\"\ndurability = \"power\"\ndenials = \"off\"\n\
         retention = \"30d\"\nbacklog = 7\non_backlog_full = \"drop\"\nclient_ip = true\n\
         user_agent = true\n",
    )
    .ledger;
    let LedgerUrl::Sqlite(file) = &ledger.url else {
        panic!("a file");
    };
    assert_eq!(file.path(), Path::new("/var/lib/q.db"));
    assert_eq!(ledger.durability, LedgerDurability::Power);
    assert_eq!(ledger.denials, DenialRecords::Off);
    assert_eq!(ledger.retention, Duration::from_hours(30 * 24));
    assert_eq!(
        (ledger.backlog, ledger.on_backlog_full),
        (7, OnBacklogFull::Drop)
    );
    assert!(ledger.client_ip && ledger.user_agent);
    let none = loaded("[ledger]\nurl = \"none\"\n");
    assert_eq!(none.ledger.url, LedgerUrl::None);
    for url in ["postgres://db/quota", "postgresql://quota@db:5433/quota"] {
        let config = loaded(&format!("[ledger]\nurl = \"{url}\"\n"));
        assert!(matches!(config.ledger.url, LedgerUrl::Postgres(_)), "{url}");
    }
}

#[test]
fn a_file_of_the_ledger_lies_in_the_folder_of_the_configuration() {
    let LedgerUrl::Sqlite(file) = ledger_file("data/q.db") else {
        panic!("a file");
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(file.path(), folder.join("data/q.db"));
}

fn ledger_file(path: &str) -> LedgerUrl {
    loaded(&format!("[ledger]\nurl = \"sqlite:{path}\"\n"))
        .ledger
        .url
}

#[test]
fn what_is_not_followed_is_a_warning() {
    let config = loaded(
        "[ledger]\nurl = \"postgres://db/quota\"\ndurability = \"power\"\nrecord = \"minute\"\n",
    );
    assert_eq!(
        config.warnings,
        ["quota.toml:3:1: `ledger.durability` is not used: Postgres decides that itself"]
    );
}

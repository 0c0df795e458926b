//! What only a file can get wrong.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use rusqlite::{Connection, params_from_iter};
use tempfile::TempDir;

use super::{Claim, SqliteLedger, SqliteOptions, open};
use crate::{
    PlanName, QuotaName, Requester, Scope, Subject, TenantId, UnixMillis, UserId, Window,
    directory::AssignedQuery,
    ledger::{
        Batch, Bucket, By, HoldersOrder, HoldersQuery, Ledger as _, LedgerErrorKind,
        LedgerStartError, LogQuery, Outcome, Span, StatisticsQuery, StreamMark, StreamPosition,
        sql::{Append, Statement, directory, log, migrations::Migration, people},
    },
};

mod unreadable;

fn options(folder: &TempDir) -> SqliteOptions {
    SqliteOptions::new(folder.path().join("quota.db"))
}

async fn open(folder: &TempDir) -> SqliteLedger {
    SqliteLedger::open(options(folder)).await.unwrap()
}

/// A small batch, which can be seen by its mark.
fn batch(position: u64) -> Arc<Batch> {
    Arc::new(Batch {
        mark: Some(StreamMark {
            stream: "s".to_owned(),
            position: StreamPosition {
                millis: position,
                sequence: 0,
            },
        }),
        ..Batch::default()
    })
}

fn append(batch: Arc<Batch>) -> Arc<Append> {
    Arc::new(Append::new(batch).unwrap())
}

#[tokio::test]
async fn only_one_may_claim_the_file_until_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let exclusive = SqliteOptions {
        claim: Claim::Exclusive,
        ..options(&folder)
    };
    let first = SqliteLedger::open(exclusive.clone()).await.unwrap();
    let refused = SqliteLedger::open(exclusive.clone()).await.unwrap_err();
    assert!(matches!(refused, LedgerStartError::Claimed { .. }));
    assert!(
        refused
            .to_string()
            .contains("another process uses the ledger")
    );
    first.close().await;
    let after = first.append(batch(1)).await.unwrap_err();
    assert_eq!(after.kind(), LedgerErrorKind::Unreachable);
    let after = first.health().await.unwrap_err();
    assert_eq!(after.kind(), LedgerErrorKind::Unreachable);
    SqliteLedger::open(exclusive).await.unwrap();
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut exclusive = options(&folder);
    exclusive.claim = Claim::Exclusive;
    let ledger = SqliteLedger::open(exclusive).await.unwrap();
    ledger.append(batch(1)).await.unwrap();
    for name in ["quota.db", "quota.db-wal", "quota.db-shm", "quota.db.lock"] {
        let metadata = std::fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

async fn refusal(path: &Path) -> String {
    let refused = SqliteLedger::open(SqliteOptions::new(path)).await;
    refused.unwrap_err().to_string()
}

#[tokio::test]
async fn a_file_that_can_not_be_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "this is not a database, but long enough ".repeat(50)).unwrap();
    let told = refusal(&text).await;
    assert!(told.contains("it is damaged, or no ledger"), "{told}");
    let told = refusal(&folder.path().join("missing/quota.db")).await;
    assert!(told.contains("its folder must be there"), "{told}");
    let told = refusal(folder.path()).await;
    assert!(told.contains("can't be opened"), "{told}");
}

#[tokio::test]
async fn a_damaged_page_is_an_error_and_not_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder).await;
    ledger.append(batch(1)).await.unwrap();
    ledger.close().await;
    drop(ledger);
    let path = folder.path().join("quota.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // All but the first page, which says what tables there are.
    bytes[4_096..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let told = match SqliteLedger::open(options(&folder)).await {
        Err(refused) => refused.to_string(),
        Ok(ledger) => ledger.mark("s").await.unwrap_err().to_string(),
    };
    assert!(!told.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_open_a_new_file_at_once() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let opening = (0..8).map(|_| tokio::spawn(SqliteLedger::open(options(&folder))));
        for opened in futures_util::future::join_all(opening).await {
            opened.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_read_that_lasts_blocks_no_write() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder).await;
    ledger.append(batch(1)).await.unwrap();
    let reader = Connection::open(folder.path().join("quota.db")).unwrap();
    let millis = || {
        let sql = "SELECT millis FROM streams";
        reader
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(millis(), 1);
    ledger.append(batch(2)).await.unwrap();
    assert_eq!(millis(), 1);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(millis(), 2);
}

#[tokio::test]
async fn a_full_disk_fails_the_batch_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder).await;
    ledger.close().await;
    let mut connection = Connection::open(folder.path().join("quota.db")).unwrap();
    // As a full disk does, but for this connection only.
    connection
        .execute_batch("PRAGMA max_page_count = 1")
        .unwrap();
    let big = Batch {
        mark: Some(StreamMark {
            stream: "long ".repeat(10_000),
            position: StreamPosition::default(),
        }),
        ..Batch::default()
    };
    let error = super::run(&append(Arc::new(big)), &mut connection).unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Full);
    super::run(&append(batch(1)), &mut connection).unwrap();
}

#[test]
fn an_edited_and_a_newer_ledger_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quota.db");
    let mut connection = Connection::open(&path).unwrap();
    let step = |version, sql| Migration {
        version,
        name: "step",
        sql,
    };
    let two = [step(1, "CREATE TABLE a (x)"), step(2, "CREATE TABLE b (x)")];
    open::migrate(&mut connection, &path, &two).unwrap();
    open::migrate(&mut connection, &path, &two).unwrap();
    let newer = open::migrate(&mut connection, &path, &two[..1]);
    assert!(matches!(
        newer,
        Err(LedgerStartError::Newer { found: 2, known: 1 })
    ));
    let edited = [step(1, "CREATE TABLE a (y)"), step(2, "CREATE TABLE b (x)")];
    let edited = open::migrate(&mut connection, &path, &edited);
    assert!(matches!(
        edited,
        Err(LedgerStartError::Edited { version: 1, .. })
    ));
    // A step that fails leaves nothing behind.
    let three = [
        step(1, "CREATE TABLE a (x)"),
        step(2, "CREATE TABLE b (x)"),
        step(3, "CREATE TABLE c (x); nonsense"),
    ];
    open::migrate(&mut connection, &path, &three).unwrap_err();
    open::migrate(&mut connection, &path, &two).unwrap();
}

/// How SQLite goes about a statement, in its words.
fn plan(connection: &Connection, statement: &Statement<'_>) -> String {
    let sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
    let mut prepared = connection.prepare(&sql).unwrap();
    let lines = prepared.query_map(params_from_iter(&statement.binds), |row| row.get(3));
    let lines: Vec<String> = lines.unwrap().map(Result::unwrap).collect();
    lines.join("\n")
}

#[test]
fn pages_are_read_from_an_index_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open::open(&options(&folder)).unwrap();
    let check = |change: &dyn Fn(&mut LogQuery), expected: &str| {
        let mut query = LogQuery::of(TenantId::new("acme").ok(), 50);
        change(&mut query);
        let plan = plan(&opened.writer, &log::page(&query, 0).unwrap());
        assert!(plan.contains(expected), "{plan}");
        let is_bad = plan.contains("SCAN") || plan.contains("TEMP B-TREE");
        assert!(!is_bad, "{plan}");
    };
    let ama = || UserId::new("ama").ok();
    check(&|_| {}, "attempts_by_tenant");
    check(&|query| query.user = ama(), "attempts_by_user");
    check(
        &|query| query.outcome = Some(Outcome::Denied),
        "attempts_by_outcome",
    );
    check(
        &|query| query.rule = Some("x".to_owned()),
        "attempts_by_rule",
    );
    let labels = "SEARCH k USING PRIMARY KEY (tenant=? AND label=? AND value=?";
    check(
        &|query| query.quota = QuotaName::new("messages").ok(),
        labels,
    );
    let all = |query: &mut LogQuery| {
        query.tags.insert("goal".to_owned(), "grow".to_owned());
        query.tags.insert("model".to_owned(), "large".to_owned());
        query.quota = QuotaName::new("messages").ok();
        query.outcome = Some(Outcome::Denied);
        query.rule = Some("x".to_owned());
    };
    check(&all, labels);
    let of_user = |query: &mut LogQuery| {
        all(query);
        query.user = ama();
    };
    check(&of_user, "attempts_by_user");
}

#[test]
fn figures_are_read_from_the_sums() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open::open(&options(&folder)).unwrap();
    let by_goal = || Some(By::Tag("goal".to_owned()));
    for (bucket, by, expected) in [
        (
            Bucket::Hour,
            None,
            "SEARCH usage_hours USING PRIMARY KEY (tenant=? AND quota=? AND hour>?",
        ),
        (
            Bucket::Hour,
            by_goal(),
            "SEARCH usage_tags USING PRIMARY KEY (tenant=? AND quota=? AND tag=? AND hour>?",
        ),
        (
            Bucket::Day,
            None,
            "SEARCH usage_days USING PRIMARY KEY (tenant=? AND quota=? AND day>?",
        ),
        (
            Bucket::Month,
            by_goal(),
            "SEARCH usage_tag_days USING PRIMARY KEY (tenant=? AND quota=? AND tag=? AND day>?",
        ),
    ] {
        let query = StatisticsQuery {
            tenant: None,
            quota: QuotaName::new("messages").unwrap(),
            span: Span {
                from: UnixMillis::new(0),
                to: UnixMillis::new(1),
            },
            bucket,
            by,
        };
        let plan = plan(&opened.writer, &query.parts(0, 1));
        assert!(plan.contains(expected), "{plan}");
    }
}

fn ama() -> Requester {
    Requester {
        tenant: TenantId::new("acme").ok(),
        user: UserId::new("ama").unwrap(),
    }
}

#[test]
fn who_uses_how_much_is_read_from_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open::open(&options(&folder)).unwrap();
    let by_name = "USING PRIMARY KEY (tenant=? AND user_id>?)";
    let of_all = "USING INDEX counters_by_tenant (tenant=? AND span_end>?)";
    let of_one = "counters_by_quota (tenant=? AND quota=? AND window_kind=? AND span_end>?)";
    let quota = || QuotaName::new("messages").ok();
    for (order, quota, window, expected) in [
        (HoldersOrder::Name, None, None, by_name),
        (HoldersOrder::Name, quota(), Some(Window::Day), by_name),
        (HoldersOrder::MostUsed, None, None, of_all),
        (HoldersOrder::MostUsed, quota(), None, of_all),
        (HoldersOrder::MostUsed, None, Some(Window::Day), of_all),
        (HoldersOrder::MostUsed, quota(), Some(Window::Day), of_one),
    ] {
        let query = HoldersQuery {
            tenant: ama().tenant,
            quota,
            window,
            now: UnixMillis::new(1),
            order,
            after: None,
            limit: 50,
        };
        let plan = plan(&opened.writer, &people::holders(&query).unwrap());
        assert!(plan.contains(expected), "{plan}");
        assert!(!plan.contains("SCAN"), "{plan}");
        let is_sorted = plan.contains("TEMP B-TREE");
        assert_eq!(is_sorted, order == HoldersOrder::MostUsed, "{plan}");
    }
}

#[test]
fn people_are_found_by_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open::open(&options(&folder)).unwrap();
    let check = |statement: &Statement<'_>, expected: &str| {
        let plan = plan(&opened.writer, statement);
        assert!(plan.contains(expected), "{plan}");
        for table in [
            "attempts",
            "counters",
            "directory_entries",
            "assigned_plans",
        ] {
            assert!(!plan.contains(&format!("SCAN {table}")), "{plan}");
        }
    };
    let user = ama().subject(Scope::User).unwrap();
    check(&people::last_seen(&user), "attempts_by_user");
    let tenant = Subject::Tenant(TenantId::new("acme").unwrap());
    check(&people::last_seen(&tenant), "attempts_by_tenant");
    let seen = people::Seen {
        tenant: ama().tenant,
        after: None,
        limit: 50,
    };
    check(
        &seen.users(),
        "SEARCH counters USING PRIMARY KEY (tenant=? AND user_id>?)",
    );
    check(&seen.users(), "attempts_by_user (tenant=? AND user_id>?)");
    check(
        &directory::entries(&ama()),
        "SEARCH directory_entries USING PRIMARY KEY (tenant=? AND user_id=?)",
    );
    let query = AssignedQuery {
        plan: PlanName::new("pro").unwrap(),
        tenant: ama().tenant,
        now: UnixMillis::new(1),
        after: ama().subject(Scope::User),
        limit: 50,
    };
    let expected = "SEARCH assigned_plans USING PRIMARY KEY (plan=? AND tenant=? AND user_id>?)";
    check(&directory::assigned(&query).unwrap(), expected);
}

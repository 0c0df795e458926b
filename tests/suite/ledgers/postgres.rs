//! What only a server can get wrong.

use std::{sync::Arc, time::Duration};

use quota_store::{
    PlanName, QuotaName, Requester, ReservationId, Subject, TenantId, UnixMillis, UserId, Window,
    directory::{AssignedQuery, Directory as _},
    ledger::{
        Attempt, Batch, Charged, HoldersOrder, HoldersQuery, Ledger, LedgerErrorKind, LogQuery,
        Outcome, PostgresLedger, PostgresOptions,
    },
};
use quota_tests::{PostgresServer, eventually, shared_postgres};

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

async fn new_database() -> String {
    blocking(|| shared_postgres().create_database()).await
}

async fn connect(url: &str) -> Result<PostgresLedger, String> {
    let options = PostgresOptions::new(url).map_err(|error| error.to_string())?;
    let connected = PostgresLedger::connect(options).await;
    connected.map_err(|error| error.to_string())
}

#[track_caller]
fn assert_told(refused: Result<PostgresLedger, String>, expected: &str) {
    let told = refused.expect_err("it is refused");
    assert!(told.contains(expected), "{told}");
    assert!(!told.contains("a-secret-of-tests"), "{told}");
}

fn records(numbers: std::ops::Range<u64>) -> Arc<Batch> {
    let attempts = numbers.map(|number| {
        let at = UnixMillis::new(1_798_761_600_000 + number);
        let random = [number.to_be_bytes().as_slice(), &[0; 2]].concat();
        let id = uuid_of(at, &random);
        Attempt {
            id,
            outcome: Outcome::Committed,
            at,
            tenant: TenantId::new("acme").ok(),
            user: UserId::new(&format!("user {}", number % 100)).ok(),
            plan: None,
            rule: Some(format!("GET /{}", number % 10)),
            charges: vec![Charged {
                quota: QuotaName::new("messages").expect("a name"),
                reserved: quota_store::Amount::ONE,
                charged: 1,
            }],
            status: Some(200),
            cause: None,
            latency: None,
            tags: [("goal".to_owned(), format!("goal {}", number % 20))].into(),
            metadata: serde_json::Map::new(),
            request_id: None,
            client_ip: None,
            user_agent: None,
            revision: "r".to_owned(),
            denial: None,
            count: std::num::NonZeroU32::MIN,
        }
    });
    Arc::new(Batch {
        attempts: attempts.collect(),
        ..Batch::default()
    })
}

fn uuid_of(at: UnixMillis, random: &[u8]) -> ReservationId {
    let random = random.try_into().expect("ten bytes");
    uuid::Builder::from_unix_timestamp_millis(at.get(), random)
        .into_uuid()
        .into()
}

#[tokio::test]
async fn a_server_that_can_not_be_used_is_told() {
    let server = shared_postgres();
    let database = new_database().await;
    let url = server.url(&database);
    let wrong = url.replace("a-secret-of-tests", "wrong");
    assert_told(connect(&wrong).await, "refuses the user or the password");
    let missing = connect(&server.url("no_such")).await;
    assert_told(missing, "the database no_such is not there: create it");
    let nobody = server.url_at(1, &database);
    assert_told(connect(&nobody).await, "look whether it runs");
    let latin = "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0";
    blocking(|| shared_postgres().run("postgres", latin)).await;
    assert_told(connect(&server.url("latin")).await, "ENCODING 'UTF8'");
}

#[tokio::test]
async fn tls_is_spoken_and_certificates_are_verified() {
    let server = shared_postgres();
    let url = server.url(&new_database().await);
    let authority = server.ca_file();
    let trusted = format!(
        "{url}?sslmode=verify-full&sslrootcert={}",
        authority.display()
    );
    connect(&trusted).await.expect("it is trusted");
    let strange = connect(&format!("{url}?sslmode=require")).await;
    assert_told(strange, "whether it speaks TLS as `sslmode` says");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_migrate_a_new_database_at_once() {
    let url = shared_postgres().url(&new_database().await);
    let connecting: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { connect(&url).await })
        })
        .collect();
    for connected in connecting {
        connected.await.expect("no panic").expect("it connects");
    }
}

#[tokio::test]
async fn edited_and_newer_tables_are_refused() {
    let database = new_database().await;
    let url = shared_postgres().url(&database);
    connect(&url).await.expect("it connects");
    let run = async |sql: &'static str| {
        let database = database.clone();
        blocking(move || shared_postgres().run(&database, sql)).await;
    };
    run("INSERT INTO quota_migrations VALUES (99, 'future', '')").await;
    assert_told(connect(&url).await, "is at migration 99");
    run("DELETE FROM quota_migrations WHERE version = 99").await;
    connect(&url).await.expect("it connects");
    run("UPDATE quota_migrations SET checksum = 'x' WHERE version = 1").await;
    assert_told(connect(&url).await, "migration 1 (ledger) was edited");
}

#[tokio::test]
async fn a_killed_server_fails_at_once_and_a_batch_sent_again_counts_once() {
    let server = Arc::new(blocking(PostgresServer::start).await);
    let ledger = connect(&server.url("postgres")).await.expect("it connects");
    ledger.append(records(0..10)).await.expect("it is appended");
    let restarting = Arc::clone(&server);
    server.kill();
    let refused = ledger
        .append(records(10..20))
        .await
        .expect_err("it is down");
    assert!(
        matches!(
            refused.kind(),
            LedgerErrorKind::Unreachable | LedgerErrorKind::Unknown
        ),
        "{refused:?}"
    );
    assert!(refused.is_worth_repeating());
    blocking(move || restarting.restart()).await;
    eventually(
        || async { ledger.append(records(0..20)).await.is_ok() },
        "the ledger is reached again",
    )
    .await;
    let log = ledger
        .log(&LogQuery::of(TenantId::new("acme").ok(), 100))
        .await;
    assert_eq!(log.expect("the log").rows.len(), 20);
}

#[tokio::test]
async fn a_server_that_hangs_keeps_nobody_for_ever() {
    let database = new_database().await;
    let mut options = PostgresOptions::new(&shared_postgres().url(&database)).expect("an address");
    options.timeout = Duration::from_millis(300);
    let ledger = PostgresLedger::connect(options).await.expect("it connects");
    let hanging = blocking(move || {
        let sql = "LOCK TABLE attempts IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(2)";
        shared_postgres().run(&database, sql)
    });
    let hanging = tokio::spawn(hanging);
    eventually(
        || async {
            let refused = ledger.append(records(0..1)).await;
            refused.is_err_and(|error| error.kind() == LedgerErrorKind::Unknown)
        },
        "an append is given up",
    )
    .await;
    hanging.await.expect("it ends");
    eventually(
        || async { ledger.append(records(0..1)).await.is_ok() },
        "the ledger answers again",
    )
    .await;
    let query = LogQuery::of(TenantId::new("acme").ok(), 100);
    let log = ledger.log(&query);
    assert_eq!(log.await.expect("the log").rows.len(), 1);
}

#[tokio::test]
async fn pages_and_figures_are_read_from_indexes() {
    let database = new_database().await;
    let ledger = connect(&shared_postgres().url(&database)).await;
    let ledger = ledger.expect("it connects");
    for first in (0..20_000).step_by(1_000) {
        let batch = records(first..first + 1_000);
        ledger.append(batch).await.expect("it is appended");
    }
    let run = async |sql: &'static str| {
        let database = database.clone();
        blocking(move || shared_postgres().run(&database, sql)).await
    };
    run("ANALYZE; SELECT pg_stat_reset()").await;
    let all = LogQuery::of(TenantId::new("acme").ok(), 50);
    let queries = [
        all.clone(),
        LogQuery {
            user: UserId::new("user 7").ok(),
            ..all.clone()
        },
        LogQuery {
            quota: QuotaName::new("messages").ok(),
            ..all.clone()
        },
        LogQuery {
            tags: [("goal".to_owned(), "goal 3".to_owned())].into(),
            ..all.clone()
        },
        LogQuery {
            rule: Some("GET /3".to_owned()),
            outcome: Some(Outcome::Committed),
            ..all
        },
    ];
    for query in &queries {
        let page = ledger.log(query).await.expect("a page");
        assert_eq!(page.rows.len(), 50);
    }
    // The server counts what a connection did when it ends.
    ledger.close();
    drop(ledger);
    let counts = "SELECT sum(seq_scan), sum(idx_scan) >= 5 FROM pg_stat_user_tables \
                  WHERE relname IN ('attempts', 'attempt_labels')";
    eventually(
        || async { run(counts).await == "0|t" },
        "every page was read from an index, and no table as a whole",
    )
    .await;
}

/// 200 days of 500 users, of which the last is open, and what is known of users.
const PEOPLE: &str = "
    INSERT INTO counters SELECT 'acme', 'user ' || u, 'messages', 'day', d, d + 1, 1, 0, u
    FROM generate_series(1, 200) d, generate_series(1, 500) u ORDER BY d, u;
    INSERT INTO directory_entries SELECT 'acme', 'user ' || u, 1, '[]', '[]'
    FROM generate_series(1, 20000) u;
    INSERT INTO assigned_plans SELECT 'pro', 'acme', 'user ' || u, 9
    FROM generate_series(1, 20000) u;
    ANALYZE";

#[tokio::test]
async fn people_are_read_from_indexes() {
    let database = new_database().await;
    let url = shared_postgres().url(&database);
    let ledger = connect(&url).await.expect("it connects");
    let run = async |sql: &'static str| {
        let database = database.clone();
        blocking(move || shared_postgres().run(&database, sql)).await
    };
    ledger.append(records(0..1_000)).await.expect("appended");
    run(PEOPLE).await;
    // Making an index reads a table: what the connection did until now is counted when it ends.
    ledger.close();
    drop(ledger);
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
    eventually(
        || async { run(connected).await == "1" },
        "the connection has ended",
    )
    .await;
    run("SELECT pg_stat_reset()").await;
    let ledger = connect(&url).await.expect("it connects");
    ask_for_people(&ledger).await;
    // The server counts what a connection did when it ends.
    ledger.close();
    drop(ledger);
    let counts = "SELECT sum(seq_scan), count(*) FILTER (WHERE idx_scan > 0) \
                  FROM pg_stat_user_tables WHERE relname IN \
                  ('attempts', 'counters', 'directory_entries', 'assigned_plans')";
    eventually(
        || async { run(counts).await == "0|4" },
        "everything was read from an index, and no table as a whole",
    )
    .await;
}

async fn ask_for_people(ledger: &PostgresLedger) {
    let acme = || TenantId::new("acme").expect("a name");
    let user = || UserId::new("user 7").expect("a name");
    let requester = Requester {
        tenant: Some(acme()),
        user: user(),
    };
    for order in [HoldersOrder::MostUsed, HoldersOrder::Name] {
        for is_of_one in [true, false] {
            let query = HoldersQuery {
                tenant: Some(acme()),
                quota: is_of_one.then(|| QuotaName::new("messages").expect("a name")),
                window: is_of_one.then_some(Window::Day),
                now: UnixMillis::new(200),
                order,
                after: None,
                limit: 50,
            };
            let page = ledger.holders(&query).await.expect("a page");
            assert_eq!(page.rows.len(), 50);
            let is_most = order == HoldersOrder::MostUsed;
            assert_eq!(page.rows[0].used.get(), if is_most { 500 } else { 1 });
        }
    }
    for subject in [
        Subject::Tenant(acme()),
        Subject::User {
            tenant: Some(acme()),
            user: user(),
        },
    ] {
        let seen = ledger.last_seen(&subject).await.expect("an answer");
        assert!(seen.is_some());
    }
    let seen = ledger.seen(Some(&acme()), None, 50).await;
    assert_eq!(seen.expect("a page").rows.len(), 50);
    let entries = ledger.entries(&requester).await.expect("entries");
    assert_eq!(entries.user.generation.0, 1);
    let query = AssignedQuery {
        plan: PlanName::new("pro").expect("a name"),
        tenant: Some(acme()),
        now: UnixMillis::new(1),
        after: None,
        limit: 50,
    };
    let page = ledger.assigned(&query).await.expect("a page");
    assert_eq!(page.rows.len(), 50);
}

//! The APIs do what their description says, whatever is sent.
//!
//! Schemathesis makes requests from `GET /openapi.json`: right ones, and ones that are wrong
//! in every way that the description rules out. It is installed at the first run, at the versions of
//! `tests/schemathesis.txt`, into the folder that cargo gives tests.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use axum::{Router, routing::get};
use quota_layer::{Config, QuotaLayer};
use quota_tests::{
    clients::{RawRequest, raw_request},
    layers::identity,
    tokens::bearer,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, process::Command, time::timeout};

/// How long all of it may take, the installation aside.
const MOST: Duration = Duration::from_mins(4);

/// How long the installation may take.
const INSTALLATION: Duration = Duration::from_mins(5);

const ADMIN_TOKEN: &str = "an admin token of the tests";

/// What it looks for. Not whether what the description allows is accepted: whether a plan or a user
/// is there, no description says. Nor whether wrong tokens are refused: after some they are
/// throttled, which tests of the crate look at.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
     response_headers_conformance,response_schema_conformance,negative_data_rejection,\
     missing_required_header,unsupported_method,allow_header_conformance";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_leads_to_an_answer_that_is_not_described() {
    let schemathesis = installed().await;
    let folder = tempfile::tempdir().unwrap();
    let layer = layer(&folder).await;
    let server = served(&layer).await;
    let token = bearer("st");
    for _ in 0..3 {
        let request = RawRequest::new("GET", "/hello").header("Authorization", &token);
        assert_eq!(raw_request(server, &request).await.status(), 200);
    }
    let mut command = Command::new(&schemathesis);
    command
        .current_dir(&folder)
        .args(["run", &format!("http://{server}/openapi.json")])
        .args(["-H", &format!("X-Admin-Token: {ADMIN_TOKEN}")])
        .args(["-H", &format!("Authorization: {token}")])
        .args(["--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", "8", "--no-shrink"])
        .arg("--generation-deterministic")
        .args(["--request-timeout", "30", "--warnings", "off", "--no-color"]);
    let output = run(command, MOST).await;
    check("schemathesis", &output);
    layer.shutdown().await;
}

/// A layer whose ledger lies in the folder.
async fn layer(folder: &TempDir) -> QuotaLayer {
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("token"), ADMIN_TOKEN).unwrap();
    let config = format!(
        r#"
        {identity}
        [ledger]
        url = "sqlite:{ledger}"
        [admin]
        tokens = ["file:{token}"]
        [responses]
        upgrade_url = "https://example.com/pricing"
        [quotas.messages]
        [plans.free]
        default = true
        limits.messages = ["5/day", "150/month"]
        tenant_limits.messages = "1K/day"
        [plans.pro]
        extends = "free"
        limits.messages = "unlimited"
        [[routes]]
        match = "GET /hello"
        charge = {{ messages = 1 }}
        "#,
        identity = identity(),
        ledger = path("ledger.sqlite"),
        token = path("token"),
    );
    let config = Config::from_toml(&config).unwrap_or_else(|errors| panic!("{errors}"));
    QuotaLayer::from_config(config).build().await.unwrap()
}

async fn served(layer: &QuotaLayer) -> SocketAddr {
    let app = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .layer(layer.clone())
        .merge(quota_api::router(layer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// The program, installed unless it is there already.
async fn installed() -> PathBuf {
    let wanted = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis.txt");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis");
    let program = folder.join("bin/schemathesis");
    // Written last, so that what was begun and not completed is done again.
    let mark = folder.join("installed.txt");
    let versions = std::fs::read(&wanted).unwrap();
    if std::fs::read(&mark).is_ok_and(|there| there == versions) {
        return program;
    }
    std::fs::remove_dir_all(&folder).ok();
    // Debian has it in python3-venv.
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv"]).arg(&folder);
    check("python3 -m venv", &run(environment, INSTALLATION).await);
    let mut install = Command::new(folder.join("bin/pip"));
    install.args(["install", "--quiet", "--requirement"]);
    install.arg(&wanted);
    check("pip install", &run(install, INSTALLATION).await);
    std::fs::write(mark, versions).unwrap();
    program
}

#[track_caller]
fn check(what: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}{complained}");
}

async fn run(mut command: Command, most: Duration) -> Output {
    command.kill_on_drop(true);
    let ended = timeout(most, command.output()).await;
    ended
        .unwrap_or_else(|_| panic!("{command:?} did not end in {most:?}"))
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

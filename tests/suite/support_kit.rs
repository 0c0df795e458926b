//! The servers, faults and clients of the suites do what they say.

mod faults;

use std::{io::Read, net::SocketAddr, process::Command, time::Duration};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use quota_tests::{
    RedisServer,
    clients::{RawClient, RawRequest, raw_request, read_whole, render},
    doubles::{Answers, NeedsReady, ScriptedBody},
    eventually, eventually_eq,
    logs::{Logs, Metrics},
    processes::{Process, Signal},
    shared_redis,
    tokens::{Claims, TEST_SECRET, token},
    unique_prefix,
};
use redis::aio::MultiplexedConnection;
use tower::{Service as _, ServiceExt as _};

async fn connection(url: String) -> MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    // No time-out of its own: the faults last as long as the test says.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap()
}

async fn echo_server() -> SocketAddr {
    let app = Router::new().fallback(get(async |uri: http::Uri, headers: HeaderMap| {
        let tokens = headers.get_all("authorization").iter().count();
        format!("{uri} with {tokens} tokens")
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

#[test]
fn a_restarted_server_is_empty_at_the_same_address() {
    let server = RedisServer::start();
    let url = server.url();
    assert_eq!(server.cli(&["SET", "a", "1"]), "OK");
    assert_eq!(server.keys(), ["a"]);
    server.restart();
    assert!(server.keys().is_empty());
    assert_eq!(server.url(), url);
    assert!(server.used_memory() > 0);
}

#[test]
fn a_persistent_server_keeps_its_data_over_a_kill() {
    let server = RedisServer::builder().persistent().start();
    assert_eq!(server.cli(&["SET", "a", "1"]), "OK");
    server.restart_keeping_data();
    assert_eq!(server.cli(&["GET", "a"]), "1");
    server.restart();
    assert_eq!(server.cli(&["GET", "a"]), "");
}

#[test]
fn a_dead_server_refuses_and_a_stopped_one_is_silent() {
    let server = RedisServer::start();
    server.stop();
    // The kernel accepts for it; nobody answers.
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    std::io::Write::write_all(&mut stream, b"PING\r\n").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut reply = [0; 7];
    assert!(stream.read(&mut reply).is_err());
    server.cont();
    stream.set_read_timeout(None).unwrap();
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+PONG\r\n");
    server.kill();
    assert!(server.try_cli(&["PING"]).is_err());
}

#[tokio::test]
async fn a_server_asks_for_its_password_or_user() {
    let with_password = RedisServer::builder().password("secret").start();
    let with_user = RedisServer::builder()
        .acl_user("app", "secret", "~* &* +@all")
        .start();
    for server in [with_password, with_user] {
        let mut allowed = connection(server.url()).await;
        let pong: String = redis::cmd("PING").query_async(&mut allowed).await.unwrap();
        assert_eq!(pong, "PONG");
        let stranger = redis::Client::open(format!("redis://{}", server.address())).unwrap();
        let mut stranger = stranger.get_connection().unwrap();
        let refused = redis::cmd("GET").arg("a").query::<()>(&mut stranger);
        assert_eq!(refused.unwrap_err().code(), Some("NOAUTH"));
    }
}

#[test]
fn a_tls_server_is_known_by_its_authority() {
    let server = RedisServer::builder().tls().start();
    assert!(server.url().starts_with("rediss://"));
    let authority = std::fs::read_to_string(server.ca_file().unwrap()).unwrap();
    assert!(authority.contains("BEGIN CERTIFICATE"));
    assert_eq!(server.cli(&["PING"]), "PONG");
}

#[test]
fn a_replica_refuses_writes_and_a_full_server_too() {
    let primary = RedisServer::start();
    let replica = RedisServer::builder().replica_of(&primary).start();
    let error = replica.try_cli(&["SET", "a", "1"]).unwrap_err();
    assert!(error.to_lowercase().contains("readonly"), "{error}");

    let full = RedisServer::builder().max_memory("1", "noeviction").start();
    let error = full.try_cli(&["SET", "a", "1"]).unwrap_err();
    assert!(
        error.contains("OOM") || error.contains("maxmemory"),
        "{error}"
    );
}

#[test]
fn tests_on_the_shared_server_keep_to_their_prefix() {
    let server = shared_redis();
    let (mine, other) = (unique_prefix(), unique_prefix());
    assert_ne!(mine, other);
    assert_eq!(server.cli(&["SET", &format!("{mine}a"), "1"]), "OK");
    assert_eq!(server.keys_like(&format!("{mine}*")), [format!("{mine}a")]);
    assert!(server.keys_like(&format!("{other}*")).is_empty());
}

#[tokio::test]
async fn a_raw_client_sends_what_others_would_mend() {
    let server = echo_server().await;
    let request = RawRequest::new("GET", "/a//%2e%2e/x")
        .header("authorization", "Bearer a")
        .header("authorization", "Bearer b");
    let response = raw_request(server, &request).await;
    assert_eq!(
        render(&response, |name| name.starts_with("content")),
        "200\ncontent-length: 26\ncontent-type: text/plain; charset=utf-8\n\n\
         /a//%2e%2e/x with 2 tokens"
    );

    let mut client = RawClient::connect(server).await;
    client.send(&RawRequest::new("GET", "/half")).await;
    client.half_close().await;
    assert_eq!(client.response().await.body(), "/half with 0 tokens");

    let mut client = RawClient::connect(server).await;
    let head = RawRequest::new("HEAD", "/");
    client.send(&head).await;
    assert!(client.head_response().await.body().is_empty());
    client.send_bytes(b"GET / HTT").await;
    client.reset();
}

#[tokio::test]
async fn doubles_follow_their_script() {
    let answers = Answers::new(StatusCode::CREATED, "hello").with_header("x-a", "1");
    let service = NeedsReady::new(answers.clone());
    let response = service.clone().oneshot(()).await.unwrap();
    let response = read_whole(response).await;
    assert_eq!(render(&response, |_| true), "201\nx-a: 1\n\nhello");
    assert_eq!(answers.calls(), 1);
    let unpolled = tokio::spawn(async move { service.clone().call(()).await });
    assert!(unpolled.await.unwrap_err().is_panic());

    let body = ScriptedBody::new().data("a").trailer("grpc-status", "0");
    let counts = body.counts();
    let collected = body.collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), Bytes::from("a"));
    assert_eq!((counts.polls(), counts.drops()), (3, 1));
    let broken = ScriptedBody::new().data("a").error("cut");
    assert_eq!(broken.collect().await.unwrap_err().to_string(), "cut");
}

#[test]
fn a_token_says_what_was_claimed() {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
    let claims = Claims::user("alice").with_org("acme").with_plan("pro");
    let token = token(TEST_SECRET, &claims.with_role("quota_admin"));
    let key = DecodingKey::from_secret(TEST_SECRET.as_bytes());
    let validation = Validation::new(Algorithm::HS256);
    let claims = decode::<serde_json::Value>(&token, &key, &validation).unwrap();
    assert_eq!(
        claims.claims,
        serde_json::json!({
            "sub": "alice", "org": "acme", "plan": "pro", "role": "quota_admin",
            "exp": 4_102_444_800_u64,
        })
    );
}

#[tokio::test]
async fn a_process_is_heard_and_signalled() {
    let script = "trap 'echo again' CONT; echo ready; while :; do sleep 0.01; done";
    let process = Process::start("sh", &["-c", script]);
    assert_eq!(process.line_with("read").await, "ready");
    // Not SIGHUP: `nohup` has it ignored, and a shell can't trap what it finds ignored.
    process.signal(Signal::Continue);
    process.line_with("again").await;
    process.signal(Signal::Terminate);
    assert!(!process.wait().await.success());
}

#[tokio::test]
async fn a_child_dies_with_the_process_that_started_it() {
    let this = std::env::current_exe().unwrap();
    // What is killed leaves its folders behind, so they are made in one of ours.
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(this);
    command
        .args(["--exact", "support_kit::holds_a_child", "--nocapture"])
        .env("HOLD_A_CHILD", "1")
        .env("TMPDIR", folder.path());
    let holder = Process::run(&command);
    let line = holder.line_with("child at ").await;
    let address: SocketAddr = line.split("child at ").nth(1).unwrap().parse().unwrap();
    holder.kill();
    eventually(
        || async { tokio::net::TcpStream::connect(address).await.is_err() },
        "the server of the killed process is gone",
    )
    .await;
}

/// Runs as the process that is killed in the test above, and does nothing by itself.
#[tokio::test]
async fn holds_a_child() {
    if std::env::var_os("HOLD_A_CHILD").is_some() {
        let server = RedisServer::start();
        let line = format!("child at {}\n", server.address());
        std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).unwrap();
        std::future::pending::<()>().await;
    }
}

#[test]
fn logs_and_metrics_of_a_test_are_its_own() {
    let logs = Logs::capture();
    let metrics = Metrics::capture();
    tracing::info!(target: "quota::commit", units = 3, "committed");
    metrics::counter!("units_total", "quota" => "messages", "kind" => "used").increment(3);
    metrics::gauge!("reservations").set(2);
    metrics::histogram!("seconds").record(1);
    assert_eq!(logs.lines_with("quota::commit: committed units=3").len(), 1);
    let name = "units_total{kind=used,quota=messages}";
    assert_eq!(metrics.counter(name), 3);
    assert_eq!(metrics.counter(name), 3, "reading changes nothing");
    assert_eq!(metrics.gauges().len(), 1);
    assert_eq!(metrics.histogram_counts()["seconds"], 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_takes_real_time_on_a_paused_clock() {
    let server = RedisServer::start();
    server.cli(&["SET", "a", "1", "PX", "50"]);
    eventually_eq(0, || async { server.keys().len() }, "the key expires").await;
}

//! A Redis that asks who is there is reached with what `quota.toml` says.

use std::{fs, path::PathBuf};

use axum::{Router, body::Body, routing::get};
use http::Request;
use quota_layer::{QuotaLayer, StartError};
use quota_tests::{
    RedisServer, layers::config, processes::free_port, tokens::bearer, unique_prefix,
};
use tempfile::TempDir;
use tower::ServiceExt as _;

const RULES: &str = r#"
[quotas.messages]
unit = "message"
[plans.free]
default = true
limits.messages = "5/lifetime"
[[routes]]
match = "GET /hello"
charge = { messages = 1 }
"#;

/// The status of one request, with these lines in `[store]`.
async fn hello(store: &str) -> u16 {
    let quota = start(store).await.unwrap_or_else(|error| panic!("{error}"));
    let app = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .layer(quota);
    let request = Request::get("/hello")
        .header("authorization", bearer("alice"))
        .body(Body::empty())
        .unwrap();
    app.oneshot(request).await.unwrap().status().as_u16()
}

async fn start(store: &str) -> Result<QuotaLayer, StartError> {
    let prefix = unique_prefix();
    let text = format!("[store]\ntimeout = \"2s\"\nprefix = \"{prefix}\"\n{store}\n{RULES}");
    QuotaLayer::from_config(config(&text)).build().await
}

/// A file with a secret.
fn secret(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join(text);
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_password_comes_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::builder().password("secret").start();
    let url = format!("url = \"redis://{}\"", server.address());
    let with = |name: &str| {
        let file = secret(&folder, name);
        format!("{url}\npassword = \"file:{}\"", file.display())
    };
    assert_eq!(hello(&with("secret")).await, 200);
    assert_eq!(hello(&with("wrong")).await, 503);
    assert_eq!(hello(&url).await, 503);
}

#[tokio::test]
async fn a_user_needs_only_the_rights_that_are_documented() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "~t* -@all +evalsha +eval +info +time +@string +@hash +@sortedset \
                 +exists +pexpireat +persist +pttl +set +get";
    let server = RedisServer::builder()
        .acl_user("app", "secret", rules)
        .start();
    let url = format!("url = \"redis://{}\"", server.address());
    let password = format!(
        "password = \"file:{}\"",
        secret(&folder, "secret").display()
    );
    let with = |user: &str| format!("{url}\nusername = \"{user}\"\n{password}");
    assert_eq!(hello(&with("app")).await, 200);
    assert_eq!(hello(&with("another")).await, 503);
}

#[tokio::test]
async fn databases_are_apart() {
    let server = RedisServer::start();
    let url = format!("url = \"redis://{}/3\"", server.address());
    assert_eq!(hello(&url).await, 200);
    assert!(server.keys().is_empty());
    assert!(server.cli(&["INFO", "keyspace"]).contains("db3:"));
}

#[tokio::test]
async fn tls_trusts_its_own_authority_and_no_other() {
    let server = RedisServer::builder().tls().password("secret").start();
    let other = RedisServer::builder().tls().start();
    let folder = tempfile::tempdir().unwrap();
    let file = secret(&folder, "secret");
    let with = |server: &RedisServer, authority: &RedisServer| {
        format!(
            "url = \"rediss://{}\"\npassword = \"file:{}\"\nca_file = \"{}\"",
            server.address(),
            file.display(),
            authority.ca_file().unwrap().display()
        )
    };
    assert_eq!(hello(&with(&server, &server)).await, 200);
    assert_eq!(hello(&with(&server, &other)).await, 503);
    let plain = format!("url = \"redis://{}\"\ntimeout = \"2s\"", server.address());
    assert_eq!(hello(&plain.replace("\ntimeout = \"2s\"", "")).await, 503);
}

#[tokio::test]
async fn a_redis_that_may_evict_is_refused_unless_that_is_accepted() {
    let server = RedisServer::builder()
        .max_memory("100mb", "allkeys-lru")
        .start();
    let url = format!("url = \"redis://{}\"", server.address());
    let error = start(&url).await.unwrap_err().to_string();
    assert!(error.contains("allkeys-lru"), "{error}");
    assert!(error.contains("noeviction"), "{error}");
    assert_eq!(hello(&format!("{url}\naccept_eviction = true")).await, 200);
}

#[tokio::test]
async fn no_password_is_ever_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret(&folder, "very-secret-word");
    let logs = quota_tests::logs::Logs::capture_with("trace");
    let store = format!(
        "url = \"redis://127.0.0.1:{}\"\npassword = \"file:{}\"",
        free_port(),
        file.display()
    );
    let quota = start(&store).await.unwrap();
    let error = format!("{:?}", quota.check_store().await.unwrap_err());
    let shown = format!("{quota:?} {error} {}", logs.text());
    // The file's name is the word, too.
    assert!(
        !shown
            .replace(&file.display().to_string(), "")
            .contains("very-secret-word")
    );
}

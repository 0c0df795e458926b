//! How the store starts, and with what rights.

use std::{sync::Arc, time::Duration};

use quota_store::{
    CounterStore as _, Eviction, RedisCounterStore, RedisOptions, RedisStartError, Sends,
    StoreErrorKind, SystemClock,
};

use crate::{
    kit::{Kit, allowed, connect, of_user, one, options, user},
    server::{Server, free_port, until},
};

async fn start(options: RedisOptions) -> Result<RedisCounterStore, RedisStartError> {
    RedisCounterStore::connect(options, Arc::new(SystemClock)).await
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_unless_accepted() {
    let server = Server::start(&["--maxmemory-policy", "volatile-lru"]).await;
    let mut options = options(&server.url());
    let error = start(options.clone()).await.unwrap_err();
    assert_eq!(error, RedisStartError::Evicts("volatile-lru".to_owned()));
    options.eviction = Eviction::Accept;
    start(options).await.unwrap();
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let server = Server::start(&[]).await;
    server.run::<String>("SET other:partitions 16").await;
    let mut options = options(&server.url());
    start(options.clone()).await.unwrap();
    assert_eq!(server.run::<String>("GET quota:partitions").await, "256");
    options.prefix = "other".to_owned();
    let error = start(options.clone()).await.unwrap_err();
    assert_eq!(error, RedisStartError::Partitions("16".to_owned()));
    options.prefix = "{braces}".to_owned();
    let error = start(options).await.unwrap_err();
    assert!(matches!(error, RedisStartError::Prefix(_)), "{error}");
}

#[tokio::test]
async fn a_store_starts_without_redis_and_serves_once_it_is_there() {
    let port = free_port();
    let store = connect(options(&format!("redis://127.0.0.1:{port}"))).await;
    let alice = one(&user("alice"), 5);
    let error = store.reserve(&alice, Sends::Once).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreachable);
    let _server = Server::start_in(tempfile::tempdir().unwrap(), port, &[]).await;
    until(async || store.check().await.is_ok()).await;
    allowed(store.reserve(&alice, Sends::Once).await);
}

#[tokio::test]
async fn a_server_that_turns_out_to_evict_is_not_used() {
    let port = free_port();
    let store = connect(options(&format!("redis://127.0.0.1:{port}"))).await;
    let evicting = ["--maxmemory-policy", "allkeys-lfu"];
    let server = Server::start_in(tempfile::tempdir().unwrap(), port, &evicting).await;
    until(async || store.check().await.unwrap_err().kind() == StoreErrorKind::NotServing).await;
    let policy = "CONFIG SET maxmemory-policy noeviction";
    server.run::<String>(policy).await;
    until(async || store.check().await.is_ok()).await;
}

#[tokio::test]
async fn a_wrong_password_is_forbidden_and_a_right_one_serves() {
    let server = Server::start(&["--requirepass", "right"]).await;
    let mut options = options(&server.url());
    for password in [None, Some("wrong")] {
        options.password = password.map(Into::into);
        let store = connect(options.clone()).await;
        let error = store.check().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Forbidden, "{error:?}");
    }
    options.password = Some("right".into());
    connect(options).await.check().await.unwrap();
}

#[tokio::test]
async fn an_acl_user_needs_only_its_own_keys() {
    let server = Server::start(&[]).await;
    let commands =
        "+evalsha +eval +info +time +@string +@hash +@sortedset +exists +pttl +pexpireat +persist";
    for rule in [
        format!("ACL SETUSER quota on >pass ~quota:* resetchannels {commands}"),
        format!("ACL SETUSER stranger on >pass ~other:* resetchannels {commands}"),
    ] {
        server.run::<String>(&rule).await;
    }
    let mut options = options(&server.url());
    options.password = Some("pass".into());
    options.username = Some("quota".to_owned());
    let store = connect(options.clone()).await;
    allowed(store.reserve(&one(&user("alice"), 5), Sends::Once).await);
    options.username = Some("stranger".to_owned());
    let stranger = connect(options).await;
    let request = one(&user("alice"), 5);
    let error = stranger.reserve(&request, Sends::Once).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Forbidden, "{error:?}");
}

#[tokio::test]
async fn databases_and_prefixes_are_apart() {
    let kit = Kit::start().await;
    kit.allowed(&one(&user("alice"), 5)).await;
    let mut others = [
        options(&format!("{}/3", kit.server.url())),
        options(&kit.server.url()),
    ];
    others[1].prefix = "shop:quota".to_owned();
    for options in others {
        let store = connect(options).await;
        let held = allowed(store.reserve(&one(&user("alice"), 1), Sends::Once).await);
        assert_eq!(held.counters.len(), 1);
    }
    assert_eq!(kit.read(&user("alice"), &[of_user()]).await, [(0, 1)]);
}

#[cfg(feature = "redis-tls")]
#[tokio::test]
async fn tls_trusts_the_given_certificate_and_no_other() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = free_port().to_string();
    let _server = Server::start_in(
        folder,
        free_port(),
        &[
            "--tls-port",
            &port,
            "--tls-cert-file",
            certificate.to_str().unwrap(),
            "--tls-key-file",
            key.to_str().unwrap(),
            "--tls-auth-clients",
            "no",
        ],
    )
    .await;
    let mut options = options(&format!("rediss://localhost:{port}"));
    options.connect_timeout = Duration::from_secs(5);
    let store = connect(options.clone()).await;
    let error = store.check().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unreachable);
    options.ca_pem = Some(made.cert.pem().into_bytes());
    let store = connect(options).await;
    store.check().await.unwrap();
    allowed(store.reserve(&one(&user("alice"), 5), Sends::Once).await);
}

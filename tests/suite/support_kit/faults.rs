//! The proxy does to connections what it was told.

use std::{io::Read, time::Duration};

use quota_tests::{Fault, FaultProxy, RedisServer, eventually, eventually_eq};

use super::connection;

#[tokio::test]
async fn swallowed_replies_mean_that_the_server_did_it() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address()).await;
    let mut client = connection(server.url_at(proxy.port())).await;
    proxy.set(Fault::DropReplies).await;
    let incremented = tokio::spawn(async move {
        redis::cmd("INCR")
            .arg("a")
            .query_async::<i64>(&mut client)
            .await
    });
    eventually(
        || async { proxy.withheld_reply_bytes() > 0 },
        "the reply is swallowed",
    )
    .await;
    assert_eq!(server.cli(&["GET", "a"]), "1");
    assert!(!incremented.is_finished());
    proxy.set(Fault::Pass).await;
    assert!(incremented.await.unwrap().is_err());
}

#[tokio::test]
async fn held_replies_are_delivered_late() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address()).await;
    let mut client = connection(server.url_at(proxy.port())).await;
    for fault in [Fault::HoldReplies, Fault::BlackHole] {
        proxy.set(fault).await;
        let mut late = client.clone();
        let incremented = tokio::spawn(async move {
            redis::cmd("INCR")
                .arg("a")
                .query_async::<i64>(&mut late)
                .await
        });
        tokio::time::timeout(Duration::from_millis(20), async {
            redis::cmd("PING").query_async::<()>(&mut client).await
        })
        .await
        .unwrap_err();
        proxy.set(Fault::Pass).await;
        incremented.await.unwrap().unwrap();
    }
    assert_eq!(server.cli(&["GET", "a"]), "2");
    assert!(proxy.withheld_reply_bytes() > 0);
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn delayed_traffic_arrives() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address()).await;
    let mut client = connection(server.url_at(proxy.port())).await;
    let delay = Duration::from_millis(30);
    for fault in [Fault::DelayReplies(delay), Fault::DelayRequests(delay)] {
        proxy.set(fault).await;
        let command = redis::cmd("PING");
        let mut ping = std::pin::pin!(command.query_async::<String>(&mut client));
        let early = tokio::time::timeout(delay / 3, &mut ping).await;
        assert!(early.is_err(), "{fault:?} did not delay");
        assert_eq!(ping.await.unwrap(), "PONG");
    }
}

#[tokio::test]
async fn a_reset_cuts_after_the_bytes_that_were_named() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address()).await;
    let server_side = [
        (Fault::ResetAfterReplyBytes(3), "+PO"),
        (Fault::ResetAfterRequestBytes(3), ""),
    ];
    for (fault, expected) in server_side {
        proxy.set(fault).await;
        let mut client = std::net::TcpStream::connect(proxy.address()).unwrap();
        std::io::Write::write_all(&mut client, b"PING\r\n").unwrap();
        let (read, end) = tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            let end = client.read_to_end(&mut read);
            (read, end.map_err(|error| error.kind()))
        })
        .await
        .unwrap();
        assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
        assert_eq!(String::from_utf8(read).unwrap(), expected);
    }
    assert_eq!(proxy.reply_bytes(), 3);
}

#[tokio::test]
async fn a_refusing_proxy_drops_its_connections_and_comes_back() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address()).await;
    let mut client = connection(server.url_at(proxy.port())).await;
    proxy.set(Fault::Refuse).await;
    assert_eq!(proxy.open_connections(), 0);
    assert!(
        redis::cmd("PING")
            .query_async::<()>(&mut client)
            .await
            .is_err()
    );
    let refused = tokio::net::TcpStream::connect(proxy.address()).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    proxy.set(Fault::Pass).await;
    let mut again = connection(server.url_at(proxy.port())).await;
    redis::cmd("PING")
        .query_async::<()>(&mut again)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dropped_proxy_closes_everything() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address()).await;
    let mut client = connection(server.url_at(proxy.port())).await;
    drop(proxy);
    let command = redis::cmd("PING");
    assert!(command.query_async::<()>(&mut client).await.is_err());
    eventually_eq(
        1,
        || async { server.info("connected_clients") },
        "the server has no connection left but the one that asks",
    )
    .await;
}

//! Clients that leave, over real sockets.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, routing};
use quota_tests::{
    clients::{RawClient, RawRequest},
    eventually,
    layers::{Layered, Store, layered},
    tokens::bearer,
};
use tokio::sync::{Semaphore, watch};

use super::{CONFIG, assert_free, counted};

/// A server whose handler waits until it is let go.
struct Server {
    layered: Layered,
    address: SocketAddr,
    /// How many handlers have begun.
    begun: watch::Receiver<u64>,
    go: Arc<Semaphore>,
}

impl Server {
    async fn start(store: Store) -> Self {
        let layered = layered(store, CONFIG).await;
        let go = Arc::new(Semaphore::new(0));
        let (counter, begun) = watch::channel(0);
        let gate = Arc::clone(&go);
        let handler = async move || {
            counter.send_modify(|count| *count += 1);
            gate.acquire().await.unwrap().forget();
            "hello"
        };
        let app = Router::new()
            .route("/", routing::get(handler))
            .layer(layered.quota.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, app).await });
        Self {
            layered,
            address,
            begun,
            go,
        }
    }

    /// A client whose request the handler works on.
    async fn client(&mut self) -> RawClient {
        let mut client = RawClient::connect(self.address).await;
        let before = *self.begun.borrow();
        client.send(&request()).await;
        self.begun.wait_for(|begun| *begun > before).await.unwrap();
        assert_eq!(counted(&self.layered).await, (0, 1));
        client
    }
}

fn request() -> RawRequest {
    RawRequest::new("GET", "/").header("authorization", &bearer("alice"))
}

async fn a_client_that_closes_before_the_head_is_not_charged(store: Store) {
    let mut server = Server::start(store).await;
    server.client().await.close().await;
    assert_free(&server.layered, "the client closed").await;
}

async fn a_client_that_resets_before_the_head_is_not_charged(store: Store) {
    let mut server = Server::start(store).await;
    server.client().await.reset();
    assert_free(&server.layered, "the client reset").await;
}

/// To the server it looks like a client that closed.
async fn a_client_that_half_closes_before_the_head_is_not_charged(store: Store) {
    let mut server = Server::start(store).await;
    let mut client = server.client().await;
    client.half_close().await;
    assert_free(&server.layered, "the client half-closed").await;
    assert!(client.ends_without_answer().await);
}

/// With bytes unread in its buffer the server does not see that the client is gone: the handler's
/// success is a success.
async fn a_client_that_leaves_unseen_is_charged_when_the_handler_succeeds(store: Store) {
    let mut server = Server::start(store).await;
    let mut client = server.client().await;
    client.send_bytes(b"GET /next HTTP/1.1\r\n").await;
    client.close().await;
    server.go.add_permits(1);
    let settled = || async {
        let (used, reserved) = counted(&server.layered).await;
        let was_let_go = server.go.available_permits() == 0;
        reserved == 0 && used == u64::from(was_let_go)
    };
    eventually(settled, "charged exactly when the handler answered").await;
}

async fn clients_that_leave_one_by_one_leave_nothing_behind(store: Store) {
    let mut server = Server::start(store).await;
    for turn in 0..20 {
        let client = server.client().await;
        if turn % 2 == 0 {
            client.reset();
        } else {
            client.close().await;
        }
        assert_free(&server.layered, "a client left").await;
    }
    let mut client = server.client().await;
    server.go.add_permits(1);
    assert_eq!(client.response().await.body(), "hello");
    assert_eq!(counted(&server.layered).await, (1, 0));
}

on_both_stores!(
    a_client_that_closes_before_the_head_is_not_charged,
    a_client_that_resets_before_the_head_is_not_charged,
    a_client_that_half_closes_before_the_head_is_not_charged,
    a_client_that_leaves_unseen_is_charged_when_the_handler_succeeds,
    clients_that_leave_one_by_one_leave_nothing_behind,
);

//! An issuer for tests.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use http::header::{CACHE_CONTROL, LOCATION};
use serde_json::{Value, json};
use tokio::sync::watch;

/// An issuer on loopback, with a gate that holds its answers back.
pub(super) struct Issuer {
    pub(super) url: String,
    state: Arc<IssuerState>,
}

struct IssuerState {
    answer: Mutex<(StatusCode, String)>,
    fetches: AtomicUsize,
    gate: watch::Sender<bool>,
}

impl Issuer {
    pub(super) async fn start(keys: &[Value]) -> Self {
        let state = Arc::new(IssuerState {
            answer: Mutex::new((StatusCode::OK, json!({ "keys": keys }).to_string())),
            fetches: AtomicUsize::new(0),
            gate: watch::Sender::new(true),
        });
        let router = Router::new()
            .route("/keys", get(answer))
            .route(
                "/away",
                get(|| async { redirect("http://issuer.example/keys") }),
            )
            .route("/round", get(|| async { redirect("/round") }))
            .route("/near", get(|| async { redirect("/keys") }))
            .with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { url, state }
    }

    pub(super) fn set_keys(&self, keys: &[Value]) {
        self.set_answer(StatusCode::OK, json!({ "keys": keys }).to_string());
    }

    pub(super) fn set_answer(&self, status: StatusCode, body: String) {
        *self.state.answer.lock().unwrap() = (status, body);
    }

    pub(super) fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }

    pub(super) fn hold(&self) {
        self.state.gate.send_replace(false);
    }

    pub(super) fn let_go(&self) {
        self.state.gate.send_replace(true);
    }
}

async fn answer(State(state): State<Arc<IssuerState>>) -> impl axum::response::IntoResponse {
    state.fetches.fetch_add(1, Ordering::SeqCst);
    state.gate.subscribe().wait_for(|open| *open).await.unwrap();
    let (status, body) = state.answer.lock().unwrap().clone();
    (status, [(CACHE_CONTROL, "max-age=1000")], body)
}

fn redirect(to: &'static str) -> impl axum::response::IntoResponse {
    (StatusCode::FOUND, [(LOCATION, to)])
}

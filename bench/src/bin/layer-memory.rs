//! Measures what the layer adds to a bare axum handler, in microseconds of CPU per request.
//!
//! In this process, one thread, no sockets: `Router::call` of requests that were made before, up
//! to the response's head, its drop included. 1 000 users come in turn; their tokens are verified
//! in the first rounds. The contenders take turns in batches; a difference is the median over
//! the rounds.
//!
//! - exempt: a route that the configuration names as exempt.
//! - layer: the store in memory, a cached JWT, three counters, all headers.
//! - `tower_governor` counts by the client's address: without a token, plans or windows.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use axum::{Router, body::Body, extract::ConnectInfo, routing::get};
use bench::{Contender, Series, bearers, goal, goals, layer, per_operation, take_turns};
use http::Request;
use tokio::runtime::Runtime;
use tower_governor::{GovernorLayer, governor::GovernorConfigBuilder};
use tower_service::Service;

const USERS: usize = 1_000;
/// Requests of one batch.
const BATCH: u32 = 100;
const ROUNDS: usize = 2_001;

const CONFIG: &str = r#"
unmatched = "deny"
[quotas.messages]
unit = "message"
[plans.free]
default = true
warn_at = ["80%"]
limits.messages = ["1G/minute", "10G/day", "100G/month"]
[[routes]]
match = "GET /charged"
charge = { messages = 1 }
[[routes]]
match = "GET /exempt"
exempt = true
"#;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let quota = runtime.block_on(layer(CONFIG))?;
    let mut governor = GovernorConfigBuilder::default();
    governor.per_nanosecond(1).burst_size(u32::MAX);
    let plain = GovernorLayer::new(Arc::new(governor.finish().expect("a quota")));
    let headers = governor.use_headers().finish().expect("a quota");
    let headers = GovernorLayer::new(Arc::new(headers));

    let bearers = bearers(USERS)?;
    let measured = |name, app: Router, path| {
        let runtime = &runtime;
        let mut bearers = bearers.iter().cycle();
        // As `axum::serve` does: routes are made once, not for every request.
        let mut app = app.with_state(());
        Contender::new(name, move || {
            let turn = bearers.by_ref().take(BATCH as usize);
            batch(runtime, &mut app, path, turn)
        })
    };
    let series = take_turns(
        ROUNDS,
        vec![
            measured("bare", bare(), "/charged"),
            measured("ours: exempt", bare().layer(quota.clone()), "/exempt"),
            measured("ours: layer", bare().layer(quota), "/charged"),
            measured("tower_governor", bare().layer(plain), "/charged"),
            measured("tower_governor, headers", bare().layer(headers), "/charged"),
        ],
    );
    let added = |one: &Series| one.paired(&series[0], |mine, bare| (mine - bare) / 1e3);
    println!("| in process, µs | median | added |\n| --- | --- | --- |");
    for one in &series {
        let (name, median) = (&one.name, one.median() / 1e3);
        println!("| {name} | {median:.2} | {:.2} |", added(one));
    }
    goals();
    goal("µs that an exempt route adds", added(&series[1]), 0.3);
    goal("µs that the layer adds", added(&series[2]), 4.0);
    Ok(())
}

fn bare() -> Router {
    Router::new()
        .route("/charged", get(|| async { "hello" }))
        .route("/exempt", get(|| async { "hello" }))
}

fn batch<'a>(
    runtime: &Runtime,
    app: &mut Router,
    path: &str,
    bearers: impl Iterator<Item = &'a String>,
) -> f64 {
    let client = ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1)));
    let request = |bearer: &String| {
        Request::get(path)
            .header("authorization", bearer)
            .extension(client)
            .body(Body::empty())
            .expect("a request")
    };
    let requests: Vec<_> = bearers.map(request).collect();
    per_operation(BATCH, || {
        runtime.block_on(async {
            for request in requests {
                let response = app.call(request).await.expect("a router never fails");
                assert!(response.status().is_success(), "{response:?}");
            }
        });
    })
}

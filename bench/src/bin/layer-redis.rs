//! Measures requests per second over loopback with counters in Redis.
//!
//! One axum server for each contender, all in this process and on one Redis server of its own;
//! `wrk` asks them in turn, with 64 and with 256 connections and the tokens of 1 000 users. A
//! figure is the median over the rounds, a ratio the median of the ratios within a round.
//!
//! - naive: the usual middleware, which GETs before and INCRs after a success through
//!   deadpool-redis, with a pool of 4 (its default on two cores), 16 and 64. It reads the user from a header and verifies nothing.
//! - ours: a JWT that is verified once and remembered, all headers, one or three counters.

use std::{io::Write as _, process::Command};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::get,
};
use bench::{Contender, RedisServer, bearers, goal_at_least, goals, layer, take_turns};
use deadpool_redis::{Config, Pool, PoolConfig, Runtime, redis::AsyncCommands};
use http::StatusCode;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;

const USERS: usize = 1_000;
const ROUNDS: usize = 5;
const SECONDS: &str = "2s";
/// Connections of the naive middleware: deadpool's default on two cores, and more.
const POOLS: [usize; 3] = [4, 16, 64];
const LIMIT: u64 = 1 << 52;

#[tokio::main]
async fn main() -> Result<()> {
    let server = RedisServer::start().await?;
    let script = wrk_script(&bearers(USERS)?)?;
    let one = r#"["100G/month"]"#;
    let three = r#"["1G/minute", "10G/day", "100G/month"]"#;
    let ours = async |settle: &str, limits: &str| {
        let layer = layer(&config(&server, settle, limits)).await?;
        serve(bare().layer(layer)).await
    };
    let naive = async |connections| {
        let pool = pool(&server, connections)?;
        serve(bare().layer(from_fn_with_state(pool, naive))).await
    };
    let contenders = [
        ("bare", serve(bare()).await?),
        ("naive, pool of 4", naive(POOLS[0]).await?),
        ("naive, pool of 16", naive(POOLS[1]).await?),
        ("naive, pool of 64", naive(POOLS[2]).await?),
        ("ours: before-response", ours("before-response", one).await?),
        ("ours: background", ours("background", one).await?),
        (
            "ours: before-response, three counters",
            ours("before-response", three).await?,
        ),
    ];
    for connections in ["64", "256"] {
        let contenders = contenders.iter().map(|(name, address)| {
            let script = &script;
            Contender::new(name, move || {
                wrk(connections, script, address).expect("wrk ends well")
            })
        });
        let contenders = contenders.collect();
        let series = tokio::task::block_in_place(|| take_turns(ROUNDS, contenders));
        println!(
            "\n| Redis, {connections} connections | requests/s | of naive 4 | of naive 16 | of naive 64 | of bare |"
        );
        println!("| --- | --- | --- | --- | --- | --- |");
        for one in &series {
            let (name, median) = (&one.name, one.median());
            let [bare, four, sixteen, most] = [0, 1, 2, 3].map(|peer| one.ratio(&series[peer]));
            println!("| {name} | {median:.0} | {four:.2} | {sixteen:.2} | {most:.2} | {bare:.2} |");
        }
        goals();
        for (place, connections_of_pool) in POOLS.iter().enumerate() {
            let what = format!(
                "before-response, times naive with a pool of {connections_of_pool}, {connections} connections"
            );
            goal_at_least(&what, series[4].ratio(&series[1 + place]), 1.5);
        }
    }
    Ok(())
}

fn config(server: &RedisServer, settle: &str, limits: &str) -> String {
    format!(
        r#"
[store]
url = "{}"
prefix = "{settle}-{}"
settle = "{settle}"
timeout = "2s"
[quotas.messages]
unit = "message"
[plans.free]
default = true
warn_at = ["80%"]
limits.messages = {limits}
[[routes]]
match = "GET /charged"
charge = {{ messages = 1 }}
"#,
        server.url(),
        limits.len(),
    )
}

fn bare() -> Router {
    Router::new().route("/charged", get(|| async { "hello" }))
}

fn pool(server: &RedisServer, connections: usize) -> Result<Pool> {
    let mut config = Config::from_url(server.url());
    config.pool = Some(PoolConfig::new(connections));
    Ok(config.create_pool(Some(Runtime::Tokio1))?)
}

async fn naive(State(pool): State<Pool>, request: Request, next: Next) -> Response {
    let user = request.headers().get("x-user").cloned();
    let key = format!(
        "naive:{}",
        user.as_ref()
            .and_then(|user| user.to_str().ok())
            .unwrap_or_default()
    );
    let used: Option<u64> = match pool.get().await {
        Ok(mut connection) => connection.get(&key).await.unwrap_or_default(),
        Err(_) => return refused(StatusCode::SERVICE_UNAVAILABLE),
    };
    if used.unwrap_or_default() >= LIMIT {
        return refused(StatusCode::TOO_MANY_REQUESTS);
    }
    let response = next.run(request).await;
    if response.status().is_success() {
        let Ok(mut connection) = pool.get().await else {
            return refused(StatusCode::SERVICE_UNAVAILABLE);
        };
        connection.incr(&key, 1).await.unwrap_or(0_u64);
    }
    response
}

fn refused(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

async fn serve(app: Router) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(format!("http://{address}/charged"))
}

/// Makes the requests of all users before the first is sent, and sends them in turn.
fn wrk_script(bearers: &[String]) -> Result<NamedTempFile> {
    let mut script = NamedTempFile::new()?;
    writeln!(script, "local requests, turn = {{}}, 0\nfunction init()")?;
    for (user, bearer) in bearers.iter().enumerate() {
        writeln!(
            script,
            "requests[{}] = wrk.format('GET', nil, {{ ['x-user'] = '{user}', authorization = '{bearer}' }})",
            user + 1
        )?;
    }
    writeln!(
        script,
        "end\nfunction request()\nturn = turn % {} + 1\nreturn requests[turn]\nend",
        bearers.len()
    )?;
    Ok(script)
}

/// Requests per second; an answer that is not a success is an error.
fn wrk(connections: &str, script: &NamedTempFile, address: &str) -> Result<f64> {
    let output = Command::new("wrk")
        .args(["-t1", "-c", connections, "-d", SECONDS, "-s"])
        .arg(script.path())
        .arg(address)
        .output()
        .context("wrk can't be started: install it")?;
    let text = String::from_utf8(output.stdout)?;
    anyhow::ensure!(!text.contains("Non-2xx"), "{text}");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(line.context("wrk printed no rate")?.trim().parse()?)
}

//! The life of the process: start, signals, end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, serve::ListenerExt};
use metrics_exporter_prometheus::PrometheusHandle;
use quota_layer::{Config, QuotaLayer};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    time::timeout,
};

use crate::{
    cli::ServeArguments,
    demo,
    failure::Failure,
    greeting::{self, Greeting},
    loopback, metrics,
    router::{Application, Mode, router},
    stop::Stop,
};

/// How long running requests may go on after the process was asked to end.
const GRACE: Duration = Duration::from_secs(10);

/// How long their connections may take to close after that.
const CLOSING: Duration = Duration::from_secs(1);

/// How often recorded metrics are folded together.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves until the process is asked to end, by SIGTERM or Ctrl-C.
///
/// SIGHUP reads the configuration again. At the end running requests get ten seconds; what is
/// reserved is then charged or given back.
///
/// # Errors
///
/// [`Failure`] where it can't start.
pub async fn serve(arguments: &ServeArguments) -> Result<(), Failure> {
    let mode = arguments.mode();
    check_address(arguments.listen, mode)?;
    let path = demo::prepare(arguments.config.as_deref())?;
    let config = Config::from_file(&path)?;
    let listener = listen(arguments.listen).await?;
    let failed = |error: io::Error| Failure::start(format!("it can't listen: {error}"));
    let address = listener.local_addr().map_err(failed)?;
    let signals = Signals::new().map_err(failed)?;
    let text = Greeting {
        address,
        mode,
        config: &config,
        path: &path,
        given: arguments.config.as_deref(),
    }
    .text();
    // The recorder first: what is counted before it is installed goes nowhere.
    let metrics = metrics::install().map_err(|error| Failure::start(error.to_string()))?;
    let quota = QuotaLayer::from_config(config)
        .watching(&path)
        .build()
        .await?;
    // Where nobody reads it, there is still a server to run.
    greeting::say(&text).ok();
    report_store(&quota).await;
    let stop = Stop::default();
    let application = Application {
        quota: quota.clone(),
        metrics: metrics.clone(),
        stopped: stop.listen(),
    };
    let upkeep = tokio::spawn(keep_up(metrics));
    run(listener, router(&application, mode), &quota, signals, &stop).await;
    upkeep.abort();
    quota.shutdown().await;
    tracing::info!(target: "example_app::serve", "ended");
    Ok(())
}

fn check_address(address: SocketAddr, mode: Mode) -> Result<(), Failure> {
    if mode == Mode::Deployment || loopback::is_loopback(address.ip()) {
        return Ok(());
    }
    Err(Failure::wrong_use(format!(
        "the demo answers anybody who can reach it, so it listens on loopback only and not on \
         {address}; use --listen 127.0.0.1:{}, or --config PATH without --demo",
        address.port()
    )))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = "--listen 127.0.0.1:0 takes a free port";
        Failure::start(match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("{address} is taken by another program; end that one, or {hint}")
            }
            io::ErrorKind::PermissionDenied => {
                format!("this user may not listen on {address}; {hint}")
            }
            _ => format!("it can't listen on {address}: {error}; {hint}"),
        })
    })
}

async fn report_store(quota: &QuotaLayer) {
    if let Err(error) = quota.check_store().await {
        tracing::error!(
            target: "example_app::serve",
            %error,
            "the counter store can't serve; requests follow `on_failure` until it can"
        );
    }
}

/// Serves until the end is asked for and reached.
async fn run(
    listener: TcpListener,
    router: Router,
    quota: &QuotaLayer,
    mut signals: Signals,
    stop: &Stop,
) {
    // Pieces of a stream leave when they are made.
    let listener = listener.tap_io(|stream| {
        // It is only slower without.
        stream.set_nodelay(true).ok();
    });
    let closing = Arc::new(Notify::new());
    let asked = Arc::clone(&closing);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service)
        .with_graceful_shutdown(async move { asked.notified().await })
        .into_future();
    tokio::pin!(server);
    loop {
        tokio::select! {
            // It ends only when it is asked to.
            _ = &mut server => return,
            // What went wrong is in the log already.
            _ = signals.hang_up.recv() => drop(quota.reload().await),
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    tracing::info!(target: "example_app::serve", "asked to end; running requests get ten seconds");
    closing.notify_one();
    if timeout(GRACE, &mut server).await.is_err() {
        tracing::warn!(target: "example_app::serve", "requests were still running and are ended");
        stop.stop();
        timeout(CLOSING, &mut server).await.ok();
    }
}

async fn keep_up(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// What the process can be told.
struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

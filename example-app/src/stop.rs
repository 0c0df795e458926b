//! Ending requests that outlive the time they are given at the end.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::StatusCode;
use tokio::sync::watch;

use crate::problem::problem;

/// Says when the process waits for requests no longer.
#[derive(Debug, Default)]
pub struct Stop(watch::Sender<bool>);

/// Learns of it; clones are cheap.
#[derive(Clone, Debug)]
pub struct Stopped(watch::Receiver<bool>);

impl Stop {
    /// What the router gets.
    #[must_use]
    pub fn listen(&self) -> Stopped {
        Stopped(self.0.subscribe())
    }

    /// Ends every request that is still running.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stopped {
    /// Waits until requests are to end; never, where nobody can say so any more.
    async fn wait(mut self) {
        if self.0.wait_for(|stopped| *stopped).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Drops what is running when the time is up, so that the quota layer gives its units back.
pub(crate) async fn end_late_requests(
    State(stopped): State<Stopped>,
    request: Request,
    next: Next,
) -> Response {
    tokio::select! {
        response = next.run(request) => response,
        () = stopped.wait() => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "The server is shutting down.")
        }
    }
}

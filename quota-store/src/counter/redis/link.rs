//! The one connection to Redis, and how it comes back.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, RedisResult, Value, aio::MultiplexedConnection};
use tokio::sync::{oneshot, watch};

use super::{
    RedisStartError,
    connector::{Connector, OpenError},
    failure::Failure,
    gather::Answer,
    script::{Item, Named, Script, Words},
};
use crate::StoreErrorKind;

/// So many calls in a row without an answer end a connection: the other side may be gone without
/// a word.
const MAX_SILENT_CALLS: u64 = 20;
const SHORTEST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum State {
    Down(Failure),
    Up(Connection),
}

#[derive(Clone)]
struct Connection {
    redis: MultiplexedConnection,
    // Tells a failure of this connection from one of an earlier connection.
    number: u64,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// The connection that all calls share.
#[derive(Debug)]
pub(super) struct Link {
    state: watch::Sender<State>,
    silent_calls: AtomicU64,
}

impl Link {
    pub(super) fn new() -> Arc<Self> {
        let down = Failure::new(
            StoreErrorKind::Unreachable,
            "Redis has not been reached yet",
        );
        Arc::new(Self {
            state: watch::Sender::new(State::Down(down)),
            silent_calls: AtomicU64::new(0),
        })
    }

    fn connection(&self) -> Result<Connection, Failure> {
        match &*self.state.borrow() {
            State::Up(connection) => Ok(connection.clone()),
            State::Down(failure) => Err(failure.clone()),
        }
    }

    /// Waits until there is a connection.
    pub(super) async fn ready(&self) {
        let mut state = self.state.subscribe();
        // It fails only where the sender is gone, and that is `self`.
        let _ = state
            .wait_for(|state| matches!(state, State::Up(_)))
            .await
            .is_ok();
    }

    /// Runs a script, which answers a string.
    ///
    /// # Errors
    ///
    /// Where it did not run, or may not have run.
    pub(super) async fn run<'a, I>(
        &self,
        script: &Script,
        head: &'a Words,
        items: I,
    ) -> Result<Vec<u8>, Failure>
    where
        I: Iterator<Item = &'a Item> + Clone,
    {
        let mut connection = self.connection()?;
        match call(&mut connection.redis, script, head, items).await {
            Ok(value) => {
                // Relaxed: a count that decides nothing but when to reconnect.
                self.silent_calls.store(0, Ordering::Relaxed);
                match value {
                    Value::BulkString(answer) => Ok(answer),
                    _ => Err(Failure::unreadable("a string")),
                }
            }
            Err(error) => {
                let is_silent = error.is_timeout();
                let failure = Failure::from(error);
                if failure.reconnect || (is_silent && self.is_dead()) {
                    self.give_up(connection.number, &failure);
                }
                Err(failure)
            }
        }
    }

    fn is_dead(&self) -> bool {
        self.silent_calls.fetch_add(1, Ordering::Relaxed) >= MAX_SILENT_CALLS
    }

    /// Up => Down, unless another connection took the place of this one.
    fn give_up(&self, number: u64, failure: &Failure) {
        self.state.send_if_modified(|state| match state {
            State::Up(connection) if connection.number == number => {
                tracing::warn!(target: "quota::redis", %failure, "the connection to Redis is lost");
                *state = State::Down(failure.clone().before_a_send());
                true
            }
            State::Up(_) | State::Down(_) => false,
        });
    }

    /// Waits until there is none.
    pub(super) async fn broken(&self) {
        let mut state = self.state.subscribe();
        let _ = state
            .wait_for(|state| matches!(state, State::Down(_)))
            .await
            .is_ok();
    }

    /// Connects, and connects again whenever the connection is lost, for ever. The outcome of the
    /// first attempt goes to `first`.
    pub(super) async fn keep_up(
        self: Arc<Self>,
        connector: Connector,
        first: oneshot::Sender<Result<(), RedisStartError>>,
    ) {
        let mut first = Some(first);
        let mut delay = SHORTEST_DELAY;
        for number in 0.. {
            let outcome = connector.open(on_disconnect(&self, number)).await;
            if let Some(first) = first.take() {
                // Nobody waits where `connect` was dropped.
                drop(first.send(outcome.as_ref().map(|_| ()).or_else(OpenError::start_error)));
            }
            match outcome {
                Ok(redis) => {
                    tracing::info!(target: "quota::redis", url = %connector.url(), "connected to Redis");
                    self.silent_calls.store(0, Ordering::Relaxed);
                    // Down => Up
                    self.state
                        .send_replace(State::Up(Connection { redis, number }));
                    let lasted = tokio::time::timeout(LONGEST_DELAY, self.broken()).await;
                    if lasted.is_err() {
                        delay = SHORTEST_DELAY;
                        self.broken().await;
                    }
                }
                Err(error) => {
                    tracing::error!(target: "quota::redis", url = %connector.url(), %error, "Redis can't be used");
                    self.state.send_replace(State::Down(error.into()));
                }
            }
            tokio::time::sleep(jittered(delay)).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }
}

/// Runs a script on any connection.
pub(super) async fn run_on<'a, I>(
    redis: &mut MultiplexedConnection,
    script: &Script,
    head: &'a Words,
    items: I,
) -> Result<(), Failure>
where
    I: Iterator<Item = &'a Item> + Clone,
{
    match call(redis, script, head, items).await? {
        Value::BulkString(answer) => {
            for answer in Answer::all(&answer)? {
                answer?;
            }
            Ok(())
        }
        _ => Err(Failure::unreadable("a string")),
    }
}

async fn call<'a, I>(
    redis: &mut MultiplexedConnection,
    script: &Script,
    head: &'a Words,
    items: I,
) -> RedisResult<Value>
where
    I: Iterator<Item = &'a Item> + Clone,
{
    let command = script.call(Named::ByHash, head, items.clone());
    let answer = send(redis, &command).await;
    if answer
        .as_ref()
        .is_err_and(|error| error.code() == Some("NOSCRIPT"))
    {
        // The text can't be forgotten between two calls.
        let command = script.call(Named::ByText, head, items);
        return send(redis, &command).await;
    }
    answer
}

/// Sends one command; an error that Redis answers is an error, too.
async fn send(redis: &mut MultiplexedConnection, command: &Cmd) -> RedisResult<Value> {
    redis
        .send_packed_command(command)
        .await
        .and_then(Value::extract_error)
}

/// Between a half of the delay and all of it.
pub(super) fn jittered(delay: Duration) -> Duration {
    let most = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(rand::random_range(most / 2..=most))
}

/// Hears of the end of a connection before the next call does.
fn on_disconnect(link: &Arc<Link>, number: u64) -> impl Fn() + Send + Sync + 'static {
    let link: Weak<Link> = Arc::downgrade(link);
    move || {
        if let Some(link) = link.upgrade() {
            let failure = Failure::new(
                StoreErrorKind::Unreachable,
                "Redis closed the connection; it is being opened again",
            );
            link.give_up(number, &failure);
        }
    }
}

//! Waiting for what will soon be true, instead of sleeping.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// How long a condition may take to become true.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at `condition` every 5 ms until it holds, for at most 10 s.
///
/// Real time counts, also on a runtime whose clock is paused. Panics with `what`, which says in
/// words what was waited for.
#[track_caller]
pub fn eventually<C, F>(mut condition: C, what: &str) -> impl Future<Output = ()>
where
    C: FnMut() -> F,
    F: Future<Output = bool>,
{
    let seen = poll(move || {
        let holds = condition();
        async move { if holds.await { Ok(()) } else { Err(()) } }
    });
    let caller = std::panic::Location::caller();
    async move {
        assert!(
            seen.await.is_ok(),
            "not within {PATIENCE:?}: {what} (waited for at {caller})"
        );
    }
}

/// Calls `observe` every 5 ms until it gives `expected`, for at most 10 s.
///
/// Panics with `what` and the last value seen.
#[track_caller]
pub fn eventually_eq<T, O, F>(expected: T, mut observe: O, what: &str) -> impl Future<Output = ()>
where
    T: PartialEq + Debug + Clone,
    O: FnMut() -> F,
    F: Future<Output = T>,
{
    let wanted = expected.clone();
    let seen = poll(move || {
        let observed = observe();
        let wanted = wanted.clone();
        async move {
            let value = observed.await;
            if value == wanted { Ok(()) } else { Err(value) }
        }
    });
    let caller = std::panic::Location::caller();
    async move {
        if let Err(last) = seen.await {
            panic!(
                "not within {PATIENCE:?}: {what}: expected {expected:?}, \
                 last seen {last:?} (waited for at {caller})"
            );
        }
    }
}

/// Calls `attempt` until it succeeds; gives back the last error after 10 s.
pub(crate) async fn poll<P, F, T, E>(mut attempt: P) -> Result<T, E>
where
    P: FnMut() -> F,
    F: Future<Output = Result<T, E>>,
{
    let deadline = Deadline::new();
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(last) if deadline.is_over() => return Err(last),
            // A blocking task passes real time even where the runtime's clock is paused.
            Err(_) => tokio::task::spawn_blocking(pause)
                .await
                .expect("a pause does not panic"),
        }
    }
}

/// The same for code that is not async.
pub(crate) fn poll_blocking<T, E>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Deadline::new();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(last) if deadline.is_over() => return Err(last),
            Err(_) => pause(),
        }
    }
}

struct Deadline(Instant);

impl Deadline {
    #[expect(
        clippy::disallowed_methods,
        reason = "patience with other processes is measured in real time"
    )]
    fn new() -> Self {
        Self(Instant::now())
    }

    fn is_over(&self) -> bool {
        self.0.elapsed() > PATIENCE
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "other processes run on real time, which no clock of ours can advance"
)]
fn pause() {
    std::thread::sleep(POLL_EVERY);
}

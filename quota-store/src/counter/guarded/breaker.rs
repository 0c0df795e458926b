//! The breaker: a store that fails is left alone for a while.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::StoreErrorKind;

/// This many failures in a row open the breaker.
const FAILURES_TO_OPEN: u32 = 5;
/// So do fewer, two at least, if they have gone on for this long: a store with little traffic.
const FAILING_TO_OPEN: Duration = Duration::from_millis(250);
/// How long a breaker that has opened asks nothing; each probe that fails doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A probe that has not reported this long after its time-out is given up.
const PROBE_SLACK: Duration = Duration::from_secs(1);
/// A failure this long after the one before belongs to another outage.
const OUTAGE_GAP: Duration = Duration::from_secs(10);

/// Whether a store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is asked: it answers, or has failed a few times at most.
    Closed,
    /// One operation is asking it; all others are refused until that one is answered.
    HalfOpen,
    /// It failed and is not asked; the first operation after a pause tries again.
    Open,
}

impl BreakerState {
    /// The word for it in logs and health.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }

    /// Its value in the gauge `quota_breaker_state`.
    const fn gauge(self) -> u32 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// How an operation that was let through ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// The store answered, be it that it is full.
    Answered,
    /// It did not.
    Failed(StoreErrorKind),
}

#[derive(Debug)]
pub(super) struct Breaker {
    /// How long one operation may take.
    timeout: Duration,
    /// Closed and without a failure since the last success. It only saves the lock: a value that
    /// is out of date costs a lock or delays the count by one operation.
    calm: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    outage: u64,
    last_failure: Option<Instant>,
    /// How many probes there were; the number of the last names it.
    probes: u64,
}

#[derive(Debug)]
enum Phase {
    Closed {
        failures: u32,
        failing_since: Option<Instant>,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    HalfOpen {
        probe: u64,
        lapses: Instant,
        pause: Duration,
    },
}

impl Phase {
    const CALM: Self = Self::Closed {
        failures: 0,
        failing_since: None,
    };

    const fn state(&self) -> BreakerState {
        match self {
            Self::Closed { .. } => BreakerState::Closed,
            Self::Open { .. } => BreakerState::Open,
            Self::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "pauses and outages are measured on tokio's monotonic clock, which tests can pause"
)]
pub(super) fn monotonic_now() -> Instant {
    Instant::now()
}

/// Lets one operation ask the store. Dropped without a report it says nothing about the store.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    probe: Option<u64>,
}

impl Breaker {
    pub(super) fn new(timeout: Duration) -> Self {
        show(BreakerState::Closed);
        Self {
            timeout,
            calm: AtomicBool::new(true),
            inner: Mutex::new(Inner {
                phase: Phase::CALM,
                outage: 0,
                last_failure: None,
                probes: 0,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // No step leaves `Inner` half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> BreakerState {
        self.inner().phase.state()
    }

    /// How long until it is worth while to try again.
    pub(super) fn retry_after(&self) -> Duration {
        match self.inner().phase {
            Phase::Closed { .. } => FIRST_PAUSE,
            Phase::Open { until, .. } => until
                .saturating_duration_since(monotonic_now())
                .max(FIRST_PAUSE),
            Phase::HalfOpen { pause, .. } => pause,
        }
    }

    /// The same as [`admit`](Self::admit) where no failure is on its mind, else `None`.
    pub(super) fn admit_calmly(&self) -> Option<Permit<'_>> {
        self.calm.load(Ordering::Relaxed).then_some(Permit {
            breaker: self,
            probe: None,
        })
    }

    /// Asks to ask the store: `None` while it is left alone.
    pub(super) fn admit(&self) -> Option<Permit<'_>> {
        let mut probe = None;
        if !self.calm.load(Ordering::Relaxed) {
            let mut inner = self.inner();
            let now = monotonic_now();
            match inner.phase {
                Phase::Closed { .. } => {}
                Phase::Open { until, pause } if now >= until => {
                    probe = Some(inner.begin_probe(pause, now + self.timeout + PROBE_SLACK));
                }
                Phase::HalfOpen { lapses, pause, .. } if now >= lapses => {
                    probe = Some(inner.begin_probe(pause, now + self.timeout + PROBE_SLACK));
                }
                Phase::Open { .. } | Phase::HalfOpen { .. } => return None,
            }
        }
        Some(Permit {
            breaker: self,
            probe,
        })
    }

    /// Counts a failure of any kind to an outage, and says which one it is.
    ///
    /// An outage ends when the breaker closes, or after a while without a failure.
    pub(super) fn outage(&self) -> Outage {
        let mut inner = self.inner();
        let now = monotonic_now();
        let goes_on = inner.phase.state() != BreakerState::Closed
            || inner
                .last_failure
                .is_some_and(|last| now.saturating_duration_since(last) < OUTAGE_GAP);
        inner.last_failure = Some(now);
        if !goes_on {
            inner.outage += 1;
        }
        Outage {
            number: inner.outage,
            stage: if goes_on {
                Stage::GoesOn
            } else {
                Stage::Begins
            },
        }
    }
}

/// A stretch of failures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub(super) number: u64,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Begins,
    GoesOn,
}

impl Inner {
    // ## (Open | HalfOpen) => HalfOpen
    fn begin_probe(&mut self, pause: Duration, lapses: Instant) -> u64 {
        self.probes += 1;
        self.phase = Phase::HalfOpen {
            probe: self.probes,
            lapses,
            pause,
        };
        show(BreakerState::HalfOpen);
        self.probes
    }

    // ## (Closed | HalfOpen) => Open
    fn open(&mut self, pause: Duration) {
        // Many processes that lost one store together do not come back to it together.
        let jittered = pause * rand::random_range(75..=125) / 100;
        self.phase = Phase::Open {
            until: monotonic_now() + jittered,
            pause,
        };
        show(BreakerState::Open);
    }

    // ## HalfOpen => Closed
    fn close(&mut self) {
        self.phase = Phase::CALM;
        self.last_failure = None;
        show(BreakerState::Closed);
        tracing::info!(
            target: "quota::breaker",
            "the counter store answers again: the breaker is closed"
        );
    }

    /// Counts a failure while closed; the fifth in a row opens.
    fn count_failure(&mut self, kind: StoreErrorKind) {
        let Phase::Closed {
            failures,
            failing_since,
        } = &mut self.phase
        else {
            return;
        };
        let now = monotonic_now();
        *failures += 1;
        let failing = now.saturating_duration_since(*failing_since.get_or_insert(now));
        if *failures >= FAILURES_TO_OPEN || (*failures >= 2 && failing >= FAILING_TO_OPEN) {
            tracing::error!(
                target: "quota::breaker",
                failures = *failures,
                kind = kind.as_str(),
                "the counter store keeps failing: the breaker is open"
            );
            self.open(FIRST_PAUSE);
        }
    }
}

impl Permit<'_> {
    pub(super) fn report(mut self, ending: Ending) {
        let probe = self.probe.take();
        if let (None, Ending::Answered, true) =
            (probe, ending, self.breaker.calm.load(Ordering::Relaxed))
        {
            return;
        }
        let mut inner = self.breaker.inner();
        match (&inner.phase, ending) {
            (Phase::Closed { .. }, Ending::Answered) => inner.phase = Phase::CALM,
            (Phase::Closed { .. }, Ending::Failed(kind)) => inner.count_failure(kind),
            (Phase::HalfOpen { probe: current, .. }, Ending::Answered)
                if probe == Some(*current) =>
            {
                inner.close();
            }
            (
                Phase::HalfOpen {
                    probe: current,
                    pause,
                    ..
                },
                Ending::Failed(_),
            ) if probe == Some(*current) => {
                let pause = (*pause * 2).min(LONGEST_PAUSE);
                inner.open(pause);
            }
            // Sent before the breaker opened: only a probe decides now.
            (Phase::Open { .. } | Phase::HalfOpen { .. }, _) => {}
        }
        let calm = matches!(inner.phase, Phase::Closed { failures: 0, .. });
        self.breaker.calm.store(calm, Ordering::Relaxed);
    }
}

impl Drop for Permit<'_> {
    /// A probe whose caller went away has learned nothing: the next operation is the probe.
    fn drop(&mut self) {
        let Some(dropped) = self.probe else {
            return;
        };
        let mut inner = self.breaker.inner();
        if let Phase::HalfOpen { probe, pause, .. } = inner.phase
            && probe == dropped
        {
            inner.phase = Phase::Open {
                until: monotonic_now(),
                pause,
            };
            show(BreakerState::Open);
        }
    }
}

fn show(state: BreakerState) {
    metrics::gauge!("quota_breaker_state").set(state.gauge());
}

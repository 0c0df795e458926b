//! Where the time comes from.

use std::{fmt, sync::Arc, time::SystemTime};

use crate::UnixMillis;

/// Tells the time of day.
///
/// An implementor may stand still or be moved by hand, but never steps back by more than the
/// system clock does.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> UnixMillis;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> UnixMillis {
        (**self).now()
    }
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the time of day"
    )]
    fn now(&self) -> UnixMillis {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        UnixMillis::default().saturating_add(since_epoch)
    }
}

/// A clock that tests move by hand; clones share one time.
#[cfg(any(test, feature = "test-util"))]
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<std::sync::atomic::AtomicU64>);

#[cfg(any(test, feature = "test-util"))]
impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        let clock = Self::default();
        clock.set(now);
        clock
    }

    /// Moves the clock to `now`.
    pub fn set(&self, now: UnixMillis) {
        // Nothing else is ordered by the time.
        self.0
            .store(now.get(), std::sync::atomic::Ordering::Relaxed);
    }

    /// Moves the clock on.
    pub fn advance(&self, duration: std::time::Duration) {
        self.set(self.now().saturating_add(duration));
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis::new(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

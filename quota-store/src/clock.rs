//! Where the time comes from.

use std::{fmt, sync::Arc};

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
///
/// On Linux it moves on with each tick of the kernel, every 1 to 10 ms, which costs a fraction of
/// what the exact time does.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    fn now(&self) -> UnixMillis {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        // Before 1970 it is 1970.
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let millis = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or_default();
        UnixMillis::new(seconds.saturating_mul(1000).saturating_add(millis))
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the time of day"
    )]
    fn now(&self) -> UnixMillis {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
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

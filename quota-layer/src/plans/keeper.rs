//! Plans that the database keeps: loaded when they changed, and looked at now and then.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quota_store::{
    UnixMillis,
    directory::{Directory, StoredPlans},
};

use super::cached::{LOAD_TIMEOUT, PAUSE, answer_of};
use crate::{metrics, shared::Shared};

/// How often a process looks whether plans changed, where no request tells it.
const EVERY: Duration = Duration::from_secs(3);

/// Loads plans from the database.
pub(crate) struct PlansKeeper {
    directory: Arc<dyn Directory>,
    /// Until when the database is left alone after it did not answer, in milliseconds.
    down_until: AtomicU64,
}

impl fmt::Debug for PlansKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlansKeeper").finish_non_exhaustive()
    }
}

impl PlansKeeper {
    pub(crate) fn new(directory: Arc<dyn Directory>) -> Self {
        Self {
            directory,
            down_until: AtomicU64::new(0),
        }
    }

    /// Whether the database did not answer a moment ago.
    pub(crate) fn is_down(&self, now: UnixMillis) -> bool {
        // Whoever reads an older value asks once more than needed.
        now.get() < self.down_until.load(Ordering::Relaxed)
    }

    /// What the database keeps now; `None` where it does not answer, which is in the log.
    pub(crate) async fn load(&self, now: UnixMillis) -> Option<StoredPlans> {
        if self.is_down(now) {
            return None;
        }
        let loading = self.directory.plans();
        match answer_of(tokio::time::timeout(LOAD_TIMEOUT, loading).await) {
            Ok(plans) => Some(plans),
            Err(why) => {
                let until = now.saturating_add(PAUSE);
                // Whoever reads an older value asks once more than needed.
                self.down_until.store(until.get(), Ordering::Relaxed);
                metrics::directory_failed();
                tracing::warn!(
                    target: "quota::plan",
                    why,
                    "the plans of the database can't be read; those last known go on"
                );
                None
            }
        }
    }
}

/// Looks now and then whether another process changed plans, as long as the layer lives.
pub(crate) async fn watch(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.refresh_plans().await;
        shared.register_windows(&shared.runtime.load_full()).await;
    }
}

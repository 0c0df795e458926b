//! The reservations that this process holds, renewed while their requests live.

use std::{
    sync::{Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use quota_store::{Renewed, Reservation};
use slab::Slab;

use super::Tracked;

/// How many reservations one call renews.
const RENEWED_AT_ONCE: usize = 512;

/// A place among the live reservations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiveKey(usize);

/// Every reservation that is neither settled nor handed over for release.
#[derive(Debug)]
pub(super) struct LiveReservations {
    /// Held for a few instructions at a time, never across an await.
    slab: Mutex<Slab<Reservation>>,
    /// How long one may be renewed.
    max_reservation: Duration,
}

impl LiveReservations {
    pub(super) fn new(max_reservation: Duration) -> Self {
        Self {
            slab: Mutex::default(),
            max_reservation,
        }
    }

    pub(super) const fn max_reservation(&self) -> Duration {
        self.max_reservation
    }

    pub(super) fn insert(&self, reservation: &Reservation) -> LiveKey {
        LiveKey(self.slab().insert(reservation.clone()))
    }

    pub(super) fn remove(&self, key: LiveKey) {
        let removed = self.slab().try_remove(key.0);
        // Outside of the lock: it may be the last reference.
        drop(removed);
    }

    fn slab(&self) -> MutexGuard<'_, Slab<Reservation>> {
        // A panic elsewhere leaves a whole slab behind: every change is one call.
        self.slab.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews all live reservations in one call, again and again, until the settler is gone.
pub(super) async fn renew_for_ever(tracked: Weak<Tracked>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(tracked) = tracked.upgrade() else {
            return;
        };
        tracked.renew().await;
    }
}

impl Tracked {
    async fn renew(&self) {
        let now = self.store.now();
        let (live, renewable) = {
            let slab = self.live.slab();
            let young = |reservation: &&Reservation| {
                now.saturating_since(reservation.reserved_at) < self.live.max_reservation
            };
            let renewable: Vec<Reservation> = slab
                .iter()
                .map(|(_, reservation)| reservation)
                .filter(young)
                .cloned()
                .collect();
            (slab.len(), renewable)
        };
        self.metrics.reservations(live);
        if renewable.is_empty() {
            return;
        }
        // Each call has the whole time-out of an operation, however many there are.
        for some in renewable.chunks(RENEWED_AT_ONCE) {
            self.renew_some(some).await;
        }
    }

    async fn renew_some(&self, reservations: &[Reservation]) {
        match self.store.renew(reservations).await {
            Ok(renewed) => {
                let gone = renewed.iter().filter(|one| **one == Renewed::Gone).count();
                if gone > 0 {
                    tracing::debug!(
                        target: "quota::renew",
                        gone,
                        "reservations were settled or had expired when they were renewed"
                    );
                }
            }
            Err(error) => tracing::error!(
                target: "quota::renew",
                error = %error,
                count = reservations.len(),
                "reservations could not be renewed; they are tried again"
            ),
        }
    }
}

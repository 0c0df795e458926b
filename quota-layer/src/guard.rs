//! Holds units for one request: whatever becomes of it, they are settled once.

use std::{mem, sync::Arc};

use quota_store::{
    Amounts, Commit, Reservation, ReservationId, Reserve, Settled, StoreError, ledger::Attempt,
};

use crate::{record::Committed, settler::LiveKey, shared::Shared};

/// Settles a reservation, or hands that to the settler when it is dropped before.
#[derive(Debug)]
pub(crate) struct Guard {
    shared: Arc<Shared>,
    stage: Stage,
}

/// What is charged, and what the ledger is to say of it.
#[derive(Debug)]
pub(crate) struct Charged {
    pub(crate) amounts: Amounts,
    /// `None` without a ledger.
    pub(crate) attempt: Option<Arc<Attempt>>,
}

/// How far the reservation is.
#[derive(Debug)]
enum Stage {
    /// The store was or will be asked, and has not answered.
    Asking(Arc<Reserve>),
    /// The store holds the units.
    Held(Reservation, LiveKey),
    /// The head was a success: the units are charged, whatever happens now.
    Committing(Commit, LiveKey),
    /// Settled, or somebody else's to settle.
    Over,
}

impl Guard {
    /// Guards a reserve that is about to be sent.
    pub(crate) fn new(shared: &Arc<Shared>, request: &Arc<Reserve>) -> Self {
        Self {
            shared: Arc::clone(shared),
            stage: Stage::Asking(Arc::clone(request)),
        }
    }

    /// The attempt's id, while there is something to settle.
    pub(crate) fn attempt(&self) -> Option<ReservationId> {
        match &self.stage {
            Stage::Asking(request) => Some(request.id),
            Stage::Held(reservation, _) => Some(reservation.request.id),
            Stage::Committing(commit, _) => Some(commit.reservation.request.id),
            Stage::Over => None,
        }
    }

    /// The store answered that it holds the units.
    pub(crate) fn held(&mut self, reservation: Reservation) {
        // Asking => Held
        let key = self.shared.settler.keep_alive(&reservation);
        self.stage = Stage::Held(reservation, key);
    }

    /// The store answered that it holds nothing.
    pub(crate) fn nothing_held(mut self) {
        // Asking => Over
        self.stage = Stage::Over;
    }

    /// Charges the units, and waits for that at most once.
    ///
    /// Where it is not acknowledged the settler goes on with it.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point, the units are charged all the same.
    pub(crate) async fn commit(&mut self, charge: Charged) -> Result<Committed, StoreError> {
        self.begin_commit(charge);
        let Stage::Committing(commit, key) = &self.stage else {
            return Ok(Committed {
                settled: Settled::Already,
                recording: None,
            });
        };
        let key = *key;
        let committed = self.shared.commit(commit).await?;
        // Committing => Over
        self.stage = Stage::Over;
        self.shared.settler.let_go(key);
        Ok(committed)
    }

    /// Hands the charge to the settler, and waits only for a place in its queue.
    pub(crate) async fn commit_later(&mut self, charge: Charged) {
        self.begin_commit(charge);
        if let Stage::Committing(commit, key) = &self.stage {
            let place = self.shared.settler.place_for_commit().await;
            place.take(commit.clone(), *key);
            // Committing => Over
            self.stage = Stage::Over;
        }
    }

    /// Gives the units back, and waits for that at most once.
    ///
    /// Where it is not acknowledged the settler goes on with it.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point, the units are given back all the same.
    pub(crate) async fn release(&mut self) -> Result<Settled, StoreError> {
        let Stage::Held(reservation, key) = &self.stage else {
            return Ok(Settled::Already);
        };
        let key = *key;
        let settled = self.shared.store.release(reservation).await?;
        // Held => Over
        self.stage = Stage::Over;
        self.shared.settler.let_go(key);
        Ok(settled)
    }

    fn begin_commit(&mut self, charge: Charged) {
        self.stage = match mem::replace(&mut self.stage, Stage::Over) {
            // Held => Committing
            Stage::Held(reservation, key) => {
                let commit = Commit {
                    reservation,
                    amounts: charge.amounts,
                    attempt: charge.attempt,
                };
                Stage::Committing(commit, key)
            }
            other => other,
        };
    }

    /// Hands whatever is left to settle to the settler.
    ///
    /// It does not panic, wait or spawn: the runtime may be shutting down.
    pub(crate) fn hand_over(&mut self) {
        match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Asking(request) => self.shared.settler.abort(request),
            Stage::Held(reservation, key) => {
                self.shared.settler.let_go(key);
                self.shared.settler.release(reservation);
            }
            Stage::Committing(commit, key) => self.shared.settler.commit(commit, key),
            Stage::Over => {}
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.hand_over();
    }
}

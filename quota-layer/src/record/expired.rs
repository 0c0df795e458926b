//! Reservations of this process that expired: nobody settled them in time.

use std::sync::{Arc, Weak};

use quota_store::{
    Orphans, Reservation,
    ledger::{Charged, Outcome, PostingKind},
};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Draft, Records, draft, posting};

impl Records {
    /// Records what expires from now on, until the store is gone.
    pub(crate) fn hear_of_expired(self: &Arc<Self>, mut expired: UnboundedReceiver<Reservation>) {
        let records = Arc::downgrade(self);
        drop(tokio::spawn(async move {
            while let Some(reservation) = expired.recv().await {
                let Some(records) = Weak::upgrade(&records) else {
                    return;
                };
                records.expired(&reservation);
            }
        }));
    }

    fn expired(self: &Arc<Self>, reservation: &Reservation) {
        let request = &*reservation.request;
        let is_charged = request.orphans == Orphans::Charge;
        let attempt = Draft::new(self, request.id, reservation.reserved_at)
            .of(&request.requester)
            .charged(charges(reservation, is_charged));
        let Some(mut attempt) = attempt else {
            return;
        };
        attempt.outcome = Outcome::Expired;
        if is_charged {
            let held = reservation.reserved_amounts();
            drop(self.keep(attempt, posting(reservation, &held, PostingKind::Expire)));
        } else {
            self.note(attempt);
        }
    }
}

/// What was held of each quota.
fn charges(reservation: &Reservation, is_charged: bool) -> Vec<Charged> {
    let mut charges: Vec<Charged> = Vec::new();
    for hold in reservation.request.holds.iter() {
        let quota = &hold.counter.quota;
        if charges.iter().all(|known| known.quota != *quota) {
            let amount = is_charged.then_some(hold.amount);
            charges.push(draft::charged(quota, hold.amount, amount));
        }
    }
    charges
}

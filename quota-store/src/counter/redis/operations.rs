//! What the store asks of its scripts.

use std::sync::Arc;

use super::{
    MOST_COUNTERS, RedisCounterStore,
    failure::Failure,
    gather::{Answer, Claim},
    items::{self, Ending, Order},
    replies::{self, Outcome},
    script::{Item, Words},
    sweep,
};
use crate::{
    CounterKey, CounterValue, Decision, Renewed, Requester, Reservation, Reserve, Scope, Sends,
    Settled, StoreError, StoreErrorKind,
};

impl RedisCounterStore {
    pub(super) async fn decide(
        &self,
        request: &Arc<Reserve>,
        mut sends: Sends,
        claim: &Claim,
    ) -> Result<Decision, Failure> {
        let address = self.address(&request.requester);
        let counters = request.holds.iter().map(|hold| &*hold.counter);
        check_counters(&request.requester, &counters)?;
        let order = Order::of(&counters);
        let expected = self.expected(address.partition);
        let mut is_second = false;
        loop {
            // Sent before it is waited for, so that it is no part of the future.
            let reply = self
                .reserves
                .send(items::reserve(request, &address, &order, expected), claim);
            let answer = match reply.wait().await {
                Err(failure) if failure.is_broken() && !is_second => {
                    // It may have run: the claim stays as sent until it goes out again.
                    is_second = true;
                    sends = Sends::Repeated;
                    Box::pin(self.link.ready()).await;
                    claim.repeat();
                    continue;
                }
                Err(failure) if is_second => return Err(failure.after_a_send()),
                outcome => outcome?,
            };
            self.learn_time(answer.now);
            match replies::outcome(&answer, request, &order, sends)? {
                Outcome::Decided(decision) => {
                    if let Decision::Allowed(allowed) = &decision {
                        self.learn_epoch(address.partition, allowed.reservation.epoch.0);
                    } else if is_second {
                        // The first copy may be on its way, and fit when it arrives.
                        let abort =
                            items::ending(&Ending::Abort(request), &address, &order, expected);
                        let aborted = self.endings.send(abort, &Claim::default()).wait().await;
                        aborted.map_err(Failure::after_a_send)?;
                    }
                    return Ok(decision);
                }
                Outcome::ReapMore if is_second => claim.repeat(),
                Outcome::ReapMore => claim.renew(),
            }
        }
    }

    pub(super) async fn end(&self, ending: Ending<'_>) -> Result<Settled, StoreError> {
        let claim = Claim::default();
        let work = async {
            let request = ending.request();
            let counters = request.holds.iter().map(|hold| &*hold.counter);
            check_counters(&request.requester, &counters)?;
            if ending.length() != request.holds.len() {
                return Err(invalid("it has another number of amounts than of holds"));
            }
            let order = Order::of(&counters);
            let address = self.address(&request.requester);
            let expected = self.expected(address.partition);
            let item = items::ending(&ending, &address, &order, expected);
            let answer = self.endings.send(item, &claim).wait().await?;
            self.learn_time(answer.now);
            let settled = replies::settled(&answer, &order)?;
            self.note_charge(&ending, &settled);
            Ok(settled)
        };
        self.bounded(&claim, work).await
    }

    pub(super) async fn renew_some(
        &self,
        reservations: &[Reservation],
        renewed: &mut Vec<Renewed>,
    ) -> Result<(), Failure> {
        let items: Vec<Item> = reservations
            .iter()
            .map(|reservation| {
                let address = self.address(&reservation.request.requester);
                items::renewal(&reservation.request, &address)
            })
            .collect();
        let mut head = Words::default();
        head.push(items::duration_millis(self.memory))
            .push(items.len());
        let answers = self
            .link
            .run(&self.scripts.renew, &head, items.iter())
            .await?;
        for answer in Answer::all(&answers)? {
            let answer = answer?;
            self.learn_time(answer.now);
            renewed.push(replies::renewed(&answer)?);
        }
        Ok(())
    }

    pub(super) async fn read_all(
        &self,
        requester: &Requester,
        counters: &[CounterKey],
    ) -> Result<Vec<CounterValue>, Failure> {
        check_counters(requester, &counters.iter())?;
        let address = self.address(requester);
        let order = Order::of(&counters.iter());
        let expected = self.expected(address.partition);
        let item = items::read(&address, counters, &order, expected);
        loop {
            let answer = self
                .ask(&self.scripts.read, &Words::default(), &item)
                .await?;
            if let Some(values) = replies::read(&answer, &order)? {
                return Ok(values);
            }
            sweep::sweep_partition(&self.link, &self.scripts.sweep, &address, self.memory).await?;
        }
    }
}

/// Refuses what would have no meaning.
fn check_counters<'a>(
    requester: &Requester,
    counters: &(impl ExactSizeIterator<Item = &'a CounterKey> + Clone),
) -> Result<(), Failure> {
    if counters.len() > MOST_COUNTERS {
        return Err(invalid("it has more than 1000 counters"));
    }
    for (place, counter) in counters.clone().enumerate() {
        if counter.scope == Scope::Tenant && requester.tenant.is_none() {
            return Err(invalid("a counter of the tenant needs a tenant"));
        }
        if counters.clone().take(place).any(|other| other == counter) {
            return Err(invalid("one counter is there twice"));
        }
    }
    Ok(())
}

pub(super) fn invalid(text: &'static str) -> Failure {
    Failure::new(StoreErrorKind::Invalid, text)
}

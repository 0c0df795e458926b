//! Random steps, compared with a plain table of numbers.

use std::sync::Arc;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    StoreUnderTest,
    ask::{
        Ask, LIFETIME, abort, administer, allowed, assert_void, at_most, by_limits, commit,
        correct, counter, denied, read_all, release, requester, send, send_again, units, value,
        window_of,
    },
};
use crate::{
    Act, Administered, Bound, CounterKey, CounterStore, CounterValue, CounterValues, Renewed,
    Requester, Reservation, Reserve, Scope, Settled,
};

/// The same random steps on the store and on a table give the same answers and numbers.
///
/// The seed is fixed, so that a failure can be repeated.
pub async fn random_steps_agree_with_a_table(under: impl StoreUnderTest) {
    let mut random = StdRng::seed_from_u64(7);
    let mut table = Table::new(&under);
    for step in 0..600 {
        match random.random_range(0..12) {
            0..4 => table.reserve(&under, &mut random).await,
            4 => table.send_again(&under, &mut random).await,
            5 | 6 => table.commit(&under, &mut random).await,
            7 => table.release(&under, &mut random).await,
            8 => table.abort(&under, &mut random).await,
            9 => table.correct(&under, &mut random).await,
            10 => table.renew(&under, &mut random).await,
            _ => table.administer(&under, &mut random).await,
        }
        table.compare(&under, step).await;
    }
    table.settle_all(&under).await;
    assert_eq!(under.leftovers().await, Vec::<String>::new());
}

/// How far a reserve got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Denied,
    Live,
    Committed,
    Corrected,
    Released,
    Aborted,
}

struct Record {
    request: Arc<Reserve>,
    reservation: Option<Reservation>,
    // The places of its counters in the table.
    places: Vec<usize>,
    state: State,
    is_repeated: bool,
}

struct Table {
    requesters: [Requester; 3],
    // Two windows in both scopes.
    counters: [CounterKey; 4],
    // One row of two windows for each user and the tenant.
    values: [(u64, u64); 8],
    records: Vec<Record>,
}

impl Table {
    fn new(under: &impl StoreUnderTest) -> Self {
        let century = window_of(36_525 * 86_400, under.store().now());
        Self {
            requesters: [
                requester(None, "ama"),
                requester(Some("acme"), "ama"),
                requester(Some("acme"), "kofi"),
            ],
            counters: [
                counter(Scope::User, "messages", LIFETIME),
                counter(Scope::User, "messages", century),
                counter(Scope::Tenant, "messages", LIFETIME),
                counter(Scope::Tenant, "messages", century),
            ],
            values: [(0, 0); 8],
            records: Vec::new(),
        }
    }

    /// The place in the table of a requester's counter.
    fn place(who: usize, which: usize) -> usize {
        if which < 2 {
            2 * who + which
        } else {
            4 + which
        }
    }

    fn value(&self, place: usize) -> CounterValue {
        let (used, reserved) = self.values[place];
        value(used, reserved)
    }

    fn values(&self, places: &[usize]) -> CounterValues {
        places.iter().map(|place| self.value(*place)).collect()
    }

    async fn compare(&self, under: &impl StoreUnderTest, step: usize) {
        for (who, requester) in self.requesters.iter().enumerate() {
            let count = if requester.tenant.is_some() { 4 } else { 2 };
            let stored = read_all(under, requester, &self.counters[..count]).await;
            for (which, stored) in stored.into_iter().enumerate() {
                let expected = self.value(Self::place(who, which));
                assert_eq!(stored, expected, "step {step}, user {who}, counter {which}");
            }
        }
    }

    async fn reserve(&mut self, under: &impl StoreUnderTest, random: &mut StdRng) {
        let who = random.random_range(0..3);
        let count = if who == 0 { 2 } else { 4 };
        let mut ask = Ask::of(under, &self.requesters[who]);
        let (mut places, mut tight) = (Vec::new(), Vec::new());
        for which in 0..count {
            if random.random_ratio(3, 10) {
                continue;
            }
            let amount = random.random_range(0..12);
            let hard = random.random_range(20..90);
            let is_unlimited = random.random_ratio(1, 5);
            let bound = if is_unlimited {
                Bound::Unlimited
            } else {
                at_most(hard)
            };
            let place = Self::place(who, which);
            let (used, reserved) = self.values[place];
            if !is_unlimited && amount > 0 && used + reserved + amount > hard {
                tight.push(places.len());
            }
            places.push(place);
            ask = ask.hold(&self.counters[which], bound, amount);
        }
        let request = ask.request();
        let decision = send(under, &request).await;
        let mut record = Record {
            request,
            reservation: None,
            places,
            state: State::Denied,
            is_repeated: false,
        };
        if tight.is_empty() {
            for (place, hold) in record.places.iter().zip(record.request.holds.iter()) {
                self.values[*place].1 += hold.amount.get();
            }
            let allowed = allowed(decision);
            assert_eq!(allowed.counters, self.values(&record.places));
            record.reservation = Some(allowed.reservation);
            record.state = State::Live;
        } else {
            let denied = denied(decision);
            assert_eq!(denied.cause, by_limits(&tight));
            assert_eq!(denied.counters, self.values(&record.places));
        }
        self.records.push(record);
    }

    fn pick(&self, random: &mut StdRng) -> Option<usize> {
        // Mostly a recent one, or nearly all would be settled long since.
        let oldest = self.records.len().saturating_sub(25);
        (!self.records.is_empty()).then(|| random.random_range(oldest..self.records.len()))
    }

    async fn send_again(&mut self, under: &impl StoreUnderTest, random: &mut StdRng) {
        let Some(index) = self.pick(random) else {
            return;
        };
        let values = self.values(&self.records[index].places);
        let record = &mut self.records[index];
        match record.state {
            State::Live => {
                let allowed = allowed(send_again(under, &record.request).await);
                assert_eq!(allowed.counters, values);
                record.reservation = Some(allowed.reservation);
                record.is_repeated = true;
            }
            State::Aborted => assert_void(&send_again(under, &record.request).await),
            State::Committed | State::Corrected | State::Released if record.is_repeated => {
                assert_void(&send_again(under, &record.request).await);
            }
            // A caller that was answered never sends again.
            _ => {}
        }
    }

    /// Takes a record's units out of the table if it is live, and charges it; what the store
    /// must answer.
    fn end(&mut self, index: usize, amounts: &[u64], state: State) -> Settled {
        let record = &mut self.records[index];
        if record.state != State::Live {
            return Settled::Already;
        }
        record.state = state;
        for (at, place) in record.places.iter().enumerate() {
            self.values[*place].1 -= record.request.holds[at].amount.get();
            self.values[*place].0 += amounts.get(at).copied().unwrap_or_default();
        }
        Settled::Done(self.values(&self.records[index].places))
    }

    async fn commit(&mut self, under: &impl StoreUnderTest, random: &mut StdRng) {
        let Some(index) = self.pick(random) else {
            return;
        };
        let Some(reservation) = self.records[index].reservation.clone() else {
            return;
        };
        let count = reservation.request.holds.len();
        let amounts: Vec<_> = (0..count).map(|_| random.random_range(0..9)).collect();
        let expected = self.end(index, &amounts, State::Committed);
        assert_eq!(commit(under, &reservation, &amounts).await, expected);
    }

    async fn release(&mut self, under: &impl StoreUnderTest, random: &mut StdRng) {
        let Some(index) = self.pick(random) else {
            return;
        };
        let Some(reservation) = self.records[index].reservation.clone() else {
            return;
        };
        let expected = self.end(index, &[], State::Released);
        assert_eq!(release(under, &reservation).await, expected);
    }

    async fn abort(&mut self, under: &impl StoreUnderTest, random: &mut StdRng) {
        let Some(index) = self.pick(random) else {
            return;
        };
        // A caller that was told the outcome does not abort any more.
        if !matches!(
            self.records[index].state,
            State::Denied | State::Live | State::Aborted
        ) {
            return;
        }
        let expected = self.end(index, &[], State::Aborted);
        self.records[index].state = State::Aborted;
        let request = Arc::clone(&self.records[index].request);
        assert_eq!(abort(under, &request).await, expected);
    }

    async fn correct(&mut self, under: &impl StoreUnderTest, random: &mut StdRng) {
        let Some(index) = self.pick(random) else {
            return;
        };
        let record = &mut self.records[index];
        let Some(reservation) = record.reservation.clone() else {
            return;
        };
        let count = record.places.len();
        let differences: Vec<i64> = (0..count).map(|_| random.random_range(-15..10)).collect();
        let expected = match record.state {
            State::Committed => {
                record.state = State::Corrected;
                for (place, difference) in record.places.iter().zip(&differences) {
                    let used = &mut self.values[*place].0;
                    *used = used.saturating_add_signed(*difference);
                }
                Settled::Done(self.values(&self.records[index].places))
            }
            State::Corrected => Settled::Already,
            _ => return,
        };
        assert_eq!(correct(under, &reservation, &differences).await, expected);
    }

    async fn renew(&mut self, under: &impl StoreUnderTest, random: &mut StdRng) {
        let Some(index) = self.pick(random) else {
            return;
        };
        let record = &self.records[index];
        let Some(reservation) = record.reservation.clone() else {
            return;
        };
        let is_live = record.state == State::Live;
        let expected = if is_live {
            Renewed::Held
        } else {
            Renewed::Gone
        };
        let answers = under.store().renew(&[reservation]).await;
        assert_eq!(answers.expect("the store answers"), [expected]);
    }

    async fn administer(&mut self, under: &impl StoreUnderTest, random: &mut StdRng) {
        let who = random.random_range(0..3);
        let which = random.random_range(0..if who == 0 { 2 } else { 4 });
        let place = Self::place(who, which);
        let before = self.value(place);
        let key = self.counters[which].clone();
        let used = &mut self.values[place].0;
        let act = match random.random_range(0..3) {
            0 => {
                *used = 0;
                Act::Reset(key)
            }
            1 => {
                *used = random.random_range(0..40);
                Act::SetUsed(key, units(*used))
            }
            _ => {
                let difference = random.random_range(-30..10);
                *used = used.saturating_add_signed(difference);
                Act::AddUsed(key, difference)
            }
        };
        let after = self.value(place);
        let done = administer(under, &self.requesters[who], act).await;
        assert_eq!(done, Administered::Counter { before, after });
    }

    async fn settle_all(&mut self, under: &impl StoreUnderTest) {
        for index in 0..self.records.len() {
            if let Some(reservation) = self.records[index].reservation.clone() {
                let expected = self.end(index, &[], State::Released);
                assert_eq!(release(under, &reservation).await, expected);
            }
        }
        self.compare(under, usize::MAX).await;
        assert!(self.values.iter().all(|(_, reserved)| *reserved == 0));
    }
}

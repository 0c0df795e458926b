//! What is asked of the scripts.

use smallvec::SmallVec;

use super::{
    keys::{Address, Field},
    script::{Item, Words},
};
use crate::{
    Act, Commit, Correction, CounterKey, KnownGeneration, Operation, Orphans, Reservation, Reserve,
    Scope, Sends, UnixMillis,
};

/// Instants and durations stop here, so that Lua keeps them and their sums exactly.
const LATEST_MILLIS: u64 = 1 << 52;

/// The places of the counters in the order that the scripts want: the user's, then the tenant's.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) places: SmallVec<[usize; 3]>,
    users: usize,
}

impl Order {
    pub(super) fn of<'a>(counters: &(impl Iterator<Item = &'a CounterKey> + Clone)) -> Self {
        let of_scope = |scope| {
            counters
                .clone()
                .enumerate()
                .filter(move |(_, counter)| counter.scope == scope)
                .map(|(place, _)| place)
        };
        let mut places: SmallVec<[usize; 3]> = of_scope(Scope::User).collect();
        let users = places.len();
        places.extend(of_scope(Scope::Tenant));
        Self { places, users }
    }

    /// How many are the user's, and how many the tenant's.
    fn counts(&self) -> impl Iterator<Item = i64> {
        [self.users, self.places.len() - self.users]
            .into_iter()
            .map(|count| i64::try_from(count).unwrap_or(i64::MAX))
    }
}

fn holds_in_order<'a>(
    request: &'a Reserve,
    order: &'a Order,
) -> impl Iterator<Item = &'a crate::Hold> {
    order.places.iter().map(|&place| &request.holds[place])
}

/// The record of a live reservation, which is made again to settle it.
pub(super) fn member(request: &Reserve, address: &Address) -> String {
    use std::fmt::Write as _;
    let orphans = match request.orphans {
        Orphans::Release => 'r',
        Orphans::Charge => 'c',
    };
    let id = request.id.as_uuid().simple();
    let mut member = format!("{id} {orphans} {}", address.member());
    for hold in request.holds.iter().filter(|hold| !hold.amount.is_zero()) {
        let scope = match hold.counter.scope {
            Scope::User => 'u',
            Scope::Tenant => 't',
        };
        // Writing to a string does not fail.
        let _ = write!(member, " {scope}{}={}", Field(&hold.counter), hold.amount);
    }
    member
}

fn push_keys(keys: &mut Words, address: &Address, request: &Reserve) {
    keys.push(address.epoch())
        .push(address.index())
        .push(address.marker(request.id))
        .push(address.subject(Scope::User))
        .push(address.subject(Scope::Tenant));
}

fn millis(instant: UnixMillis) -> u64 {
    instant.get().min(LATEST_MILLIS)
}

/// Amounts and instants are below 2^53.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn duration_millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(LATEST_MILLIS)
        .min(LATEST_MILLIS)
}

fn push_generation(words: &mut Words, known: KnownGeneration) {
    match known {
        KnownGeneration::Untracked => words.push('-'),
        KnownGeneration::Cached(generation) => words.push(format_args!("c{}", generation.0)),
        KnownGeneration::Fresh(generation) => words.push(format_args!("f{}", generation.0)),
    };
}

pub(super) fn reserve(request: &Reserve, address: &Address, order: &Order) -> Item {
    let mut item = Item::default();
    push_keys(&mut item.keys, address, request);
    let words = &mut item.arguments;
    words.push(member(request, address));
    push_generation(words, request.user_generation);
    push_generation(words, request.tenant_generation);
    let spans = || request.holds.iter().map(|hold| hold.counter.span);
    let latest_start = spans().map(crate::WindowSpan::start).max();
    let earliest_end = spans().filter_map(crate::WindowSpan::end).min();
    let numbers = [
        millis(request.not_after),
        duration_millis(request.ttl),
        u64::from(request.max_in_flight),
        latest_start.map_or(0, millis),
        earliest_end.map_or(LATEST_MILLIS, millis),
    ];
    let holds = holds_in_order(request, order).flat_map(|hold| {
        let hard = hold.hard.amount().map_or(-1, |hard| signed(hard.get()));
        [hard, signed(hold.amount.get())]
    });
    let numbers = numbers.into_iter().map(signed).chain(order.counts());
    words.push_numbers(numbers.chain(holds));
    for hold in holds_in_order(request, order) {
        words.push(Field(&hold.counter));
    }
    item
}

/// What ends a reservation, or corrects it.
#[derive(Debug)]
pub(super) enum Ending<'a> {
    Commit(&'a Commit),
    Release(&'a Reservation),
    Abort(&'a Reserve),
    Correct(&'a Correction),
}

impl Ending<'_> {
    pub(super) fn request(&self) -> &Reserve {
        match self {
            Self::Commit(commit) => &commit.reservation.request,
            Self::Release(reservation) => &reservation.request,
            Self::Abort(request) => request,
            Self::Correct(correction) => &correction.reservation.request,
        }
    }

    fn reservation(&self) -> Option<&Reservation> {
        match self {
            Self::Commit(commit) => Some(&commit.reservation),
            Self::Release(reservation) => Some(reservation),
            Self::Abort(_) => None,
            Self::Correct(correction) => Some(&correction.reservation),
        }
    }

    fn word(&self) -> char {
        match self {
            Self::Commit(_) => 'c',
            Self::Release(_) => 'r',
            Self::Abort(_) => 'a',
            Self::Correct(_) => 'k',
        }
    }

    /// How many counters it speaks of; it must be as many as were reserved.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Commit(commit) => commit.amounts.len(),
            Self::Correct(correction) => correction.differences.len(),
            Self::Release(_) | Self::Abort(_) => self.request().holds.len(),
        }
    }

    fn charge(&self, place: usize) -> i64 {
        match self {
            Self::Commit(commit) => signed(commit.amounts[place].get()),
            Self::Release(_) | Self::Abort(_) => 0,
            Self::Correct(correction) => exact(correction.differences[place]),
        }
    }
}

/// A difference beyond the largest amount has the effect of the largest.
fn exact(difference: i64) -> i64 {
    const MOST: i64 = (1 << 53) - 1;
    difference.clamp(-MOST, MOST)
}

pub(super) fn ending(ending: &Ending<'_>, address: &Address, order: &Order) -> Item {
    const MARKER_SLACK_MILLIS: u64 = 1_000;
    let request = ending.request();
    let reservation = ending.reservation();
    let mut item = Item::default();
    push_keys(&mut item.keys, address, request);
    let words = &mut item.arguments;
    let repeated = reservation.is_some_and(|made| made.sends == Sends::Repeated);
    words
        .push(ending.word())
        .push(member(request, address))
        .push(reservation.map_or(0, |made| made.epoch.0));
    let numbers = [
        reservation.map_or(0, |made| millis(made.reserved_at)),
        millis(request.not_after).saturating_add(MARKER_SLACK_MILLIS),
        u64::from(repeated),
    ];
    let holds = order.places.iter().flat_map(|&place| {
        let held = signed(request.holds[place].amount.get());
        [held, ending.charge(place)]
    });
    let numbers = numbers.into_iter().map(signed).chain(order.counts());
    words.push_numbers(numbers.chain(holds));
    for hold in holds_in_order(request, order) {
        words.push(Field(&hold.counter));
    }
    item
}

pub(super) fn renewal(request: &Reserve, address: &Address) -> Item {
    let mut item = Item::default();
    item.keys.push(address.index());
    item.arguments
        .push(member(request, address))
        .push(duration_millis(request.ttl));
    item
}

pub(super) fn read(address: &Address, counters: &[CounterKey], order: &Order) -> Item {
    let mut item = Item::default();
    item.keys
        .push(address.index())
        .push(address.subject(Scope::User))
        .push(address.subject(Scope::Tenant));
    for count in order.counts() {
        item.arguments.push(count);
    }
    for &place in &order.places {
        item.arguments.push(Field(&counters[place]));
    }
    item
}

/// The first argument of every script that writes, and the epoch for a partition without one.
pub(super) fn head(memory: std::time::Duration) -> Words {
    let mut words = Words::default();
    // Zero stands for an epoch that is not known.
    let candidate: u64 = rand::random_range(1..=u64::MAX);
    words.push(duration_millis(memory)).push(candidate);
    words
}

/// Whom an act is about.
pub(super) fn scope(act: &Act) -> Scope {
    match act {
        Act::Reset(counter) | Act::SetUsed(counter, _) | Act::AddUsed(counter, _) => counter.scope,
        Act::AdvanceGeneration(scope, _) => *scope,
    }
}

pub(super) fn administration(operation: &Operation, address: &Address) -> Item {
    let mut item = Item::default();
    item.keys
        .push(address.epoch())
        .push(address.operation(operation.id))
        .push(address.subject(scope(&operation.act)));
    let words = &mut item.arguments;
    match &operation.act {
        Act::Reset(counter) => words.push('s').push(Field(counter)).push(0),
        Act::SetUsed(counter, amount) => words.push('s').push(Field(counter)).push(amount),
        Act::AddUsed(counter, difference) => words
            .push('a')
            .push(Field(counter))
            .push(exact(*difference)),
        Act::AdvanceGeneration(_, generation) => words.push('g').push("").push(generation.0),
    };
    item
}

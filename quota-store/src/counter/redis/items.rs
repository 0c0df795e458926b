//! What is asked of the scripts.

use std::io::Write as _;

use smallvec::SmallVec;

use super::{
    keys::{self, Address},
    script::{Item, Words},
};
use crate::{
    Act, Commit, Correction, CounterKey, Epoch, KnownGeneration, Operation, Orphans, Reservation,
    Reserve, Scope, Sends, UnixMillis, ledger::event,
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

    fn has_tenant(&self) -> bool {
        self.places.len() > self.users
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
fn push_member(words: &mut Words, request: &Reserve, address: &Address<'_>) {
    words.word(|bytes| {
        bytes.extend_from_slice(request.id.as_uuid().as_bytes());
        bytes.push(match request.orphans {
            Orphans::Release => b'r',
            Orphans::Charge => b'c',
        });
        address.append_member(bytes);
        for hold in request.holds.iter().filter(|hold| !hold.amount.is_zero()) {
            bytes.extend_from_slice(match hold.counter.scope {
                Scope::User => b" u",
                Scope::Tenant => b" t",
            });
            keys::append_field(bytes, &hold.counter);
            // Writing to memory does not fail.
            drop(write!(bytes, "={}", hold.amount));
        }
    });
}

fn push_fields(words: &mut Words, request: &Reserve, order: &Order) {
    for hold in holds_in_order(request, order) {
        words.word(|bytes| keys::append_field(bytes, &hold.counter));
    }
}

/// Numbers of 8 bytes, lowest byte first: scripts read them faster than text.
fn append_numbers(bytes: &mut Vec<u8>, numbers: impl Iterator<Item = i64>) {
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}

/// Nothing stands for no epoch.
pub(super) fn append_optional_epoch(bytes: &mut Vec<u8>, epoch: Option<Epoch>) {
    if let Some(epoch) = epoch {
        append_epoch(bytes, epoch);
    }
}

/// An epoch is 16 digits, which scripts compare without reading them.
fn append_epoch(bytes: &mut Vec<u8>, epoch: Epoch) {
    // Writing to memory does not fail.
    drop(write!(bytes, "{:016x}", epoch.0));
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

/// How a generation is known, and which it is.
fn known(known: KnownGeneration) -> (u64, Option<u64>) {
    match known {
        KnownGeneration::Untracked => (0, None),
        KnownGeneration::Cached(generation) => (1, Some(generation.0)),
        KnownGeneration::Fresh(generation) => (2, Some(generation.0)),
    }
}

/// What a store with a ledger adds: `expected` is the epoch that the partition should have.
pub(super) fn push_expected(words: &mut Words, expected: Option<Epoch>) {
    if let Some(epoch) = expected {
        words.word(|bytes| append_epoch(bytes, epoch));
    }
}

pub(super) fn reserve(
    request: &Reserve,
    address: &Address<'_>,
    order: &Order,
    expected: Option<Epoch>,
) -> Item {
    let mut item = Item::new();
    let (user_known, user_generation) = known(request.user_generation);
    let (tenant_known, tenant_generation) = known(request.tenant_generation);
    let (plans_known, plans_generation) = known(request.plans_generation);
    address.push_epoch(&mut item.keys);
    address.push_index(&mut item.keys);
    address.push_marker(&mut item.keys, request.id);
    address.push_subject(&mut item.keys, Scope::User);
    if order.has_tenant() || tenant_known > 0 {
        address.push_subject(&mut item.keys, Scope::Tenant);
    }
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
    let numbers = numbers.chain([user_known, tenant_known, plans_known].map(signed));
    let words = &mut item.arguments;
    words.word(|bytes| append_numbers(bytes, numbers.chain(holds)));
    push_member(words, request, address);
    push_fields(words, request, order);
    let generations = [user_generation, tenant_generation, plans_generation];
    for generation in generations.into_iter().flatten() {
        words.push(generation);
    }
    push_expected(words, expected);
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

    fn code(&self) -> u64 {
        match self {
            Self::Commit(_) => 1,
            Self::Release(_) => 2,
            Self::Abort(_) => 3,
            Self::Correct(_) => 4,
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

    /// What the ledger will say of it.
    fn event(&self) -> Vec<u8> {
        match self {
            Self::Commit(commit) => event::of_commit(commit),
            Self::Release(_) | Self::Abort(_) => Vec::new(),
            Self::Correct(correction) => event::of_correction(correction),
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

pub(super) fn ending(
    ending: &Ending<'_>,
    address: &Address<'_>,
    order: &Order,
    expected: Option<Epoch>,
) -> Item {
    const MARKER_SLACK_MILLIS: u64 = 1_000;
    let request = ending.request();
    let reservation = ending.reservation();
    let mut item = Item::new();
    address.push_epoch(&mut item.keys);
    address.push_index(&mut item.keys);
    address.push_subject(&mut item.keys, Scope::User);
    if order.has_tenant() {
        address.push_subject(&mut item.keys, Scope::Tenant);
    }
    let numbers = [
        ending.code(),
        reservation.map_or(0, |made| millis(made.reserved_at)),
        millis(request.not_after).saturating_add(MARKER_SLACK_MILLIS),
        u64::from(reservation.is_some_and(|made| made.sends == Sends::Repeated)),
    ];
    let holds = order.places.iter().flat_map(|&place| {
        let held = signed(request.holds[place].amount.get());
        [held, ending.charge(place)]
    });
    let numbers = numbers.into_iter().map(signed).chain(order.counts());
    let words = &mut item.arguments;
    words.word(|bytes| {
        append_epoch(bytes, reservation.map_or(Epoch(0), |made| made.epoch));
        append_numbers(bytes, numbers.chain(holds));
    });
    push_member(words, request, address);
    push_fields(words, request, order);
    if expected.is_some() {
        push_expected(words, expected);
        words.word(|bytes| bytes.append(&mut ending.event()));
    }
    item
}

pub(super) fn renewal(request: &Reserve, address: &Address<'_>) -> Item {
    let mut item = Item::new();
    address.push_index(&mut item.keys);
    push_member(&mut item.arguments, request, address);
    item.arguments.push(duration_millis(request.ttl));
    item
}

pub(super) fn read(
    address: &Address<'_>,
    counters: &[CounterKey],
    order: &Order,
    expected: Option<Epoch>,
) -> Item {
    let mut item = Item::new();
    address.push_index(&mut item.keys);
    address.push_subject(&mut item.keys, Scope::User);
    address.push_subject(&mut item.keys, Scope::Tenant);
    for count in order.counts() {
        item.arguments.push(count);
    }
    for &place in &order.places {
        item.arguments
            .word(|bytes| keys::append_field(bytes, &counters[place]));
    }
    push_expected(&mut item.arguments, expected);
    item
}

/// The first argument of every script that writes, and the epoch for a partition without one.
pub(super) fn head(memory: std::time::Duration) -> Words {
    let mut words = Words::default();
    // Zero stands for an epoch that is not known.
    let candidate: u64 = rand::random_range(1..=u64::MAX);
    words
        .push(duration_millis(memory))
        .word(|bytes| append_epoch(bytes, Epoch(candidate)));
    words
}

/// Whom an act is about.
pub(super) fn scope(act: &Act) -> Scope {
    match act {
        Act::Reset(counter)
        | Act::SetUsed(counter, _)
        | Act::AddUsed(counter, _)
        | Act::Raise(counter, _) => counter.scope,
        Act::AdvanceGeneration(scope, _) => *scope,
    }
}

pub(super) fn administration(
    operation: &Operation,
    address: &Address<'_>,
    expected: Option<Epoch>,
) -> Item {
    let mut item = Item::new();
    address.push_epoch(&mut item.keys);
    address.push_operation(&mut item.keys, operation.id);
    address.push_subject(&mut item.keys, scope(&operation.act));
    let words = &mut item.arguments;
    let mut with_field = |act: char, counter: &CounterKey| {
        words
            .push(act)
            .word(|bytes| keys::append_field(bytes, counter));
    };
    match &operation.act {
        Act::Reset(counter) | Act::SetUsed(counter, _) => with_field('s', counter),
        Act::AddUsed(counter, _) => with_field('a', counter),
        Act::Raise(counter, _) => with_field('m', counter),
        Act::AdvanceGeneration(..) => {
            words.push('g').push("");
        }
    }
    match &operation.act {
        Act::Reset(_) => words.push(0),
        Act::SetUsed(_, amount) | Act::Raise(_, amount) => words.push(amount),
        Act::AddUsed(_, difference) => words.push(exact(*difference)),
        Act::AdvanceGeneration(_, generation) => words.push(generation.0),
    };
    if expected.is_some() {
        push_expected(words, expected);
        let event = event::of_operation(operation);
        words.word(|bytes| bytes.extend(event.unwrap_or_default()));
    }
    item
}

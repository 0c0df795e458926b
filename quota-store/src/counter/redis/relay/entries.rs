//! What streams answer.

use std::{collections::HashMap, time::Duration};

use redis::Value;

use crate::{
    Amount, UnixMillis,
    counter::redis::members,
    ledger::event::{Event, EventKind},
};

/// One entry of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Which stream.
    pub(super) place: usize,
    pub(super) id: String,
    /// Names and values in turn; none where it was removed meanwhile.
    words: Vec<Vec<u8>>,
}

/// An entry, as far as it was understood.
#[derive(Debug)]
pub(super) struct Moved<'a> {
    pub(super) found: &'a Found,
    pub(super) event: Result<Event, Unusable>,
}

/// Why an entry does not go into the ledger.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It was removed: somebody else was faster.
    Gone,
    /// It is kept aside.
    Refused,
}

impl<'a> Moved<'a> {
    pub(super) fn read(found: &'a Found) -> Self {
        let event = if found.words.is_empty() {
            Err(Unusable::Gone)
        } else {
            read(found).map_err(|reason| {
                tell(found, &reason);
                Unusable::Refused
            })
        };
        Self { found, event }
    }

    /// The ledger does not take it.
    pub(super) fn refuse(&mut self, reason: &str) {
        tell(self.found, reason);
        self.event = Err(Unusable::Refused);
    }

    pub(super) fn is_refused(&self) -> bool {
        self.event == Err(Unusable::Refused)
    }
}

fn tell(found: &Found, reason: &str) {
    metrics::counter!("quota_ledger_dropped_total").increment(1);
    tracing::error!(target: "quota::ledger", entry = found.id, partition = found.place, reason,
        "a record that can't go into the ledger is kept aside in Redis, in the stream `d` of its partition"
    );
}

fn read(found: &Found) -> Result<Event, String> {
    let word = |place: usize| found.words.get(place).map(Vec::as_slice);
    let text = word(1).ok_or("it has no value")?;
    let at = UnixMillis::new(millis_of(&found.id).ok_or("its id holds no time")?);
    let kind = match word(0) {
        Some(b"c") => EventKind::Commit,
        Some(b"l") => EventKind::Late,
        Some(b"k") => EventKind::Correction(differences(word(3))?),
        Some(b"a") => {
            let [difference] = *differences(word(3))? else {
                return Err("it has another number of differences than one".to_owned());
            };
            EventKind::Admin { difference, at }
        }
        Some(b"r" | b"o") => {
            let member = members::read(text).ok_or("it is no record of a reservation")?;
            let members::Member {
                id,
                orphans,
                requester,
                held,
            } = member;
            return Ok(Event::expired(id, &requester, orphans, held, at));
        }
        _ => return Err("it is of no kind that this version knows".to_owned()),
    };
    Event::decode(kind, text).map_err(|error| error.to_string())
}

fn differences(text: Option<&[u8]>) -> Result<Vec<i64>, String> {
    let most = Amount::MAX.get();
    let text = text.and_then(|text| str::from_utf8(text).ok());
    let numbers = text.ok_or("it lacks its differences")?.split_whitespace();
    numbers
        .map(|digits| match digits.parse::<i64>() {
            Ok(number) if number.unsigned_abs() <= most => Ok(number),
            _ => Err(format!("{digits:?} is no difference of amounts")),
        })
        .collect()
}

fn millis_of(id: &str) -> Option<u64> {
    id.split_once('-')?.0.parse().ok()
}

/// The answer of `XREADGROUP`: nothing, or each stream with its entries.
pub(super) fn of_streams(answer: Value, places: &HashMap<Vec<u8>, usize>) -> Vec<Found> {
    let mut found = Vec::new();
    let streams: Vec<(Value, Value)> = match answer {
        Value::Map(streams) => streams,
        Value::Array(streams) => streams.into_iter().filter_map(pair).collect(),
        _ => Vec::new(),
    };
    for (stream, entries) in streams {
        if let Some(place) = bytes(stream).and_then(|stream| places.get(&stream)) {
            add(entries, *place, &mut found);
        }
    }
    found
}

/// The answer of `XAUTOCLAIM`: where to go on, entries, and ids of entries that are gone.
pub(super) fn of_claim(answer: Value, place: usize, found: &mut Vec<Found>) {
    if let Value::Array(parts) = answer
        && let Some(entries) = parts.into_iter().nth(1)
    {
        add(entries, place, found);
    }
}

fn add(entries: Value, place: usize, found: &mut Vec<Found>) {
    let Value::Array(entries) = entries else {
        return;
    };
    for (id, words) in entries.into_iter().filter_map(pair) {
        let Some(id) = bytes(id).and_then(|id| String::from_utf8(id).ok()) else {
            continue;
        };
        let words = match words {
            Value::Array(words) => words.into_iter().filter_map(bytes).collect(),
            _ => Vec::new(),
        };
        found.push(Found { place, id, words });
    }
}

fn pair(value: Value) -> Option<(Value, Value)> {
    let Value::Array(parts) = value else {
        return None;
    };
    let [first, second] = <[Value; 2]>::try_from(parts).ok()?;
    Some((first, second))
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

/// The answers of `TIME` and of `XRANGE` for some streams.
pub(super) fn age_of_oldest(answers: Vec<Value>) -> Duration {
    let mut answers = answers.into_iter();
    let now = match answers.next() {
        Some(Value::Array(parts)) => {
            let mut parts = parts.into_iter().filter_map(number);
            let seconds = parts.next().unwrap_or_default();
            seconds * 1_000 + parts.next().unwrap_or_default() / 1_000
        }
        _ => 0,
    };
    let mut found = Vec::new();
    for answer in answers {
        add(answer, 0, &mut found);
    }
    let oldest = found.iter().filter_map(|entry| millis_of(&entry.id)).min();
    Duration::from_millis(oldest.map_or(0, |oldest| now.saturating_sub(oldest)))
}

/// A number of things.
pub(super) fn count(value: &Value) -> usize {
    match value {
        Value::Int(count) => usize::try_from(*count).unwrap_or_default(),
        _ => 0,
    }
}

fn number(value: Value) -> Option<u64> {
    String::from_utf8(bytes(value)?).ok()?.parse().ok()
}

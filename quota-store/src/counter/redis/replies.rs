//! What the scripts answer.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{failure::Failure, gather::Answer, items::Order};
use crate::{
    Administered, Allowed, Amount, Cause, CounterValue, CounterValues, Decision, Denied, Epoch,
    Generation, Renewed, Reservation, Reserve, Scope, Sends, Settled, Stale, UnixMillis,
};

/// The fields of an answer, read from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self) -> Result<u64, Failure> {
        let (number, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| Failure::unreadable("a number"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*number))
    }

    /// Whatever is left.
    fn text(&self) -> Result<&str, Failure> {
        str::from_utf8(self.0).map_err(|_| Failure::unreadable("a text"))
    }

    fn amount(&mut self) -> Result<Amount, Failure> {
        Amount::new(self.number()?).ok_or_else(|| Failure::unreadable("an amount below 2^53"))
    }

    fn counter(&mut self) -> Result<CounterValue, Failure> {
        Ok(CounterValue {
            used: self.amount()?,
            reserved: self.amount()?,
        })
    }

    /// Counters in the order of the holds.
    fn counters(&mut self, order: &Order) -> Result<CounterValues, Failure> {
        let mut counters = smallvec::smallvec![CounterValue::default(); order.places.len()];
        for &place in &order.places {
            counters[place] = self.counter()?;
        }
        Ok(counters)
    }

    /// The places of holds, lowest first.
    fn places(&mut self, order: &Order) -> Result<SmallVec<[usize; 3]>, Failure> {
        let count = self.number()?;
        let mut places = SmallVec::new();
        for _ in 0..count {
            let place = usize::try_from(self.number()?)
                .ok()
                .and_then(|place| order.places.get(place))
                .ok_or_else(|| Failure::unreadable("a place among the holds"))?;
            places.push(*place);
        }
        places.sort_unstable();
        Ok(places)
    }
}

/// What a reserve led to.
#[derive(Debug)]
pub(super) enum Outcome {
    Decided(Decision),
    /// Expired reservations stand in the way: reap on, and decide again.
    ReapMore,
}

pub(super) fn outcome(
    answer: &Answer,
    request: &Arc<Reserve>,
    order: &Order,
    sends: Sends,
) -> Result<Outcome, Failure> {
    let now = UnixMillis::new(answer.now);
    let mut fields = Fields(&answer.body);
    let decision = match answer.code {
        1 => {
            let reserved_at = UnixMillis::new(fields.number()?);
            let counters = fields.counters(order)?;
            let epoch = u64::from_str_radix(fields.text()?, 16)
                .map(Epoch)
                .map_err(|_| Failure::unreadable("an epoch"))?;
            Decision::Allowed(Allowed {
                reservation: Reservation::new(Arc::clone(request), reserved_at, epoch, sends),
                counters,
            })
        }
        2 => {
            let places = fields.places(order)?;
            let cause = if places.is_empty() {
                Cause::InFlight
            } else {
                Cause::Limits(places)
            };
            Decision::Denied(Denied {
                now,
                counters: fields.counters(order)?,
                cause,
            })
        }
        3 => Decision::Void,
        4 => Decision::Stale(Stale::Window { now }),
        5 => Decision::Stale(stale(&mut fields)?),
        6 => return Ok(Outcome::ReapMore),
        _ => return Err(Failure::unreadable("a decision")),
    };
    Ok(Outcome::Decided(decision))
}

fn stale(fields: &mut Fields<'_>) -> Result<Stale, Failure> {
    let whose = fields.number()?;
    let current = match fields.text()? {
        "" => None,
        text => Some(generation(text)?),
    };
    Ok(match whose {
        0 => Stale::Plan {
            scope: Scope::User,
            current,
        },
        1 => Stale::Plan {
            scope: Scope::Tenant,
            current,
        },
        _ => Stale::Plans { current },
    })
}

fn generation(text: &str) -> Result<Generation, Failure> {
    text.parse()
        .map(Generation)
        .map_err(|_| Failure::unreadable("a generation"))
}

pub(super) fn settled(answer: &Answer, order: &Order) -> Result<Settled, Failure> {
    let mut fields = Fields(&answer.body);
    match answer.code {
        1 => Ok(Settled::Done(fields.counters(order)?)),
        2 => Ok(Settled::Late(fields.counters(order)?)),
        3 => Ok(Settled::Already),
        4 => Ok(Settled::TooOld),
        _ => Err(Failure::unreadable("an ending")),
    }
}

pub(super) fn renewed(answer: &Answer) -> Result<Renewed, Failure> {
    match answer.code {
        0 => Ok(Renewed::Gone),
        1 => Ok(Renewed::Held),
        _ => Err(Failure::unreadable("a renewal")),
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swept {
    /// Nothing: somebody else sweeps.
    ByOthers,
    /// No expired reservation is left.
    All,
    /// Expired reservations may be left.
    Some,
}

pub(super) fn swept(answer: &Answer) -> Result<Swept, Failure> {
    match answer.code {
        0 => Ok(Swept::ByOthers),
        1 => Ok(Swept::All),
        2 => Ok(Swept::Some),
        _ => Err(Failure::unreadable("what was swept")),
    }
}

/// The counters in the order they were asked for; `None` where expired reservations are to be
/// reaped first.
pub(super) fn read(answer: &Answer, order: &Order) -> Result<Option<Vec<CounterValue>>, Failure> {
    match answer.code {
        1 => Ok(Some(Fields(&answer.body).counters(order)?.into_vec())),
        6 => Ok(None),
        _ => Err(Failure::unreadable("counters")),
    }
}

/// The epoch of a partition, if it has one.
pub(super) fn epoch(answer: &Answer) -> Result<Option<Epoch>, Failure> {
    match Fields(&answer.body).text()? {
        "" => Ok(None),
        text => u64::from_str_radix(text, 16)
            .map(|epoch| Some(Epoch(epoch)))
            .map_err(|_| Failure::unreadable("an epoch")),
    }
}

/// What counters said in a rebuild; `None` where others were before it.
pub(super) fn rebuilt(answer: &Answer) -> Result<Option<Vec<u64>>, Failure> {
    match answer.code {
        0 | 2 | 3 => Ok(None),
        1 => {
            let (numbers, _) = answer.body.as_chunks();
            Ok(Some(
                numbers.iter().map(|one| u64::from_le_bytes(*one)).collect(),
            ))
        }
        _ => Err(Failure::unreadable("what was rebuilt")),
    }
}

/// The last id of a stream without entries.
pub(super) fn last_id(answer: &Answer) -> Result<Option<String>, Failure> {
    match answer.code {
        1 => Fields(&answer.body).text().map(|id| Some(id.to_owned())),
        2 => Ok(None),
        _ => Err(Failure::unreadable("a stream")),
    }
}

pub(super) fn administered(answer: &Answer) -> Result<Administered, Failure> {
    let mut fields = Fields(&answer.body);
    match answer.code {
        1 => {
            let (before, after, reserved) = (fields.amount()?, fields.amount()?, fields.amount()?);
            let with = |used| CounterValue { used, reserved };
            Ok(Administered::Counter {
                before: with(before),
                after: with(after),
            })
        }
        2 => Ok(Administered::Generation(generation(fields.text()?)?)),
        3 => Ok(Administered::Already {
            before: fields.amount()?,
            after: fields.amount()?,
        }),
        _ => Err(Failure::unreadable("what was done")),
    }
}

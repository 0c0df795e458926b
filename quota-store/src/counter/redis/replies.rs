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
        5 => Decision::Stale(stale_plan(&mut fields)?),
        6 => return Ok(Outcome::ReapMore),
        _ => return Err(Failure::unreadable("a decision")),
    };
    Ok(Outcome::Decided(decision))
}

fn stale_plan(fields: &mut Fields<'_>) -> Result<Stale, Failure> {
    let scope = match fields.number()? {
        0 => Scope::User,
        _ => Scope::Tenant,
    };
    let current = match fields.text()? {
        "" => None,
        text => Some(generation(text)?),
    };
    Ok(Stale::Plan { scope, current })
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
        3 => Ok(Administered::Already),
        _ => Err(Failure::unreadable("what was done")),
    }
}

//! What the scripts answer.

use std::sync::Arc;

use redis::{FromRedisValue as _, Value};
use smallvec::SmallVec;

use super::{failure::Failure, gather::Answer, items::Order};
use crate::{
    Administered, Allowed, Amount, Cause, CounterValue, CounterValues, Decision, Denied, Epoch,
    Generation, Renewed, Reservation, Reserve, Scope, Sends, Settled, Stale, UnixMillis,
};

/// The fields of an answer, read from the front.
struct Fields(std::vec::IntoIter<Value>);

impl Fields {
    fn number(&mut self) -> Result<u64, Failure> {
        self.0
            .next()
            .and_then(|value| u64::from_redis_value(value).ok())
            .ok_or_else(|| Failure::unreadable("a number"))
    }

    fn amount(&mut self) -> Result<Amount, Failure> {
        Amount::new(self.number()?).ok_or_else(|| Failure::unreadable("an amount below 2^53"))
    }

    fn text(&mut self) -> Result<String, Failure> {
        self.0
            .next()
            .and_then(|value| String::from_redis_value(value).ok())
            .ok_or_else(|| Failure::unreadable("a text"))
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
    answer: Answer,
    request: &Arc<Reserve>,
    order: &Order,
    sends: Sends,
) -> Result<Outcome, Failure> {
    let now = UnixMillis::new(answer.now);
    let mut fields = Fields(answer.fields.into_iter());
    let decision = match fields.number()? {
        1 => {
            let epoch = Epoch(fields.number()?);
            let reserved_at = UnixMillis::new(fields.number()?);
            let counters = fields.counters(order)?;
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

fn stale_plan(fields: &mut Fields) -> Result<Stale, Failure> {
    let scope = match fields.number()? {
        0 => Scope::User,
        _ => Scope::Tenant,
    };
    let current = match fields.text()?.as_str() {
        "" => None,
        text => Some(Generation(
            text.parse()
                .map_err(|_| Failure::unreadable("a generation"))?,
        )),
    };
    Ok(Stale::Plan { scope, current })
}

pub(super) fn settled(answer: Answer, order: &Order) -> Result<Settled, Failure> {
    let mut fields = Fields(answer.fields.into_iter());
    match fields.number()? {
        1 => Ok(Settled::Done(fields.counters(order)?)),
        2 => Ok(Settled::Late(fields.counters(order)?)),
        3 => Ok(Settled::Already),
        4 => Ok(Settled::TooOld),
        _ => Err(Failure::unreadable("an ending")),
    }
}

pub(super) fn renewed(answer: Answer) -> Result<Renewed, Failure> {
    match Fields(answer.fields.into_iter()).number()? {
        0 => Ok(Renewed::Gone),
        1 => Ok(Renewed::Held),
        _ => Err(Failure::unreadable("a renewal")),
    }
}

/// Whether somebody else sweeps.
pub(super) fn is_locked(answer: &Answer) -> bool {
    matches!(answer.fields.as_slice(), [Value::Int(0), ..])
}

/// Whether expired reservations may be left.
pub(super) fn is_left(answer: Answer) -> Result<bool, Failure> {
    let mut fields = Fields(answer.fields.into_iter());
    Ok(fields.number()? == 1 && fields.number()? == 1)
}

/// The counters in the order they were asked for; `None` where expired reservations are to be
/// reaped first.
pub(super) fn read(answer: Answer, order: &Order) -> Result<Option<Vec<CounterValue>>, Failure> {
    let mut fields = Fields(answer.fields.into_iter());
    if fields.number()? == 6 {
        return Ok(None);
    }
    let mut counters = vec![CounterValue::default(); order.places.len()];
    for &place in &order.places {
        counters[place] = counter(&fields.text()?)?;
    }
    Ok(Some(counters))
}

/// Reads a counter as Redis holds it: `USED` or `USED RESERVED`.
fn counter(text: &str) -> Result<CounterValue, Failure> {
    let (used, reserved) = text.split_once(' ').unwrap_or((text, ""));
    let amount = |text: &str| match text {
        "" => Ok(Amount::ZERO),
        _ => text
            .parse()
            .ok()
            .and_then(Amount::new)
            .ok_or_else(|| Failure::unreadable("an amount below 2^53")),
    };
    Ok(CounterValue {
        used: amount(used)?,
        reserved: amount(reserved)?,
    })
}

pub(super) fn administered(answer: Answer) -> Result<Administered, Failure> {
    let mut fields = Fields(answer.fields.into_iter());
    match fields.number()? {
        1 => {
            let (before, after, reserved) = (fields.amount()?, fields.amount()?, fields.amount()?);
            let with = |used| CounterValue { used, reserved };
            Ok(Administered::Counter {
                before: with(before),
                after: with(after),
            })
        }
        2 => Ok(Administered::Generation(Generation(fields.number()?))),
        3 => Ok(Administered::Already),
        _ => Err(Failure::unreadable("what was done")),
    }
}

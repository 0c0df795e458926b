//! Reading counters, and acts of administration.

use std::time::Duration;

use super::{
    keep::Overflow,
    markers::{About, Ended},
    shard::{Shard, Step, no_tenant},
};
use crate::{
    Act, Administered, Amount, CounterKey, CounterValue, Generation, Operation, Scope, StoreError,
};

/// How long an act of administration is remembered.
const ACTS_REMEMBERED: Duration = Duration::from_hours(24);

impl Shard {
    /// Reads counters.
    pub(super) fn read(
        &mut self,
        step: Step<'_>,
        counters: &[CounterKey],
    ) -> Result<Vec<CounterValue>, StoreError> {
        self.reap_all(step.common, step.now);
        counters.iter().map(|key| self.peek(step, key)).collect()
    }

    /// Does one act of administration.
    pub(super) fn administer(
        &mut self,
        step: Step<'_>,
        operation: &Operation,
    ) -> Result<Administered, StoreError> {
        self.reap_all(step.common, step.now);
        let about = About::Administration(operation.id.into());
        if let Some((before, after)) = self.markers.act_of(operation.id, step.now) {
            return Ok(Administered::Already { before, after });
        }
        self.ensure_record(step)?;
        let done = match &operation.act {
            Act::Reset(key) => self.change(step, key, |_| Amount::ZERO),
            Act::SetUsed(key, amount) => self.change(step, key, |_| *amount),
            Act::AddUsed(key, difference) => {
                self.change(step, key, |used| used.saturating_add_signed(*difference))
            }
            Act::Raise(key, amount) => self.change(step, key, |used| used.max(*amount)),
            Act::AdvanceGeneration(scope, generation) => self.advance(step, *scope, *generation),
        };
        if done.is_ok() {
            let until = step.now.saturating_add(ACTS_REMEMBERED);
            self.mark(step.common, about, Ended::Settled, until);
            if let Ok(Administered::Counter { before, after }) = done {
                self.markers
                    .keep_act(operation.id, (before.used, after.used));
            }
        } else {
            self.record_room.give(1, &step.common.records);
        }
        done
    }

    fn peek(&self, step: Step<'_>, key: &CounterKey) -> Result<CounterValue, StoreError> {
        if key.scope == Scope::Tenant && step.asker.requester.tenant.is_none() {
            return Err(no_tenant());
        }
        let value = || {
            let entry = self.subjects.at(self.subjects.find(step.asker, key.scope)?);
            entry.get(key)
        };
        Ok(value().unwrap_or_default())
    }

    fn change(
        &mut self,
        step: Step<'_>,
        key: &CounterKey,
        used: impl Fn(Amount) -> Amount,
    ) -> Result<Administered, StoreError> {
        let before = self.peek(step, key)?;
        let after = CounterValue {
            used: used(before.used),
            reserved: before.reserved,
        };
        if after != before {
            *self.counter_mut(step, &key.clone().into(), Overflow::Refuse)? = after;
        }
        Ok(Administered::Counter { before, after })
    }

    fn advance(
        &mut self,
        step: Step<'_>,
        scope: Scope,
        generation: Generation,
    ) -> Result<Administered, StoreError> {
        let subject = self.ensure_subject(step, scope, Overflow::Refuse)?;
        let entry = self.subjects.at_mut(subject);
        let generation = entry.generation().map_or(generation, |g| g.max(generation));
        entry.set_generation(generation, step.now);
        Ok(Administered::Generation(generation))
    }
}

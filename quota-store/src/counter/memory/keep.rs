//! What is kept, how much of it, and for how long.

use std::sync::Arc;

use super::{
    markers::{About, Ended},
    shard::{Common, Shard, Step, no_tenant},
};
use crate::{CounterKey, CounterValue, Scope, StoreError, StoreErrorKind, UnixMillis};

/// How many subjects are looked at before a new one is refused.
const LOOKED_AT_WHEN_FULL: usize = 256;
/// How many markers are dropped before a new record is refused.
const MARKERS_DROPPED_WHEN_FULL: usize = 64;

/// What becomes of what does not fit any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// It is refused: nothing has happened yet.
    Refuse,
    /// It is kept all the same: it belongs to something that was let in.
    Keep,
}

impl Shard {
    /// The place of a subject, which is added where it is not known yet.
    pub(super) fn ensure_subject(
        &mut self,
        step: Step<'_>,
        scope: Scope,
        overflow: Overflow,
    ) -> Result<usize, StoreError> {
        if let Some(place) = self.subjects.find(step.asker, scope) {
            return Ok(place);
        }
        if !self.take_subject(step, scope) {
            self.prune_subjects(step.common, step.now, LOOKED_AT_WHEN_FULL);
            match overflow {
                Overflow::Keep => self.take_subject_always(step, scope),
                Overflow::Refuse if self.take_subject(step, scope) => {}
                Overflow::Refuse => return Err(full("subjects", "memory_subjects")),
            }
        }
        self.subjects.add(step.asker, scope).ok_or_else(no_tenant)
    }

    /// Takes room for one more subject, from the part of clients without a token as well where it
    /// is one of those.
    fn take_subject(&mut self, step: Step<'_>, scope: Scope) -> bool {
        let Common {
            subjects,
            anonymous,
            ..
        } = step.common;
        let is_anonymous = is_anonymous(step, scope);
        if is_anonymous && !self.anonymous_room.take(anonymous) {
            return false;
        }
        let taken = self.subject_room.take(subjects);
        if is_anonymous && !taken {
            self.anonymous_room.give(1, anonymous);
        }
        taken
    }

    fn take_subject_always(&mut self, step: Step<'_>, scope: Scope) {
        self.subject_room.take_always(&step.common.subjects);
        if is_anonymous(step, scope) {
            self.anonymous_room.take_always(&step.common.anonymous);
        }
    }

    /// The place of a counter among those of its subject, which is added where it is not there.
    pub(super) fn ensure_counter(
        &mut self,
        step: Step<'_>,
        subject: usize,
        key: &Arc<CounterKey>,
        overflow: Overflow,
    ) -> Result<usize, StoreError> {
        if let Some(place) = self.subjects.at(subject).find(key) {
            return Ok(place);
        }
        let pool = &step.common.counters;
        match overflow {
            Overflow::Keep => self.counter_room.take_always(pool),
            Overflow::Refuse if self.counter_room.take(pool) => {}
            Overflow::Refuse => return Err(full("counters", "max_counters")),
        }
        Ok(self.subjects.at_mut(subject).add(key, step.now))
    }

    /// A counter to change, which is added with its subject where it is not there.
    pub(super) fn counter_mut(
        &mut self,
        step: Step<'_>,
        key: &Arc<CounterKey>,
        overflow: Overflow,
    ) -> Result<&mut CounterValue, StoreError> {
        let subject = self.ensure_subject(step, key.scope, overflow)?;
        let place = self.ensure_counter(step, subject, key, overflow)?;
        Ok(self.subjects.at_mut(subject).value_mut(place))
    }

    /// Takes room for one more live reservation or marker.
    pub(super) fn ensure_record(&mut self, step: Step<'_>) -> Result<(), StoreError> {
        let pool = &step.common.records;
        if self.record_room.take(pool) {
            return Ok(());
        }
        self.prune_markers(step.common, step.now, MARKERS_DROPPED_WHEN_FULL);
        if self.record_room.take(pool) {
            return Ok(());
        }
        Err(full("reservations", "max_records"))
    }

    /// Sets a marker, for which room was taken.
    pub(super) fn mark(&mut self, common: &Common, about: About, ended: Ended, until: UnixMillis) {
        if !self.markers.set(about, ended, until) {
            self.record_room.give(1, &common.records);
        }
    }

    /// Drops the counters of one subject that nobody can miss.
    pub(super) fn prune_counters(&mut self, step: Step<'_>, subject: usize) {
        let entry = self.subjects.at_mut(subject);
        let dropped = entry.prune(step.now, step.common.memory);
        self.counter_room.give(dropped, &step.common.counters);
    }

    /// Looks through the next `count` subjects, and drops what nobody can miss.
    pub(super) fn prune_subjects(&mut self, common: &Common, now: UnixMillis, count: usize) {
        let dropped = self.subjects.prune(now, common.memory, count);
        self.subject_room.give(dropped.subjects, &common.subjects);
        self.anonymous_room
            .give(dropped.anonymous, &common.anonymous);
        self.counter_room.give(dropped.counters, &common.counters);
    }

    /// Drops up to `most` markers whose time has passed.
    pub(super) fn prune_markers(&mut self, common: &Common, now: UnixMillis, most: usize) {
        let dropped = self.markers.prune(now, most);
        self.record_room.give(dropped, &common.records);
    }
}

fn is_anonymous(step: Step<'_>, scope: Scope) -> bool {
    scope == Scope::User && step.asker.requester.user.is_anonymous()
}

fn full(what: &str, option: &str) -> StoreError {
    let message = format!("the store in memory has no room for more {what}: raise `{option}`");
    StoreError::new(StoreErrorKind::Full, message)
}

//! The store, as `docs/protocol.md` describes it: one counter of one owner.

use super::{
    books::{Books, Fault},
    caller::{Answer, Caller, Confirmed, KnownPlan, Sends, Settled},
    scenario::{Administration, CALLERS, Flaw, Knows, MARKER_GRACE, Orphans, REAP_BATCH, Scenario},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) epoch: u8,
    pub(super) used: u8,
    /// The running sum of what is live.
    pub(super) reserved: u8,
    pub(super) generation: Option<u8>,
    pub(super) live: [Option<Live>; CALLERS],
    pub(super) markers: [Option<Marker>; CALLERS],
    /// When the markers of corrections are gone.
    pub(super) corrected_until: [Option<u8>; CALLERS],
    /// The marker of the one act of administration.
    pub(super) was_reset: bool,
}

/// A live reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Live {
    pub(super) amount: u8,
    pub(super) reserved_at: u8,
    pub(super) expires_at: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Marker {
    pub(super) kind: MarkerKind,
    /// It is gone from this instant on.
    pub(super) until: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum MarkerKind {
    Expired,
    Late,
    Aborted,
    Settled,
}

/// One atomic step of the store.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) now: u8,
    /// The newest generation in the directory.
    pub(super) newest: u8,
    pub(super) store: &'a mut Store,
    pub(super) books: &'a mut Books,
}

impl Store {
    pub(super) const fn new(epoch: u8, generation: Option<u8>) -> Self {
        Self {
            epoch,
            used: 0,
            reserved: 0,
            generation,
            live: [None; CALLERS],
            markers: [None; CALLERS],
            corrected_until: [None; CALLERS],
            was_reset: false,
        }
    }

    /// What is live, counted anew.
    pub(super) fn held(&self) -> u8 {
        (self.live.iter().flatten()).map(|live| live.amount).sum()
    }

    fn take(&mut self, id: usize) -> Option<Live> {
        let live = self.live[id].take()?;
        self.reserved = self.reserved.saturating_sub(live.amount);
        Some(live)
    }
}

impl Step<'_> {
    fn has(&self, flaw: Flaw) -> bool {
        self.scenario.flaw == Some(flaw)
    }

    pub(super) fn reserve(&mut self, id: usize, caller: &Caller) -> Answer {
        let not_after = caller.not_after(self.scenario.time);
        let too_late = self.now >= not_after && !self.has(Flaw::ReserveHasNoNotAfter);
        if too_late || self.store.markers[id].is_some() {
            return Answer::Refused;
        }
        if let Some(live) = self.store.live[id]
            && !self.has(Flaw::CopyOfReserveIsNotRecognised)
        {
            return Answer::Allowed(self.confirm(live));
        }
        let Some(plan) = caller.plan else {
            return Answer::Refused;
        };
        if self.plan_is_stale(self.scenario.callers[id].knows, plan) {
            return Answer::Refused;
        }
        let amount = self.scenario.callers[id].amount;
        self.reap(REAP_BATCH);
        if !self.fits(amount, plan.hard) && !self.has(Flaw::DenialDoesNotReap) {
            self.reap(CALLERS);
        }
        if !self.fits(amount, plan.hard) {
            self.judge_denial(amount, plan.hard);
            return Answer::Refused;
        }
        self.judge_admission(amount, plan.hard);
        self.hold(id, amount)
    }

    fn hold(&mut self, id: usize, amount: u8) -> Answer {
        let live = Live {
            amount,
            reserved_at: self.now,
            expires_at: self.now + self.scenario.time.ttl,
        };
        self.store.reserved += amount;
        self.store.live[id] = Some(live);
        self.books.held(id);
        Answer::Allowed(self.confirm(live))
    }

    const fn confirm(&self, live: Live) -> Confirmed {
        Confirmed {
            reserved_at: live.reserved_at,
            epoch: self.store.epoch,
        }
    }

    fn plan_is_stale(&mut self, knows: Knows, plan: KnownPlan) -> bool {
        if self.has(Flaw::GenerationIsNotChecked) {
            return false;
        }
        let stored = self.store.generation;
        let stale = match knows {
            Knows::Untracked => false,
            Knows::Cached => stored != Some(plan.generation),
            Knows::Fresh if self.has(Flaw::FreshGenerationDoesNotAdvance) => {
                stored.is_some_and(|stored| stored != plan.generation)
            }
            Knows::Fresh => stored > Some(plan.generation),
        };
        if knows == Knows::Fresh && !stale {
            self.store.generation = Some(plan.generation);
        }
        if knows == Knows::Fresh && stale && plan.generation == self.newest {
            self.books.blame(Fault::NewestPlanStale);
        }
        stale
    }

    const fn fits(&self, amount: u8, hard: u8) -> bool {
        self.store.used + self.store.reserved + amount <= hard
    }

    fn judge_denial(&mut self, amount: u8, hard: u8) {
        let held: u8 = (self.store.live.iter().flatten())
            .filter(|live| live.expires_at > self.now)
            .map(|live| live.amount)
            .sum();
        if self.store.used + held + amount <= hard {
            self.books.blame(Fault::DeniedByExpired);
        }
    }

    fn judge_admission(&mut self, amount: u8, known: u8) {
        let present = match self.scenario.administration {
            Administration::Lower(hard) if self.books.lowered => hard,
            Administration::Lower(_) => self.scenario.hard,
            Administration::None | Administration::Reset => known,
        };
        if self.store.used + self.store.held() + amount > present {
            self.books.blame(Fault::OverAdmitted);
        }
    }

    pub(super) fn commit(&mut self, id: usize, caller: &Caller) -> Settled {
        let Some(confirmed) = caller.confirmed else {
            return Settled::Already;
        };
        let other_epoch = confirmed.epoch != self.store.epoch;
        if let Some(live) = self.store.take(id) {
            self.books.ended(id);
            self.charge(id, live.amount);
            if other_epoch && !self.has(Flaw::LiveCommitOfOtherEpochIsForgotten) {
                self.remember(id, MarkerKind::Late);
            } else {
                self.mark_settled(id, caller);
            }
            return Settled::Done;
        }
        match self.store.markers[id].map(|marker| marker.kind) {
            Some(MarkerKind::Expired) => {
                self.charge(id, 0);
                self.remember(id, MarkerKind::Late);
                Settled::Late
            }
            Some(_) => Settled::Already,
            None => self.commit_unknown(id, confirmed),
        }
    }

    /// A commit of which the store has neither a reservation nor a marker.
    fn commit_unknown(&mut self, id: usize, confirmed: Confirmed) -> Settled {
        let other_epoch = confirmed.epoch != self.store.epoch;
        let forgotten_at = confirmed.reserved_at + self.scenario.time.memory;
        let too_old = if self.has(Flaw::AgeIsComparedWithoutItsLastInstant) {
            self.now > forgotten_at
        } else {
            self.now >= forgotten_at
        };
        if too_old && !(other_epoch && self.has(Flaw::EpochIsComparedBeforeAge)) {
            return Settled::TooOld;
        }
        if other_epoch {
            self.charge(id, 0);
            if !self.has(Flaw::CommitOfOtherEpochLeavesNoMarker) {
                self.remember(id, MarkerKind::Late);
            }
            return Settled::Late;
        }
        if self.has(Flaw::CommitIsNotIdempotent) {
            self.charge(id, 0);
        }
        Settled::Already
    }

    pub(super) fn release(&mut self, id: usize, caller: &Caller) {
        if self.store.take(id).is_some() {
            self.books.ended(id);
            self.mark_settled(id, caller);
        }
    }

    pub(super) fn abort(&mut self, id: usize, caller: &Caller) {
        if self.store.take(id).is_some() {
            self.books.ended(id);
        }
        if !self.has(Flaw::AbortLeavesNoMarker) {
            self.mark_until_copies_are_void(id, caller, MarkerKind::Aborted);
        }
    }

    pub(super) fn correct(&mut self, id: usize, caller: &Caller) -> Settled {
        let Some(confirmed) = caller.confirmed else {
            return Settled::Already;
        };
        let repeated = self.store.corrected_until[id].is_some();
        if repeated && !self.has(Flaw::CorrectionIsNotIdempotent) {
            return Settled::Already;
        }
        let memory = self.scenario.time.memory;
        if self.now >= confirmed.reserved_at + memory {
            return Settled::TooOld;
        }
        let charged_late =
            self.store.markers[id].is_some_and(|marker| marker.kind == MarkerKind::Late);
        let lost = confirmed.epoch != self.store.epoch && !charged_late;
        if lost && !self.has(Flaw::CorrectionOfLostCommitIsApplied) {
            return Settled::Already;
        }
        let units = self.scenario.callers[id].gives_back;
        self.store.used = self.store.used.saturating_sub(units);
        self.store.corrected_until[id] = Some(self.now + memory);
        self.books.entries[id].corrections += 1;
        Settled::Done
    }

    /// Returns whether it is held.
    pub(super) fn renew(&mut self, id: usize) -> bool {
        let Some(live) = &mut self.store.live[id] else {
            return false;
        };
        if self.scenario.flaw != Some(Flaw::RenewalIsIgnored) {
            live.expires_at = self.now + self.scenario.time.ttl;
        }
        true
    }

    /// Ends at most this many reservations whose time to live is over.
    pub(super) fn reap(&mut self, at_most: usize) {
        let expired: Vec<usize> = (0..CALLERS)
            .filter(|&id| self.store.live[id].is_some_and(|live| live.expires_at <= self.now))
            .take(at_most)
            .collect();
        for id in expired {
            self.expire(id);
        }
    }

    fn expire(&mut self, id: usize) {
        if self.books.entries[id].promised_until > self.now {
            self.books.blame(Fault::FreedEarly);
        }
        let Some(live) = self.store.take(id) else {
            return;
        };
        self.books.ended(id);
        self.books.entries[id].expired = true;
        match self.scenario.orphans {
            Orphans::Release => self.remember(id, MarkerKind::Expired),
            Orphans::Charge => {
                self.store.used += live.amount;
                self.books.charged(id, live.amount, live.amount);
                self.remember(id, MarkerKind::Late);
            }
        }
    }

    pub(super) fn reset(&mut self) {
        if self.store.was_reset {
            return;
        }
        self.books.wiped += self.store.used;
        self.store.used = 0;
        self.store.was_reset = true;
        if self.has(Flaw::ResetDropsReservations) {
            self.store.reserved = 0;
        }
    }

    /// Never goes back.
    pub(super) fn advance(&mut self, generation: u8) {
        self.store.generation = self.store.generation.max(Some(generation));
        self.books.lowered = true;
    }

    fn charge(&mut self, id: usize, held: u8) {
        let units = self.scenario.callers[id].charge;
        self.store.used += units;
        self.books.charged(id, units, held);
    }

    fn mark_settled(&mut self, id: usize, caller: &Caller) {
        let needed =
            caller.how_sent() == Sends::Repeated && !self.has(Flaw::RepeatedSettleLeavesNoMarker);
        if needed || self.has(Flaw::EverySettleLeavesMarker) {
            self.mark_until_copies_are_void(id, caller, MarkerKind::Settled);
        }
    }

    /// A marker that is there already lives at least as long.
    fn mark_until_copies_are_void(&mut self, id: usize, caller: &Caller, kind: MarkerKind) {
        let until = caller.not_after(self.scenario.time) + MARKER_GRACE;
        if until > self.now && self.store.markers[id].is_none() {
            self.store.markers[id] = Some(Marker { kind, until });
        }
    }

    fn remember(&mut self, id: usize, kind: MarkerKind) {
        if kind == MarkerKind::Expired && self.has(Flaw::ReapingLeavesNoMarker) {
            return;
        }
        let until = self.now + self.scenario.time.memory;
        self.store.markers[id] = Some(Marker { kind, until });
    }
}

//! What an onlooker who sees everything writes down, to judge the store by.

use super::scenario::CALLERS;

/// Counts are of the present epoch; a loss of data begins them anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Books {
    pub(super) entries: [Entry; CALLERS],
    /// Units charged after their reservation had ended, or beyond what it held.
    pub(super) unheld: u8,
    /// Units that resets set to zero.
    pub(super) wiped: u8,
    /// Whether the store was told of the lowered limit.
    pub(super) lowered: bool,
    /// The first thing that must never happen.
    pub(super) fault: Option<Fault>,
}

/// What happened to one reservation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) holds: u8,
    pub(super) ends: u8,
    pub(super) charges: u8,
    pub(super) corrections: u8,
    pub(super) expired: bool,
    /// The caller has the store's word that its units are held until then.
    pub(super) promised_until: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// Admitted above the limit of the present plan.
    OverAdmitted,
    /// Reaped before its time to live was over.
    FreedEarly,
    /// Denied only because of units whose time to live was over.
    DeniedByExpired,
    /// Whoever just loaded the newest plan was told that it is stale.
    NewestPlanStale,
}

impl Books {
    pub(super) fn blame(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    pub(super) fn held(&mut self, caller: usize) {
        self.entries[caller].holds += 1;
    }

    pub(super) fn ended(&mut self, caller: usize) {
        self.entries[caller].ends += 1;
    }

    /// Charged `units`, for which `held` units had been held until now.
    pub(super) fn charged(&mut self, caller: usize, units: u8, held: u8) {
        self.entries[caller].charges += 1;
        self.unheld += units.saturating_sub(held);
    }

    /// A new epoch begins.
    pub(super) fn begin_anew(&mut self) {
        self.entries = [Entry::default(); CALLERS];
        self.unheld = 0;
        self.wiped = 0;
    }
}

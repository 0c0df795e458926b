//! An exhaustive model of `docs/protocol.md`.
//!
//! Callers, a network and one counter of the store, checked state by state with `stateright`. The
//! store does exactly what the page says, in its order; each deliberate departure from it is a
//! [`scenario::Flaw`], and `flaws` shows that the check finds it.
//!
//! **In the model:** reserve, commit, release, abort, renewal, correction, expiry by a reserve, by
//! a read and by the sweep, `not_after`, `Sends`, every marker with its end, epochs, `TooOld`, both
//! fates of orphans, generations (untracked, cached, fresh), a reset and a lowered limit. Every
//! message may be delayed for ever (which is its loss), overtake others, be doubled, and lose its
//! reply. A caller may die at any moment, the store may lose all data at any moment, and time may
//! pass between any two steps.
//!
//! **Bounded:** two callers with one request each, two sends of a reserve, one renewal, one or no
//! double, death and loss, and few instants (see [`scenario::Timing`]). Settling is sent again
//! without bound. The batch of 64 that a reserve reaps is 0.
//!
//! **Not in the model:** windows (a request has one counter, so one window), several counters of a
//! request, reservations in flight of a user, a clock that steps back. An invariant that holds in
//! every state holds whenever a caller stops, so most checks need no death of their own.
//!
//! The number of states stands in each test: 37 129 to 226 540, 960 809 in all, in about 30 s on
//! one core in a debug build.

mod books;
mod caller;
mod flaws;
mod properties;
mod scenario;
mod store;
mod world;

use properties as p;
use scenario::{Administration, Budget, Example, Habits, Knows, Orphans, Scenario, Timing};
use stateright::{Checker, Model};

const NO_MISFORTUNE: Budget = Budget {
    doubles: 0,
    crashes: 0,
    losses: 0,
};

/// Once more than every age at which something is forgotten.
const LONG: Timing = Timing {
    ttl: 3,
    patience: 2,
    memory: 4,
    horizon: 6,
};

const SHORT: Timing = Timing {
    ttl: 2,
    patience: 1,
    memory: 3,
    horizon: 3,
};

/// Up to the first expiry.
const UNTIL_EXPIRY: Timing = Timing {
    horizon: 2,
    ..SHORT
};

const REPEATS: Habits = Habits {
    reserve_sends: 2,
    ..Habits::PLAIN
};

/// Two callers want the one unit there is.
const RIVALS: Scenario = Scenario {
    callers: [Habits::PLAIN; 2],
    hard: 1,
    administration: Administration::None,
    generation: None,
    orphans: Orphans::Release,
    time: SHORT,
    budget: NO_MISFORTUNE,
    flaw: None,
    examples: &[],
};

/// One caller lives through everything that can go wrong.
const LONE: Scenario = Scenario {
    callers: [
        Habits {
            renewals: 1,
            ..REPEATS
        },
        Habits::ABSENT,
    ],
    time: LONG,
    budget: Budget {
        doubles: 1,
        crashes: 0,
        losses: 1,
    },
    ..RIVALS
};

/// An administrator lowers the limit from two to one, under a cached and a fresh plan.
const LOWERED: Scenario = Scenario {
    callers: [
        Habits {
            knows: Knows::Cached,
            ..Habits::PLAIN
        },
        Habits {
            knows: Knows::Fresh,
            ..Habits::PLAIN
        },
    ],
    hard: 2,
    administration: Administration::Lower(1),
    generation: Some(0),
    time: UNTIL_EXPIRY,
    ..RIVALS
};

/// A caller corrects its commit while another is charged, and the store may lose all data.
const CORRECTED: Scenario = Scenario {
    callers: [
        Habits {
            amount: 2,
            charge: 2,
            gives_back: 1,
            ..Habits::PLAIN
        },
        Habits::PLAIN,
    ],
    hard: 3,
    budget: Budget {
        doubles: 1,
        crashes: 0,
        losses: 1,
    },
    time: UNTIL_EXPIRY,
    ..RIVALS
};

/// Checks every state; there are exactly this many, or the model has changed.
#[track_caller]
fn check(scenario: &Scenario, states: usize, examples: &'static [Example]) {
    let scenario = Scenario {
        examples,
        ..scenario.clone()
    };
    let checker = scenario.checker().spawn_bfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), states);
}

#[test]
fn rivals_never_share_the_last_unit() {
    let budget = Budget {
        doubles: 1,
        crashes: 1,
        losses: 0,
    };
    let scenario = Scenario { budget, ..RIVALS };
    check(
        &scenario,
        85_550,
        &[p::ONE_IS_REFUSED, p::LATE_COMMIT, p::ABORT_OVERTAKES],
    );
}

#[test]
fn rivals_that_send_again_never_share_the_last_unit() {
    let callers = [REPEATS, REPEATS];
    let scenario = Scenario { callers, ..RIVALS };
    check(&scenario, 226_540, &[p::LATE_COMMIT]);
}

#[test]
fn a_lone_request_counts_once_whatever_happens() {
    check(
        &LONE,
        207_920,
        &[
            p::LATE_COMMIT,
            p::TOO_OLD,
            p::LATE_IN_OTHER_EPOCH,
            p::ABORT_OVERTAKES,
        ],
    );
}

#[test]
fn orphans_are_charged_once_where_the_plan_says_so() {
    let scenario = Scenario {
        orphans: Orphans::Charge,
        budget: Budget {
            doubles: 1,
            crashes: 1,
            losses: 0,
        },
        ..LONE
    };
    check(&scenario, 89_392, &[p::ORPHAN_IS_CHARGED]);
}

#[test]
fn actual_amounts_are_charged_and_not_the_held_ones() {
    let callers = [
        Habits {
            amount: 2,
            charge: 1,
            ..Habits::PLAIN
        },
        Habits {
            amount: 1,
            charge: 2,
            ..Habits::PLAIN
        },
    ];
    let scenario = Scenario {
        callers,
        hard: 2,
        budget: Budget {
            doubles: 1,
            ..NO_MISFORTUNE
        },
        ..RIVALS
    };
    check(&scenario, 37_129, &[p::BOTH_ARE_CHARGED]);
}

#[test]
fn a_correction_counts_once_and_only_where_its_commit_did() {
    check(&CORRECTED, 111_820, &[p::LOST_AND_CORRECTED]);
}

#[test]
fn a_reset_leaves_reservations_alone() {
    let scenario = Scenario {
        hard: 2,
        administration: Administration::Reset,
        time: UNTIL_EXPIRY,
        budget: Budget {
            doubles: 1,
            ..NO_MISFORTUNE
        },
        ..RIVALS
    };
    check(
        &scenario,
        77_354,
        &[p::RESET_IN_FLIGHT, p::BOTH_ARE_CHARGED],
    );
}

#[test]
fn a_lowered_limit_holds_from_the_moment_the_store_knows_it() {
    check(
        &LOWERED,
        45_928,
        &[p::BOTH_ARE_CHARGED, p::LOWERED_BELOW_USED],
    );
}

#[test]
fn a_plan_that_the_store_never_saw_is_taken_from_a_fresh_caller() {
    let fresh = LOWERED.callers[1];
    let scenario = Scenario {
        callers: [fresh, fresh],
        generation: None,
        ..LOWERED
    };
    check(&scenario, 79_176, &[p::BOTH_ARE_CHARGED]);
}

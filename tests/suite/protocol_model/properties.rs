//! What must hold in every state, by name. P1 to P8 are promises of `docs/guarantees.md`.

use stateright::Property;

use super::{
    books::Fault,
    caller::{Caller, End, Message, Phase, Sends},
    scenario::{Example, Orphans, Scenario},
    store::MarkerKind,
    world::World,
};

pub(super) const NEVER_OVER_ADMITS: &str = "P1 and P7: nothing is admitted above the present limit";
pub(super) const STAYS_WITHIN: &str = "P1: used and reserved stay within the largest limit";
pub(super) const CHARGES_EXACTLY: &str = "P2: what was charged is what succeeded";
pub(super) const HELD_FOR_ITS_TIME: &str = "P8: no unit is free before its time to live is over";
pub(super) const FREE_AFTER_ITS_TIME: &str = "P8: every unit is free when its time to live is over";
pub(super) const ENDS_ONCE: &str = "a reservation is held once, ends once and is charged once";
pub(super) const NOTHING_STAYS_HELD: &str = "a settled request holds nothing, whatever arrives";
pub(super) const NO_LITTER: &str = "only what is not normal leaves a marker, and for a time";
pub(super) const SUMS_AGREE: &str = "reserved is the sum of what is live, reset or not";
pub(super) const CORRECTED_ONCE: &str = "a correction counts once, and only where its commit did";
pub(super) const NEWEST_PLAN_WORKS: &str = "whoever loaded the newest plan is not told it is stale";

pub(super) fn all(scenario: &Scenario) -> Vec<Property<Scenario>> {
    let examples = (scenario.examples.iter())
        .map(|example| Property::sometimes(example.name, example.condition));
    invariants().into_iter().chain(examples).collect()
}

fn invariants() -> Vec<Property<Scenario>> {
    vec![
        Property::always(NEVER_OVER_ADMITS, |_, world: &World| {
            world.books.fault != Some(Fault::OverAdmitted)
        }),
        Property::always(STAYS_WITHIN, |scenario: &Scenario, world: &World| {
            world.store.used + world.store.held() <= scenario.hard + world.books.unheld
        }),
        Property::always(CHARGES_EXACTLY, charges_exactly),
        Property::always(HELD_FOR_ITS_TIME, |_, world: &World| {
            world.books.fault != Some(Fault::FreedEarly)
        }),
        Property::always(FREE_AFTER_ITS_TIME, |_, world: &World| {
            world.books.fault != Some(Fault::DeniedByExpired)
                && (world.store.live.iter().flatten()).all(|live| live.expires_at >= world.now)
        }),
        Property::always(ENDS_ONCE, |_, world: &World| {
            world
                .books
                .entries
                .iter()
                .all(|entry| entry.holds <= 1 && entry.ends <= entry.holds && entry.charges <= 1)
        }),
        Property::always(CORRECTED_ONCE, |_, world: &World| {
            world
                .books
                .entries
                .iter()
                .all(|entry| entry.corrections <= entry.charges)
        }),
        Property::always(NOTHING_STAYS_HELD, nothing_stays_held),
        Property::always(NO_LITTER, no_litter),
        Property::always(SUMS_AGREE, |_, world: &World| {
            world.store.held() == world.store.reserved
        }),
        Property::always(NEWEST_PLAN_WORKS, |_, world: &World| {
            world.books.fault != Some(Fault::NewestPlanStale)
        }),
    ]
}

fn data_was_lost(world: &World) -> bool {
    world.store.epoch > 0
}

/// `used` is what every acknowledged success charged, and nothing that did not succeed; what is
/// not acknowledged yet may be in it or not. A loss of data voids the sum.
fn charges_exactly(scenario: &Scenario, world: &World) -> bool {
    if data_was_lost(world) {
        return true;
    }
    let (mut least, mut most) = (0, 0);
    for (id, caller) in world.callers.iter().enumerate() {
        let habits = scenario.callers[id];
        let orphaned = world.books.entries[id].expired && scenario.orphans == Orphans::Charge;
        if orphaned {
            least += habits.amount;
            most += habits.amount;
        } else if caller.phase == Phase::Finished(End::Corrected) {
            least += habits.charge - habits.gives_back;
            most += habits.charge - habits.gives_back;
        } else if caller.phase == Phase::Finished(End::Charged) {
            least += habits.charge - habits.gives_back;
            most += habits.charge;
        } else if caller.succeeded() {
            most += habits.charge;
        }
    }
    let charged = world.store.used + world.books.wiped;
    least <= charged && charged <= most
}

/// From the moment a caller has the store's word, no unit of it is held. After a loss of data a
/// copy may hold units, but no longer than its time to live.
fn nothing_stays_held(_: &Scenario, world: &World) -> bool {
    data_was_lost(world)
        || (world.callers.iter().zip(&world.store.live)).all(|(caller, live)| {
            live.is_none_or(|live| {
                let gave_up = caller.phase == Phase::Finished(End::GaveUp);
                let over = matches!(caller.phase, Phase::Finished(_));
                !over || (gave_up && live.expires_at <= world.now)
            })
        })
}

fn no_litter(scenario: &Scenario, world: &World) -> bool {
    let in_time = world.store.markers.iter().flatten().all(|marker| {
        let longest = match marker.kind {
            MarkerKind::Expired | MarkerKind::Late => scenario.time.memory,
            MarkerKind::Aborted | MarkerKind::Settled => scenario.time.patience + 1,
        };
        world.now < marker.until && marker.until <= world.now + longest
    });
    let normal = |caller: &Caller| {
        caller.sends == 1
            && matches!(
                caller.phase,
                Phase::Finished(End::Charged | End::Corrected | End::Released | End::Refused)
            )
    };
    in_time
        && (world.callers.iter().enumerate()).all(|(id, caller)| {
            let expected = !normal(caller) || world.books.entries[id].expired;
            expected || data_was_lost(world) || world.store.markers[id].is_none()
        })
}

pub(super) const BOTH_ARE_CHARGED: Example = Example {
    name: "both callers are charged",
    condition: |_, world| ended(world, 0, End::Charged) && ended(world, 1, End::Charged),
};

pub(super) const ONE_IS_REFUSED: Example = Example {
    name: "one caller is refused and the other charged",
    condition: |_, world| ended(world, 0, End::Refused) && ended(world, 1, End::Charged),
};

pub(super) const LATE_COMMIT: Example = Example {
    name: "a commit comes after its reservation was reaped",
    condition: |_, world| {
        ended(world, 0, End::Charged) && world.books.entries[0].expired && world.books.unheld > 0
    },
};

pub(super) const TOO_OLD: Example = Example {
    name: "a commit is older than the store remembers",
    condition: |_, world| ended(world, 0, End::TooOld),
};

pub(super) const LATE_IN_OTHER_EPOCH: Example = Example {
    name: "a commit whose reservation was lost with the data is charged",
    condition: |_, world| {
        data_was_lost(world)
            && ended(world, 0, End::Charged)
            && world.books.entries[0].holds == 0
            && world.books.entries[0].charges == 1
    },
};

pub(super) const LOST_AND_CORRECTED: Example = Example {
    name: "a correction comes for a commit that was lost, and another caller is charged",
    condition: |_, world| {
        data_was_lost(world)
            && ended(world, 0, End::Corrected)
            && world.books.entries[0].charges == 0
            && world.store.used > 0
    },
};

pub(super) const ABORT_OVERTAKES: Example = Example {
    name: "an abort overtakes its reserve",
    condition: |_, world| {
        ended(world, 0, End::Aborted)
            && world.books.entries[0].holds == 0
            && world.network.contains(&Message::Reserve(0, Sends::Once))
    },
};

pub(super) const ORPHAN_IS_CHARGED: Example = Example {
    name: "the units of a dead caller are charged",
    condition: |_, world| {
        matches!(world.callers[0].phase, Phase::Dead(_)) && world.books.entries[0].charges == 1
    },
};

pub(super) const RESET_IN_FLIGHT: Example = Example {
    name: "a reset finds one commit done and one reservation live",
    condition: |_, world| world.books.wiped > 0 && world.store.reserved > 0,
};

pub(super) const LOWERED_BELOW_USED: Example = Example {
    name: "the limit is lowered below what is used",
    condition: |_, world| world.books.lowered && world.store.used > world.directory.hard,
};

fn ended(world: &World, id: usize, end: End) -> bool {
    world.callers[id].phase == Phase::Finished(end)
}

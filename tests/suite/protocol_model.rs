//! A model of `docs/protocol.md`.

mod books;
mod caller;
mod properties;
mod scenario;
mod store;
mod world;

use scenario::{Administration, Budget, Flaw, Habits, Knows, Orphans, Scenario, Timing};
use stateright::{Checker, HasDiscoveries, Model};

const CALM: Budget = Budget {
    doubles: 0,
    crashes: 0,
    losses: 0,
};

const SHORT: Timing = Timing {
    ttl: 2,
    patience: 1,
    memory: 3,
    horizon: 3,
};

fn two_callers() -> Scenario {
    Scenario {
        callers: [Habits::PLAIN; 2],
        hard: 1,
        administration: Administration::None,
        generation: None,
        orphans: Orphans::Release,
        time: SHORT,
        budget: CALM,
        flaw: None,
    }
}

#[track_caller]
fn check(scenario: Scenario) {
    let checker = scenario.checker().spawn_bfs().join();
    checker.assert_properties();
    println!("unique {} generated {} depth {}", checker.unique_state_count(), checker.state_count(), checker.max_depth());
}

#[test]
fn a() { check(two_callers()); }
#[test]
fn b() { check(Scenario{ budget: Budget{doubles:1,crashes:1,losses:0}, ..two_callers()}); }
#[test]
fn c() { check(Scenario{ callers:[Habits{reserve_sends:2, ..Habits::PLAIN}; 2], ..two_callers()}); }
#[test]
fn d() { check(Scenario{ callers:[Habits{reserve_sends:2, renewals:1, ..Habits::PLAIN}, Habits::ABSENT], time: Timing{ttl:3,patience:2,memory:4,horizon:7}, budget: Budget{doubles:1,crashes:1,losses:1}, ..two_callers()}); }

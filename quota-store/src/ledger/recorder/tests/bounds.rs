//! What may wait, and what happens beyond that.

use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

use super::{
    super::{Backlog, Gauges, NOTES, RecorderOptions},
    Double, assert_each_once, attempt, charge, start,
};
use crate::ledger::Outcome;

/// How many attempts were counted as lost since the last time.
pub(super) fn dropped(snapshotter: &Snapshotter) -> u64 {
    let values = snapshotter.snapshot().into_vec().into_iter();
    values
        .filter(|(key, ..)| key.key().name() == "quota_ledger_dropped_total")
        .map(|(.., value)| match value {
            DebugValue::Counter(count) => count,
            other => panic!("{other:?}"),
        })
        .sum()
}

/// How many records wait, and for how many seconds the oldest of them.
fn gauges(snapshotter: &Snapshotter) -> [String; 2] {
    let values = snapshotter.snapshot().into_vec();
    ["quota_ledger_backlog", "quota_ledger_lag_seconds"].map(|name| {
        let found = values.iter().find(|(key, ..)| key.key().name() == name);
        match found {
            Some((.., DebugValue::Gauge(value))) => value.to_string(),
            other => panic!("{name}: {other:?}"),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn the_backlog_turns_full_and_empty_again() {
    let counts = DebuggingRecorder::new();
    let snapshotter = counts.snapshotter();
    let _counts = metrics::set_default_local_recorder(&counts);
    let double = Double::closed();
    let options = RecorderOptions {
        backlog: 3,
        ..RecorderOptions::default()
    };
    let recorder = start(&double, &options);
    assert_eq!(recorder.backlog(), Backlog::default());
    drop((charge(&recorder, 0), charge(&recorder, 1)));
    assert!(!recorder.is_full());
    let last = charge(&recorder, 2);
    assert!(recorder.is_full());
    // What was charged is taken all the same.
    drop(charge(&recorder, 3));
    let unrecorded = recorder.record_unless_full(attempt(4, Outcome::Committed), None);
    assert!(unrecorded.is_none());
    assert_eq!(dropped(&snapshotter), 1);

    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::task::yield_now().await;
    let behind = Backlog {
        records: 4,
        oldest: Some(Duration::from_secs(5)),
    };
    assert_eq!(recorder.backlog(), behind);
    assert_eq!(gauges(&snapshotter), ["4", "5"]);

    double.gate.add_permits(100);
    last.await.unwrap();
    recorder.drain().await;
    assert!(!recorder.is_full());
    assert_eq!(recorder.backlog(), Backlog::default());
    assert_eq!(gauges(&snapshotter), ["0", "0"]);
    assert_each_once(&double.state().attempts, 0..4);
    let kept = recorder.record_unless_full(attempt(4, Outcome::Committed), None);
    kept.expect("there is room").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn beside_a_store_that_shows_the_backlog_the_recorder_shows_none() {
    let counts = DebuggingRecorder::new();
    let snapshotter = counts.snapshotter();
    let _counts = metrics::set_default_local_recorder(&counts);
    let double = Double::new();
    let options = RecorderOptions {
        gauges: Gauges::Store,
        ..RecorderOptions::default()
    };
    let recorder = start(&double, &options);
    recorder.note(attempt(0, Outcome::Denied));
    charge(&recorder, 1).await.unwrap();
    recorder.drain().await;
    assert_each_once(&double.state().attempts, 0..2);
    let shown = snapshotter.snapshot().into_vec();
    assert!(shown.is_empty(), "{shown:?}");
}

#[tokio::test(start_paused = true)]
async fn notes_beyond_their_room_are_dropped_and_counted() {
    let counts = DebuggingRecorder::new();
    let snapshotter = counts.snapshotter();
    let _counts = metrics::set_default_local_recorder(&counts);
    let double = Double::closed();
    let recorder = start(&double, &RecorderOptions::default());
    let room = u64::try_from(NOTES).unwrap();
    for number in 0..room + 7 {
        recorder.note(attempt(number, Outcome::Released));
    }
    assert_eq!(dropped(&snapshotter), 7);
    assert_eq!(recorder.backlog(), Backlog::default());
    double.gate.add_permits(100);
    recorder.drain().await;
    assert_eq!(double.state().batches.iter().sum::<usize>(), NOTES);
    assert_eq!(dropped(&snapshotter), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_charged_goes_before_what_is_noted() {
    let double = Double::new();
    let options = RecorderOptions {
        batch: 10,
        ..RecorderOptions::default()
    };
    let recorder = start(&double, &options);
    for number in 100..120 {
        recorder.note(attempt(number, Outcome::Released));
    }
    for number in 0..25 {
        drop(charge(&recorder, number));
    }
    recorder.drain().await;
    let state = double.state();
    let mut outcomes = state.attempts.iter().map(|attempt| attempt.outcome);
    assert!(
        outcomes
            .by_ref()
            .take(25)
            .all(|one| one == Outcome::Committed)
    );
    assert!(outcomes.all(|one| one == Outcome::Released));
    // The third batch had room for both.
    assert_eq!(state.attempts.len(), 45);
    assert_eq!(state.batches[..3], [10, 10, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_leaves_nothing() {
    let double = Double::new();
    let options = RecorderOptions {
        batch: 7,
        ..RecorderOptions::default()
    };
    let recorder = start(&double, &options);
    recorder.drain().await;
    assert!(double.state().batches.is_empty());
    for number in 0..50 {
        drop(charge(&recorder, number));
        recorder.note(attempt(100 + number, Outcome::Released));
        recorder.note(attempt(200 + number, Outcome::Denied));
    }
    recorder.drain().await;
    assert_eq!(double.state().attempts.len(), 50 + 50 + 10 + 1);
    assert_eq!(recorder.backlog(), Backlog::default());
    recorder.drain().await;
    assert_eq!(double.state().attempts.len(), 50 + 50 + 10 + 1);
}

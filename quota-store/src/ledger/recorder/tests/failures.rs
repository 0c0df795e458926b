//! When the ledger fails.

use std::time::Duration;

use super::{
    super::{Backlog, RecorderOptions},
    Double, assert_each_once, attempt, charge,
    double::Failure,
    id, start,
};
use crate::ledger::{LedgerErrorKind, Outcome};

#[tokio::test(start_paused = true)]
async fn pauses_between_retries_grow_and_are_bounded() {
    let double = Double::new();
    let failure = Failure::Before(LedgerErrorKind::Unreachable);
    double.fail([failure; 20]);
    let recorder = start(&double, &RecorderOptions::default());
    charge(&recorder, 0).await.unwrap();
    let times = double.state().times.clone();
    assert_eq!(times.len(), 21);
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // A timer may be a millisecond late.
    assert!(pauses[0] <= Duration::from_millis(21), "{pauses:?}");
    let (late, longest) = (&pauses[10..], Duration::from_millis(2_001));
    let is_bounded = |pause: &Duration| (Duration::from_secs(1)..=longest).contains(pause);
    assert!(late.iter().all(is_bounded), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_record_does_not_hold_up_others() {
    let double = Double::new();
    double.state().poisoned.extend([id(100), id(1_001)]);
    let recorder = start(&double, &RecorderOptions::default());
    let poisoned = charge(&recorder, 100);
    let mut others: Vec<_> = (0..100).map(|number| charge(&recorder, number)).collect();
    recorder.note(attempt(1_001, Outcome::Released));
    others.extend((101..1_001).map(|number| charge(&recorder, number)));
    for other in others {
        other.await.unwrap();
    }
    let error = poisoned.await.unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Invalid);
    recorder.drain().await;
    let state = double.state();
    let mut there = state.attempts.clone();
    // The one that is missing stands in for itself.
    there.push(attempt(100, Outcome::Committed));
    assert_each_once(&there, 0..1_001);
    assert_eq!(state.postings.len(), 1_000);
    assert!(state.batches.len() < 60, "{:?}", state.batches);
    assert_eq!(recorder.backlog(), Backlog::default());
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_panics_or_answers_too_late_is_asked_again() {
    let double = Double::new();
    double.fail([Failure::Panic, Failure::After(LedgerErrorKind::Unknown)]);
    let recorder = start(&double, &RecorderOptions::default());
    charge(&recorder, 0).await.unwrap();
    assert_eq!(double.state().batches, [1, 1, 1]);
    assert_each_once(&double.state().attempts, 0..1);
}

#[test]
fn records_after_the_end_of_the_runtime_fail_and_are_counted() {
    let counts = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = counts.snapshotter();
    let _counts = metrics::set_default_local_recorder(&counts);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let double = Double::new();
    let recorder = runtime.block_on(async { start(&double, &RecorderOptions::default()) });
    drop(runtime);
    let recording = charge(&recorder, 0);
    let error = futures_util::FutureExt::now_or_never(recording).unwrap();
    assert_eq!(error.unwrap_err().kind(), LedgerErrorKind::Unreachable);
    assert_eq!(recorder.backlog(), Backlog::default());
    assert_eq!(super::bounds::dropped(&snapshotter), 1);
}

//! Which denials are written.

use std::{sync::Arc, time::Duration};

use metrics_util::debugging::DebuggingRecorder;
use tokio::time::Instant;

use super::{
    super::{
        Denials, RecorderOptions, monotonic_now,
        sampler::{OPEN, Sampled, Sampler},
    },
    Double, START, attempt, bounds, start,
};
use crate::{
    UnixMillis, UserId,
    ledger::{Attempt, Outcome},
};

fn denied(number: u64) -> Attempt {
    attempt(number, Outcome::Denied)
}

fn with(denials: Denials) -> RecorderOptions {
    RecorderOptions {
        denials,
        ..RecorderOptions::default()
    }
}

/// The counts of all records that pass, the smallest first.
fn counts(double: &Double, is_meant: impl Fn(&Attempt) -> bool) -> Vec<u32> {
    let state = double.state();
    let meant = state.attempts.iter().filter(|attempt| is_meant(attempt));
    let mut counts: Vec<_> = meant.map(|attempt| attempt.count.get()).collect();
    counts.sort_unstable();
    counts
}

fn ten_and(rest: u32) -> Vec<u32> {
    let mut counts = vec![1; 10];
    counts.push(rest);
    counts
}

/// Waits until so many records are there; the clock moves by itself.
async fn until(double: &Arc<Double>, rows: usize) -> Duration {
    let since: Instant = monotonic_now();
    for _ in 0..1_000 {
        if double.state().attempts.len() >= rows {
            break;
        }
        tokio::time::advance(Duration::from_millis(100)).await;
        tokio::task::yield_now().await;
    }
    monotonic_now() - since
}

#[tokio::test(start_paused = true)]
async fn ten_rows_and_a_count_for_each_subject_rule_and_minute() {
    let double = Double::new();
    let recorder = start(&double, &with(Denials::Sampled));
    for number in 0..100 {
        recorder.note(denied(number));
        recorder.note(Attempt {
            user: Some(UserId::new("bob").unwrap()),
            ..denied(1_000 + number)
        });
        recorder.note(Attempt {
            rule: Some("GET /x".to_owned()),
            ..denied(2_000 + number)
        });
        recorder.note(Attempt {
            at: UnixMillis::new(START + 60_000),
            ..denied(3_000 + number)
        });
        recorder.note(attempt(4_000 + number, Outcome::ShadowDenied));
        recorder.note(attempt(5_000 + number, Outcome::Unavailable));
        recorder.note(attempt(6_000 + number, Outcome::Released));
    }
    recorder.drain().await;
    let of = |range: std::ops::Range<u64>| {
        let ids: Vec<_> = range.map(super::id).collect();
        counts(&double, |attempt| ids.contains(&attempt.id))
    };
    for thousand in 0..6 {
        let first = thousand * 1_000;
        assert_eq!(of(first..first + 100), ten_and(90), "{thousand}");
    }
    assert_eq!(of(6_000..6_100), vec![1; 100]);
    let state = double.state();
    let many = state
        .attempts
        .iter()
        .find(|attempt| attempt.count.get() > 1);
    assert_eq!(many.unwrap().request_id, None);
}

#[tokio::test(start_paused = true)]
async fn the_count_is_written_when_the_minute_is_over() {
    let double = Double::new();
    let recorder = start(&double, &with(Denials::Sampled));
    for number in 0..25 {
        recorder.note(denied(number));
    }
    // The minute goes on for 59 s.
    let waited = until(&double, 11).await;
    let expected = Duration::from_secs(59)..Duration::from_secs(63);
    assert!(expected.contains(&waited), "{waited:?}");
    assert_eq!(counts(&double, |_| true), ten_and(15));
    // Nothing is left of it.
    recorder.drain().await;
    assert_eq!(double.state().attempts.len(), 11);
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_after_a_drain_is_not_lost() {
    let double = Double::new();
    let recorder = start(&double, &with(Denials::Sampled));
    for (first, after) in [(0, 11), (30, 12)] {
        for number in first..first + 30 {
            recorder.note(denied(number));
        }
        recorder.drain().await;
        assert_eq!(double.state().attempts.len(), after);
    }
    assert_eq!(counts(&double, |_| true).iter().sum::<u32>(), 60);
}

#[tokio::test(start_paused = true)]
async fn each_writes_every_denial_and_off_none() {
    let counted = DebuggingRecorder::new();
    let snapshotter = counted.snapshotter();
    let _counted = metrics::set_default_local_recorder(&counted);
    for (denials, rows) in [(Denials::Each, 100), (Denials::Off, 0)] {
        let double = Double::new();
        let recorder = start(&double, &with(denials));
        for number in 0..100 {
            recorder.note(denied(number));
        }
        recorder.note(attempt(100, Outcome::Released));
        recorder.drain().await;
        assert_eq!(counts(&double, |_| true), vec![1; rows + 1]);
        assert_eq!(bounds::dropped(&snapshotter), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn subjects_beyond_the_cap_are_not_counted_until_a_minute_is_over() {
    let sampler = Sampler::new(Denials::Sampled);
    let of = |user: usize| Attempt {
        user: Some(UserId::new(&user.to_string()).unwrap()),
        ..denied(0)
    };
    let now = monotonic_now();
    for user in 0..OPEN {
        assert!(matches!(sampler.sample(of(user), now), Sampled::Row(_)));
    }
    assert!(matches!(sampler.sample(of(OPEN), now), Sampled::NoRoom));
    assert!(matches!(sampler.sample(of(0), now), Sampled::Row(_)));
    let later = now + Duration::from_secs(61);
    assert!(sampler.take_over(later).is_empty());
    assert!(!sampler.is_open());
    assert!(matches!(sampler.sample(of(OPEN), later), Sampled::Row(_)));
}

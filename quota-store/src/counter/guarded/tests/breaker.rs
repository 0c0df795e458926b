//! When the breaker opens and closes.

use futures_util::{FutureExt, future::join_all};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use super::*;

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_open_the_breaker_and_it_asks_no_more() {
    use StoreErrorKind::{Forbidden, NotServing, Unknown, Unreachable};
    let double = Double::new(Behaviour::Answer);
    let guarded = guard(&double);
    for kind in [Unreachable, NotServing, Forbidden, Unknown] {
        double.set(Behaviour::Fail(kind));
        assert_eq!(guarded.check().await.unwrap_err().kind(), kind);
        assert_eq!(guarded.breaker_state(), BreakerState::Closed);
    }
    double.set(Behaviour::Fail(Unknown));
    guarded.check().await.unwrap_err();
    assert_eq!(guarded.breaker_state(), BreakerState::Open);

    double.set(Behaviour::Answer);
    let asked = double.asked();
    let before = monotonic_now();
    let error = guarded.abort(&one()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::BreakerOpen);
    let admission = guarded.reserve(&one(), OnStoreFailure::Deny).await;
    let unavailable = unavailable(admission);
    assert_eq!(unavailable.kind, StoreErrorKind::BreakerOpen);
    assert_eq!(unavailable.abort, Abort::NotNeeded);
    assert!(unavailable.retry_after >= Duration::from_millis(100));
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(double.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_between_starts_the_count_again() {
    let double = Double::new(Behaviour::Answer);
    let guarded = guard(&double);
    for _ in 0..10 {
        double.set(Behaviour::Fail(StoreErrorKind::Unreachable));
        for _ in 0..4 {
            guarded.check().await.unwrap_err();
        }
        double.set(Behaviour::Answer);
        guarded.check().await.unwrap();
    }
    assert_eq!(guarded.breaker_state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_quarter_of_a_second_of_failures_opens_it_sooner() {
    let double = Double::new(Behaviour::Fail(StoreErrorKind::Unreachable));
    let guarded = guard(&double);
    guarded.check().await.unwrap_err();
    tokio::time::advance(Duration::from_millis(250)).await;
    assert_eq!(guarded.breaker_state(), BreakerState::Closed);
    guarded.check().await.unwrap_err();
    assert_eq!(guarded.breaker_state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn what_concerns_one_request_does_not_open_it() {
    use StoreErrorKind::{Corrupt, Full, Invalid};
    for kind in [Full, Invalid, Corrupt] {
        let double = Double::new(Behaviour::Fail(kind));
        let guarded = guard(&double);
        for _ in 0..20 {
            guarded.check().await.unwrap_err();
        }
        assert_eq!(guarded.breaker_state(), BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_operations_after_the_pause_one_asks_and_closes_it() {
    let double = Double::new(Behaviour::Answer);
    let guarded = guard(&double);
    open(&guarded, &double).await;
    let asked = double.asked();
    double.set(Behaviour::AnswerLater);
    tokio::time::advance(Duration::from_millis(125)).await;
    let answers = join_all((0..50).map(|_| guarded.check())).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(double.asked(), asked + 1);
    assert_eq!(guarded.breaker_state(), BreakerState::Closed);
    guarded.check().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_probe_that_fails_doubles_the_pause_up_to_two_seconds() {
    let double = Double::new(Behaviour::Answer);
    let guarded = guard(&double);
    open(&guarded, &double).await;
    let start = monotonic_now();
    let mut probes = Vec::new();
    let mut asked = double.asked();
    while probes.len() < 8 {
        tokio::time::advance(Duration::from_millis(1)).await;
        guarded.check().await.unwrap_err();
        if double.asked() > asked {
            asked = double.asked();
            probes.push(start.elapsed());
        }
    }
    let mut before = Duration::ZERO;
    for (probe, pause_ms) in probes
        .iter()
        .zip([100, 200, 400, 800, 1600, 2000, 2000, 2000])
    {
        let pause = probe.saturating_sub(before);
        let jitter =
            Duration::from_millis(pause_ms * 3 / 4)..=Duration::from_millis(pause_ms * 5 / 4 + 1);
        assert!(
            jitter.contains(&pause),
            "{pause:?} instead of {pause_ms} ms"
        );
        before = *probe;
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_leaves_its_turn_to_the_next() {
    let double = Double::new(Behaviour::Answer);
    let guarded = guard(&double);
    open(&guarded, &double).await;
    tokio::time::advance(Duration::from_millis(125)).await;
    double.set(Behaviour::Hang);
    let mut probe = Box::pin(guarded.check());
    assert!((&mut probe).now_or_never().is_none());
    assert_eq!(guarded.breaker_state(), BreakerState::HalfOpen);
    double.set(Behaviour::Answer);
    guarded.check().await.unwrap_err();
    drop(probe);
    assert_eq!(guarded.breaker_state(), BreakerState::Open);
    guarded.check().await.unwrap();
    assert_eq!(guarded.breaker_state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_nobody_polls_is_given_up_and_decides_nothing() {
    let double = Double::new(Behaviour::Answer);
    let guarded = guard(&double);
    open(&guarded, &double).await;
    tokio::time::advance(Duration::from_millis(125)).await;
    double.set(Behaviour::Hang);
    let mut forgotten = Box::pin(guarded.check());
    assert!((&mut forgotten).now_or_never().is_none());
    tokio::time::advance(TIMEOUT + Duration::from_secs(1)).await;
    let mut probe = Box::pin(guarded.check());
    assert!((&mut probe).now_or_never().is_none());
    assert_eq!(forgotten.await.unwrap_err().kind(), StoreErrorKind::Unknown);
    assert_eq!(guarded.breaker_state(), BreakerState::HalfOpen);
    drop(probe);
    double.set(Behaviour::Answer);
    guarded.check().await.unwrap();
    assert_eq!(guarded.breaker_state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_it_opened_decides_nothing() {
    let double = Double::new(Behaviour::AnswerLater);
    let guarded = guard(&double);
    let mut early = Box::pin(guarded.check());
    assert!((&mut early).now_or_never().is_none());
    open(&guarded, &double).await;
    early.await.unwrap();
    assert_eq!(guarded.breaker_state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_hangs_is_unknown_after_the_time_out() {
    let double = Double::new(Behaviour::Hang);
    let guarded = guard(&double);
    let before = monotonic_now();
    let unavailable = unavailable(guarded.reserve(&one(), OnStoreFailure::Deny).await);
    assert_eq!(before.elapsed(), TIMEOUT);
    assert_eq!(unavailable.kind, StoreErrorKind::Unknown);
    assert_eq!(unavailable.abort, Abort::Required);
}

#[test]
fn a_store_that_answers_at_once_needs_no_timer() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let guarded = guard(&Double::new(Behaviour::Answer));
    let admission = runtime.block_on(guarded.reserve(&one(), OnStoreFailure::Deny));
    assert!(matches!(admission, Admission::Decided(Decision::Void)));
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_the_state_the_errors_and_the_time() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let double = Double::new(Behaviour::AnswerLater);
    let guarded = guard(&double);
    guarded.check().await.unwrap();
    open(&guarded, &double).await;
    let (mut state, mut errors, mut times) = (None, 0, 0);
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        match (key.key().name(), value) {
            ("quota_breaker_state", DebugValue::Gauge(value)) => state = Some(value.to_string()),
            ("quota_store_errors_total", DebugValue::Counter(count)) => errors += count,
            ("quota_store_seconds", DebugValue::Histogram(values)) => times += values.len(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((state.as_deref(), errors, times), (Some("2"), 5, 1));
}

/// Notes level and target of each event.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<(tracing::Level, String)>>>);

impl tracing::Subscriber for Events {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        let noted = (*metadata.level(), metadata.target().to_owned());
        self.0.lock().unwrap().push(noted);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn opening_and_closing_are_each_logged_once() {
    let events = Events::default();
    let _subscriber = tracing::subscriber::set_default(events.clone());
    let double = Double::new(Behaviour::Answer);
    let guarded = guard(&double);
    open(&guarded, &double).await;
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(3)).await;
        guarded.check().await.unwrap_err();
    }
    double.set(Behaviour::Answer);
    tokio::time::advance(Duration::from_secs(3)).await;
    guarded.check().await.unwrap();
    let mut levels: Vec<_> = events.0.lock().unwrap().clone();
    levels.retain(|(_, target)| target == "quota::breaker");
    let levels: Vec<_> = levels.into_iter().map(|(level, _)| level).collect();
    assert_eq!(levels, [tracing::Level::ERROR, tracing::Level::INFO]);
}

#[test]
fn what_the_guard_returns_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let guarded = guard(&Double::new(Behaviour::Answer));
    let request = one();
    is_send(&guarded.reserve(&request, OnStoreFailure::Local));
    is_send(&guarded.check());
}

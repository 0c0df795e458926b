//! A store that never waits is guarded as any other.

use futures_util::FutureExt;

use super::*;

#[test]
fn a_store_that_never_waits_is_asked_once_and_answers_at_once() {
    let double = Double::prompt(Behaviour::Answer);
    let guarded = guard(&double);
    assert!(guarded.never_waits());
    let admission = guarded.reserve(&one(), OnStoreFailure::Deny).now_or_never();
    assert!(matches!(
        admission,
        Some(Admission::Decided(Decision::Void))
    ));
    assert_eq!(double.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn its_failures_open_the_breaker_and_follow_the_policy() {
    let double = Double::prompt(Behaviour::Fail(StoreErrorKind::Unreachable));
    let guarded = guard(&double);
    for _ in 0..5 {
        let admission = guarded.reserve(&one(), OnStoreFailure::Deny).await;
        assert_eq!(unavailable(admission).kind, StoreErrorKind::Unreachable);
    }
    assert_eq!(guarded.breaker_state(), BreakerState::Open);
    let admission = guarded.reserve(&one(), OnStoreFailure::Allow).await;
    assert_eq!(let_through(admission).kind, StoreErrorKind::BreakerOpen);
    assert_eq!(double.asked(), 5);

    double.set(Behaviour::Answer);
    tokio::time::advance(Duration::from_millis(200)).await;
    let admission = guarded.reserve(&one(), OnStoreFailure::Deny).await;
    assert!(matches!(admission, Admission::Decided(Decision::Void)));
    assert_eq!(guarded.breaker_state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_all_the_same_is_waited_for() {
    let guarded = guard(&Double::prompt(Behaviour::AnswerLater));
    let admission = guarded.reserve(&one(), OnStoreFailure::Deny).await;
    assert!(matches!(admission, Admission::Decided(Decision::Void)));
}

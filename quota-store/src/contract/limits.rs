//! Nothing is held beyond a limit, and nothing less than everything.

use std::sync::Arc;

use super::{
    StoreUnderTest,
    ask::{
        Ask, abort, allowed, ama, ama_of_acme, ask_messages, at_most, by_limits, commit, counter,
        denied, expire, messages, read, read_all, release, send, tenant_messages, three_windows,
        value,
    },
};
use crate::{
    Amount, Bound, Cause, CounterStore, Decision, Requester, Reserve, Scope, Sends, StoreErrorKind,
};

/// 256 tasks of 40 requests and a limit of 100: exactly 100 are allowed.
pub async fn exactly_the_limit_is_allowed_under_concurrency(under: impl StoreUnderTest) {
    let under = Arc::new(under);
    let mut tasks = Vec::new();
    for _ in 0..256 {
        let under = Arc::clone(&under);
        tasks.push(tokio::spawn(async move {
            let mut count = 0;
            for _ in 0..40 {
                match ask_messages(&*under, 100, 1).send(&*under).await {
                    Decision::Allowed(allowed) => {
                        commit(&*under, &allowed.reservation, &[1]).await;
                        count += 1;
                    }
                    other => assert_eq!(denied(other).cause, by_limits(&[0])),
                }
            }
            count
        }));
    }
    let mut count = 0;
    for task in tasks {
        count += task.await.expect("the task ends");
    }
    assert_eq!(count, 100);
    assert_eq!(read(&*under, &ama(), &messages()).await, value(100, 0));
}

/// When one window denies, no window changes.
pub async fn all_windows_are_held_or_none(under: impl StoreUnderTest) {
    let windows = three_windows(Scope::User, under.store().now());
    for tight in 0..3 {
        let mut ask = Ask::of(&under, &ama());
        for (index, window) in windows.iter().enumerate() {
            let hard = if index == tight { 4 } else { 100 };
            ask = ask.hold(window, at_most(hard), 5);
        }
        let denied = ask.denied(&under).await;
        assert_eq!(denied.cause, by_limits(&[tight]));
        assert_eq!(denied.counters.as_slice(), [value(0, 0); 3]);
        assert_eq!(read_all(&under, &ama(), &windows).await, [value(0, 0); 3]);
    }
}

/// A denial names every hold that does not fit, and shows the counters as they are.
pub async fn a_denial_names_every_hold_that_does_not_fit(under: impl StoreUnderTest) {
    let [first, second, third] = three_windows(Scope::User, under.store().now());
    let ask = |amount| {
        Ask::of(&under, &ama())
            .hold(&first, at_most(5), amount)
            .hold(&second, at_most(9), amount)
            .hold(&third, at_most(6), amount)
    };
    let held = ask(3).allowed(&under).await;
    commit(&under, &held, &[2, 2, 2]).await;
    let held = ask(1).send(&under).await;
    assert_eq!(allowed(held).counters.as_slice(), [value(2, 1); 3]);

    let denied = ask(4).denied(&under).await;
    assert_eq!(denied.cause, by_limits(&[0, 2]));
    assert_eq!(denied.counters.as_slice(), [value(2, 1); 3]);
}

/// When the tenant's limit denies, the user's counter does not move, and the other way round.
pub async fn user_and_tenant_are_held_together_or_not_at_all(under: impl StoreUnderTest) {
    let under = Arc::new(under);
    let mut tasks = Vec::new();
    for task in 0..8 {
        let under = Arc::clone(&under);
        let user = super::ask::requester(Some("acme"), &format!("user {task}"));
        tasks.push(tokio::spawn(async move {
            let mut count = 0;
            for _ in 0..30 {
                let ask = Ask::of(&*under, &user)
                    .hold(&messages(), at_most(20), 1)
                    .hold(&tenant_messages(), at_most(100), 1);
                if let Decision::Allowed(allowed) = ask.send(&*under).await {
                    commit(&*under, &allowed.reservation, &[1, 1]).await;
                    count += 1;
                }
            }
            let own = read(&*under, &user, &messages()).await;
            assert_eq!(own, value(count, 0), "the user's counter");
            count
        }));
    }
    let mut count = 0;
    for task in tasks {
        count += task.await.expect("the task ends");
    }
    assert_eq!(count, 100);
    let total = read(&*under, &ama_of_acme(), &tenant_messages()).await;
    assert_eq!(total, value(100, 0), "the tenant's counter");
}

/// A hold of zero is never denied, also over the limit, and its commit charges what was used.
pub async fn a_hold_of_zero_is_never_denied(under: impl StoreUnderTest) {
    let held = ask_messages(&under, 5, 5).allowed(&under).await;
    commit(&under, &held, &[9]).await;
    let free = ask_messages(&under, 5, 0).allowed(&under).await;
    ask_messages(&under, 5, 1).denied(&under).await;
    commit(&under, &free, &[2]).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(11, 0));

    let other = counter(Scope::User, "tokens", super::ask::LIFETIME);
    let ask = Ask::of(&under, &ama()).hold(&other, at_most(0), 0);
    let free = ask.allowed(&under).await;
    commit(&under, &free, &[3]).await;
    assert_eq!(read(&under, &ama(), &other).await, value(3, 0));
}

/// Amounts up to 2^53 - 1 are exact to the digit.
pub async fn amounts_are_exact_to_the_digit(under: impl StoreUnderTest) {
    let most = Amount::MAX.get();
    let held = ask_messages(&under, most, most - 1).allowed(&under).await;
    let last = ask_messages(&under, most, 1).allowed(&under).await;
    let denied = ask_messages(&under, most, 1).denied(&under).await;
    assert_eq!(denied.counters.as_slice(), [value(0, most)]);

    commit(&under, &held, &[most - 1]).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(most - 1, 1));
    release(&under, &last).await;
    let held = ask_messages(&under, most, 1).allowed(&under).await;
    commit(&under, &held, &[1]).await;
    assert_eq!(read(&under, &ama(), &messages()).await, value(most, 0));

    let odd = counter(Scope::User, "tokens", super::ask::LIFETIME);
    let ask = |amount| Ask::of(&under, &ama()).hold(&odd, Bound::Unlimited, amount);
    for amount in [100_000_000_000_000, 100_000_000_000_001, 1] {
        let held = ask(amount).allowed(&under).await;
        commit(&under, &held, &[amount]).await;
    }
    let sum = 200_000_000_000_002;
    assert_eq!(read(&under, &ama(), &odd).await, value(sum, 0));
}

/// `used` stops at 2^53 - 1, and then only unlimited holds are let in.
pub async fn used_stops_at_the_largest_amount(under: impl StoreUnderTest) {
    let most = Amount::MAX.get();
    for _ in 0..2 {
        let ask = Ask::of(&under, &ama()).hold(&messages(), Bound::Unlimited, 1);
        let held = ask.allowed(&under).await;
        commit(&under, &held, &[most - 1]).await;
    }
    assert_eq!(read(&under, &ama(), &messages()).await, value(most, 0));
    ask_messages(&under, most, 1).denied(&under).await;
    let ask = Ask::of(&under, &ama()).hold(&messages(), Bound::Unlimited, 1);
    ask.allowed(&under).await;
}

/// An unlimited hold is denied only where `reserved` would pass 2^53 - 1.
pub async fn an_unlimited_hold_is_denied_only_by_overflow(under: impl StoreUnderTest) {
    let most = Amount::MAX.get();
    let ask = |amount| Ask::of(&under, &ama()).hold(&messages(), Bound::Unlimited, amount);
    let held = ask(most).allowed(&under).await;
    assert_eq!(ask(1).denied(&under).await.cause, by_limits(&[0]));
    ask(0).allowed(&under).await;
    release(&under, &held).await;
    ask(1).allowed(&under).await;
}

/// A user has at most `max_in_flight` live reservations, and each way of ending frees one.
pub async fn live_reservations_of_a_user_are_limited(under: impl StoreUnderTest) {
    let ask = |user: &Requester| {
        Ask::of(&under, user)
            .hold(&messages(), at_most(100), 1)
            .with(|request| request.max_in_flight = 1)
    };
    let assert_busy = async || {
        let denied = ask(&ama()).denied(&under).await;
        assert_eq!(denied.cause, Cause::InFlight);
        let free = ask(&super::ask::requester(None, "kofi"))
            .allowed(&under)
            .await;
        release(&under, &free).await;
    };
    let held = ask(&ama()).allowed(&under).await;
    assert_busy().await;
    commit(&under, &held, &[1]).await;
    let held = ask(&ama()).allowed(&under).await;
    assert_busy().await;
    release(&under, &held).await;
    let request: Arc<Reserve> = ask(&ama()).request();
    allowed(send(&under, &request).await);
    assert_busy().await;
    abort(&under, &request).await;
    let held = ask(&ama()).short(&under).allowed(&under).await;
    expire(&under, &held).await;
    ask(&ama()).allowed(&under).await;
    assert_busy().await;
}

/// A tenant's counter without a tenant is an error, not a denial.
pub async fn a_tenants_counter_needs_a_tenant(under: impl StoreUnderTest) {
    let ask = Ask::of(&under, &ama()).hold(&tenant_messages(), at_most(5), 1);
    let request = ask.request();
    let answer = under.store().reserve(&request, Sends::Once);
    let error = answer.await.err().map(|error| error.kind());
    assert_eq!(error, Some(StoreErrorKind::Invalid));
}

//! Decisions are never made from something out of date.

use super::{
    StoreUnderTest,
    ask::{
        Ask, administer, ama, ama_of_acme, at_most, counter, messages, read, requester, stale,
        tenant_messages, value, window_of,
    },
};
use crate::{Act, Administered, CounterStore, Decision, Generation, KnownGeneration, Scope, Stale};

/// A window that does not contain the store's now is refused, with that now.
pub async fn a_window_that_is_not_now_is_stale(under: impl StoreUnderTest) {
    let now = under.store().now();
    let hour = 3_600;
    for elsewhere in [now.seconds() - 2 * hour, now.seconds() + 2 * hour] {
        let window = window_of(hour, crate::UnixMillis::from_seconds(elsewhere));
        let key = counter(Scope::User, "messages", window);
        let ask = Ask::of(&under, &ama_of_acme())
            .hold(&messages(), at_most(5), 1)
            .hold(&key, at_most(5), 1);
        let Stale::Window { now: told } = stale(ask.send(&under).await) else {
            unreachable!("the plan is not stale");
        };
        assert!(!key.span.contains(told), "{told}");
    }
    assert_eq!(read(&under, &ama_of_acme(), &messages()).await, value(0, 0));
}

/// What was worked out from another generation than the stored one is refused, in both scopes.
pub async fn a_plan_of_another_generation_is_stale(under: impl StoreUnderTest) {
    for scope in [Scope::User, Scope::Tenant] {
        let ask = |known| {
            Ask::of(&under, &ama_of_acme())
                .hold(&messages(), at_most(100), 1)
                .hold(&tenant_messages(), at_most(100), 1)
                .with(|request| match scope {
                    Scope::User => request.user_generation = known,
                    Scope::Tenant => request.tenant_generation = known,
                })
        };
        let assert_stale = async |known, current: Option<u64>| {
            let current = current.map(Generation);
            let expected = Stale::Plan { scope, current };
            assert_eq!(stale(ask(known).send(&under).await), expected);
        };
        let cached = |number| KnownGeneration::Cached(Generation(number));
        let fresh = |number| KnownGeneration::Fresh(Generation(number));

        ask(KnownGeneration::Untracked).allowed(&under).await;
        assert_stale(cached(7), None).await;
        ask(fresh(7)).allowed(&under).await;
        ask(cached(7)).allowed(&under).await;
        ask(fresh(7)).allowed(&under).await;
        assert_stale(cached(6), Some(7)).await;
        // An administrator may have died between the directory and the store.
        ask(fresh(8)).allowed(&under).await;
        assert_stale(cached(7), Some(8)).await;
        assert_stale(fresh(7), Some(8)).await;
        ask(KnownGeneration::Untracked).allowed(&under).await;

        let act = |number| Act::AdvanceGeneration(scope, Generation(number));
        let done = administer(&under, &ama_of_acme(), act(9)).await;
        assert_eq!(done, Administered::Generation(Generation(9)));
        assert_stale(cached(7), Some(9)).await;
        assert_stale(fresh(7), Some(9)).await;
        let done = administer(&under, &ama_of_acme(), act(8)).await;
        assert_eq!(done, Administered::Generation(Generation(9)));
        ask(cached(9)).allowed(&under).await;
    }
    let both = read(&under, &ama_of_acme(), &messages()).await;
    assert_eq!(both, value(0, 14));
}

/// What was worked out from other plans of the database than the stored ones is refused, whoever
/// asks.
pub async fn plans_of_another_generation_are_stale(under: impl StoreUnderTest) {
    let requesters = [ama(), ama_of_acme(), requester(Some("globex"), "bob")];
    let cached = |number| KnownGeneration::Cached(Generation(number));
    let fresh = |number| KnownGeneration::Fresh(Generation(number));
    for who in &requesters {
        let ask = |known| {
            Ask::of(&under, who)
                .hold(&messages(), at_most(100), 1)
                .with(|request| request.plans_generation = known)
        };
        let assert_stale = async |known, current: Option<u64>| {
            let current = current.map(Generation);
            assert_eq!(
                stale(ask(known).send(&under).await),
                Stale::Plans { current }
            );
        };
        ask(KnownGeneration::Untracked).allowed(&under).await;
        // Another owner may have stored it already.
        let first = ask(cached(7)).send(&under).await;
        assert!(!matches!(first, Decision::Denied(_)), "{first:?}");
        ask(fresh(7)).allowed(&under).await;
        ask(cached(7)).allowed(&under).await;
        assert_stale(cached(6), Some(7)).await;
        assert_stale(fresh(6), Some(7)).await;
        assert_stale(cached(8), Some(7)).await;
    }
    for (advanced, known) in [(9, 9), (8, 9), (10, 10)] {
        let done = under.store().advance_plans(Generation(advanced)).await;
        done.expect("the store answers");
        for who in &requesters {
            let ask = |known| {
                Ask::of(&under, who)
                    .hold(&messages(), at_most(100), 1)
                    .with(|request| request.plans_generation = known)
            };
            let current = Some(Generation(known));
            let old = stale(ask(fresh(7)).send(&under).await);
            assert_eq!(old, Stale::Plans { current });
            ask(cached(known)).allowed(&under).await;
            ask(fresh(known)).allowed(&under).await;
        }
    }
    // It is advanced before anybody asked, too, and a reserve that is stale holds nothing.
    let unheard = requester(None, "unheard");
    let ask = Ask::of(&under, &unheard)
        .hold(&messages(), at_most(5), 1)
        .with(|request| request.plans_generation = cached(9));
    let current = Some(Generation(10));
    assert_eq!(stale(ask.send(&under).await), Stale::Plans { current });
    assert_eq!(read(&under, &unheard, &messages()).await, value(0, 0));
}

/// A generation that was advanced before the first reserve is already known.
pub async fn a_generation_may_come_before_the_first_reserve(under: impl StoreUnderTest) {
    let advance = Act::AdvanceGeneration(Scope::User, Generation(3));
    administer(&under, &ama_of_acme(), advance).await;
    let ask = |known| {
        Ask::of(&under, &ama_of_acme())
            .hold(&messages(), at_most(5), 1)
            .with(|request| request.user_generation = known)
    };
    let current = Some(Generation(3));
    let scope = Scope::User;
    let old = ask(KnownGeneration::Fresh(Generation(2)))
        .send(&under)
        .await;
    assert_eq!(stale(old), Stale::Plan { scope, current });
    let new = ask(KnownGeneration::Cached(Generation(3)))
        .send(&under)
        .await;
    assert!(matches!(new, Decision::Allowed(_)), "{new:?}");
}

//! The rules of `docs/protocol.md`.

use std::{sync::Arc, time::Duration};

use quota_store::{
    Act, Administered, Amount, Bound, Cause, Correction, CounterStore as _, Decision, Epoch,
    Generation, Hold, KnownGeneration, Orphans, Renewed, Reservation, Scope, Sends, Settled, Stale,
    UnixMillis, Window, WindowSpan,
};

use crate::{
    kit::{
        Kit, allowed, brief, counter, done, hold, member, numbers, of_tenant, of_user, one,
        request, user,
    },
    server::until,
};

#[tokio::test]
async fn one_denial_holds_nothing_and_names_its_place() {
    let kit = Kit::start().await;
    let alice = member("acme", "alice");
    let tokens = counter(Scope::Tenant, "tokens");
    let holds = [
        hold(of_tenant(), 10, 3),
        hold(of_user(), 5, 2),
        hold(tokens.clone(), 7, 8),
    ];
    let Decision::Denied(denied) = kit.reserve(&Arc::new(request(&alice, &holds))).await else {
        panic!("8 of 7 were allowed");
    };
    assert_eq!(denied.cause, Cause::Limits([2].into_iter().collect()));
    assert_eq!(numbers(&denied.counters), [(0, 0); 3]);

    let holds = [&holds[..2], &[hold(tokens.clone(), 7, 7)]].concat();
    let first = kit.allowed(&Arc::new(request(&alice, &holds))).await;
    assert_eq!(numbers(&first.counters), [(0, 3), (0, 2), (0, 7)]);
    let Decision::Denied(denied) = kit.reserve(&Arc::new(request(&alice, &holds))).await else {
        panic!("14 of 7 were allowed");
    };
    assert_eq!(denied.cause, Cause::Limits([2].into_iter().collect()));
    let settled = kit.commit(&first.reservation, &[1, 9, 0]).await;
    assert_eq!(done(&settled), [(1, 0), (9, 0), (0, 0)]);
    assert_eq!(
        kit.commit(&first.reservation, &[1, 9, 0]).await,
        Settled::Already
    );
    let read = kit.read(&alice, &[tokens, of_user(), of_tenant()]).await;
    assert_eq!(read, [(0, 0), (9, 0), (1, 0)]);
}

#[tokio::test]
async fn the_last_units_go_to_as_many_callers_as_there_are_units() {
    let kit = Arc::new(Kit::start().await);
    let tasks = (0..300).map(|_| {
        let kit = Arc::clone(&kit);
        tokio::spawn(async move {
            let decision = kit.reserve(&one(&user("alice"), 100)).await;
            if let Decision::Allowed(allowed) = decision {
                kit.commit(&allowed.reservation, &[1]).await;
                1
            } else {
                0
            }
        })
    });
    let mut admitted = 0;
    for task in tasks.collect::<Vec<_>>() {
        admitted += task.await.unwrap();
    }
    // Nothing is given back, so that a refusal while units are held stays right.
    assert_eq!(admitted, 100);
    assert_eq!(kit.read(&user("alice"), &[of_user()]).await, [(100, 0)]);
}

#[tokio::test]
async fn the_largest_amounts_are_exact() {
    let kit = Kit::start().await;
    let most = Amount::MAX.get();
    let alice = user("alice");
    let held = kit
        .allowed(&Arc::new(request(
            &alice,
            &[hold(of_user(), most, most - 1)],
        )))
        .await;
    assert_eq!(numbers(&held.counters), [(0, most - 1)]);
    let second = kit.allowed(&one(&alice, most)).await;
    assert_eq!(numbers(&second.counters), [(0, most)]);
    assert!(matches!(
        kit.reserve(&one(&alice, most)).await,
        Decision::Denied(_)
    ));
    let unlimited = Hold {
        hard: Bound::Unlimited,
        ..hold(of_user(), 0, 1)
    };
    let beyond = Arc::new(request(&alice, &[unlimited]));
    assert!(matches!(kit.reserve(&beyond).await, Decision::Denied(_)));
    assert_eq!(
        done(&kit.commit(&held.reservation, &[most - 2]).await),
        [(most - 2, 1)]
    );
    assert_eq!(
        done(&kit.commit(&second.reservation, &[5]).await),
        [(most, 0)]
    );
    let zero = kit
        .allowed(&Arc::new(request(&alice, &[hold(of_user(), 0, 0)])))
        .await;
    assert_eq!(numbers(&zero.counters), [(most, 0)]);
}

#[tokio::test]
async fn a_reserve_that_comes_again_is_answered_again_and_holds_nothing_more() {
    let kit = Kit::start().await;
    let once = one(&user("alice"), 1);
    kit.allowed(&once).await;
    let again = allowed(kit.store.reserve(&once, Sends::Repeated).await);
    assert_eq!(numbers(&again.counters), [(0, 1)]);
    assert_eq!(done(&kit.commit(&again.reservation, &[1]).await), [(1, 0)]);
    assert!(matches!(kit.reserve(&once).await, Decision::Void));
}

#[tokio::test]
async fn a_reserve_after_its_time_or_its_abort_is_void() {
    let kit = Kit::start().await;
    let mut late = request(&user("alice"), &[hold(of_user(), 5, 1)]);
    late.not_after = UnixMillis::new(1);
    assert!(matches!(kit.reserve(&Arc::new(late)).await, Decision::Void));

    let overtaken = one(&user("alice"), 5);
    assert_eq!(kit.store.abort(&overtaken).await.unwrap(), Settled::Already);
    assert!(matches!(kit.reserve(&overtaken).await, Decision::Void));

    let held = one(&user("alice"), 5);
    kit.allowed(&held).await;
    assert_eq!(done(&kit.store.abort(&held).await.unwrap()), [(0, 0)]);
    assert_eq!(kit.store.abort(&held).await.unwrap(), Settled::Already);
    assert!(matches!(kit.reserve(&held).await, Decision::Void));
}

#[tokio::test]
async fn a_plan_out_of_date_is_stale() {
    let kit = Kit::start().await;
    let alice = member("acme", "alice");
    let reserve = async |user_generation, tenant_generation| {
        let mut request = request(&alice, &[hold(of_user(), 5, 1)]);
        request.user_generation = user_generation;
        request.tenant_generation = tenant_generation;
        match kit.reserve(&Arc::new(request)).await {
            Decision::Stale(Stale::Plan { scope, current }) => Some((scope, current)),
            Decision::Allowed(_) => None,
            other => panic!("{other:?}"),
        }
    };
    let (cached, fresh) = (
        |n| KnownGeneration::Cached(Generation(n)),
        |n| KnownGeneration::Fresh(Generation(n)),
    );
    let none = KnownGeneration::Untracked;
    assert_eq!(reserve(cached(1), none).await, Some((Scope::User, None)));
    assert_eq!(reserve(fresh(1), none).await, None);
    assert_eq!(reserve(cached(1), none).await, None);
    assert_eq!(reserve(fresh(2), none).await, None);
    let expected = Some((Scope::User, Some(Generation(2))));
    assert_eq!(reserve(fresh(1), none).await, expected);
    assert_eq!(reserve(none, cached(7)).await, Some((Scope::Tenant, None)));
    let largest = Generation(u64::MAX);
    for (advance, expected) in [(largest, largest), (Generation(9), largest)] {
        let act = Act::AdvanceGeneration(Scope::Tenant, advance);
        let now = kit.administer(&alice, act).await;
        assert_eq!(now, Administered::Generation(expected));
    }
    assert_eq!(
        reserve(cached(2), KnownGeneration::Cached(largest)).await,
        None
    );
    let expected = Some((Scope::Tenant, Some(largest)));
    assert_eq!(reserve(cached(2), cached(u64::MAX - 1)).await, expected);
}

#[tokio::test]
async fn a_window_that_is_over_is_stale() {
    let kit = Kit::start().await;
    let mut over = of_user();
    over.span = WindowSpan::new(UnixMillis::new(0), UnixMillis::new(60_000)).unwrap();
    let request = Arc::new(request(
        &user("alice"),
        &[hold(of_user(), 5, 1), hold(over, 5, 1)],
    ));
    let decision = kit.reserve(&request).await;
    assert!(
        matches!(decision, Decision::Stale(Stale::Window { .. })),
        "{decision:?}"
    );
    assert_eq!(kit.read(&user("alice"), &[of_user()]).await, [(0, 0)]);
}

#[tokio::test]
async fn a_user_has_so_many_reservations_in_flight() {
    let kit = Kit::start().await;
    let request = || {
        let mut request = request(&user("alice"), &[]);
        request.max_in_flight = 2;
        Arc::new(request)
    };
    let first = kit.allowed(&request()).await;
    kit.allowed(&request()).await;
    let Decision::Denied(denied) = kit.reserve(&request()).await else {
        panic!("three of two are in flight");
    };
    assert_eq!(denied.cause, Cause::InFlight);
    let released = kit.store.release(&first.reservation).await.unwrap();
    assert_eq!(released, Settled::Done(quota_store::CounterValues::new()));
    assert_eq!(
        kit.store.release(&first.reservation).await.unwrap(),
        Settled::Already
    );
    kit.allowed(&request()).await;
}

#[tokio::test]
async fn no_denial_is_the_fault_of_expired_reservations() {
    let kit = Kit::start().await;
    let alice = user("alice");
    for _ in 0..300 {
        kit.allowed(&brief(&alice, 300, 3_000)).await;
    }
    assert!(matches!(
        kit.reserve(&one(&alice, 300)).await,
        Decision::Denied(_)
    ));
    kit.server.run::<String>("SET quota:sweep held").await;
    until(async || matches!(kit.reserve(&one(&alice, 1)).await, Decision::Allowed(_))).await;
    assert_eq!(kit.read(&alice, &[of_user()]).await, [(0, 1)]);
}

#[tokio::test]
async fn an_expired_reservation_is_swept_and_charged_late_once() {
    let kit = Kit::start().await;
    let alice = member("acme", "alice");
    let mut request = request(&alice, &[hold(of_user(), 5, 2), hold(of_tenant(), 9, 3)]);
    request.ttl = Duration::from_millis(100);
    let held = kit.allowed(&Arc::new(request)).await;
    // Only the sweep is asked: no read, no reserve.
    until(async || kit.server.run::<u32>("EXISTS quota:{82}:x").await == 0).await;
    assert_eq!(
        kit.read(&alice, &[of_user(), of_tenant()]).await,
        [(0, 0), (0, 0)]
    );
    let renewed = kit
        .store
        .renew(std::slice::from_ref(&held.reservation))
        .await
        .unwrap();
    assert_eq!(renewed, [Renewed::Gone]);
    assert_eq!(
        kit.store.release(&held.reservation).await.unwrap(),
        Settled::Already
    );
    let Settled::Late(counters) = kit.commit(&held.reservation, &[1, 4]).await else {
        panic!("a late commit is late");
    };
    assert_eq!(numbers(&counters), [(1, 0), (4, 0)]);
    assert_eq!(
        kit.commit(&held.reservation, &[1, 4]).await,
        Settled::Already
    );
}

#[tokio::test]
async fn orphaned_units_are_charged_where_the_request_says_so() {
    let kit = Kit::start().await;
    let alice = user("alice");
    let mut request = request(&alice, &[hold(of_user(), 5, 2)]);
    request.ttl = Duration::from_millis(1);
    request.orphans = Orphans::Charge;
    let held = kit.allowed(&Arc::new(request)).await;
    until(async || kit.read(&alice, &[of_user()]).await == [(2, 0)]).await;
    assert_eq!(kit.commit(&held.reservation, &[2]).await, Settled::Already);
}

#[tokio::test]
async fn a_renewed_reservation_outlives_its_first_time_to_live() {
    let kit = Kit::start().await;
    let alice = user("alice");
    let kept = kit.allowed(&brief(&alice, 5, 2_000)).await;
    let lost = kit.allowed(&brief(&alice, 5, 300)).await;
    until(async || {
        let renewed = kit
            .store
            .renew(std::slice::from_ref(&kept.reservation))
            .await
            .unwrap();
        assert_eq!(renewed, [Renewed::Held]);
        kit.store.now()
            > kept
                .reservation
                .reserved_at
                .saturating_add(Duration::from_secs(3))
    })
    .await;
    assert_eq!(kit.read(&alice, &[of_user()]).await, [(0, 1)]);
    assert!(matches!(
        kit.commit(&lost.reservation, &[1]).await,
        Settled::Late(_)
    ));
    assert_eq!(done(&kit.commit(&kept.reservation, &[1]).await), [(2, 0)]);
}

#[tokio::test]
async fn a_correction_counts_once_and_stops_at_zero() {
    let kit = Kit::start().await;
    let made = kit.allowed(&one(&user("alice"), 5)).await.reservation;
    kit.commit(&made, &[4]).await;
    let correct = async |reservation: &Reservation, difference| {
        let correction = Correction {
            reservation: reservation.clone(),
            differences: [difference].into_iter().collect(),
            attempt: None,
        };
        kit.store.correct(&correction).await.unwrap()
    };
    assert_eq!(done(&correct(&made, -9).await), [(0, 0)]);
    assert_eq!(correct(&made, 9).await, Settled::Already);
    let other = kit.allowed(&one(&user("alice"), 5)).await.reservation;
    kit.commit(&other, &[1]).await;
    assert_eq!(done(&correct(&other, 2).await), [(3, 0)]);
    let third = kit.allowed(&one(&user("alice"), 5)).await.reservation;
    kit.commit(&third, &[0]).await;
    assert_eq!(correct(&old(&third), 2).await, Settled::TooOld);
}

/// The same reservation, made before anything the store remembers.
fn old(reservation: &Reservation) -> Reservation {
    let mut old = reservation.clone();
    old.reserved_at = UnixMillis::new(1);
    old
}

#[tokio::test]
async fn lost_data_makes_a_commit_late_and_an_old_one_is_too_old() {
    let kit = Kit::start().await;
    let made = kit.allowed(&one(&user("alice"), 5)).await.reservation;
    assert_eq!(done(&kit.commit(&made, &[1]).await), [(1, 0)]);
    assert_eq!(kit.commit(&old(&made), &[1]).await, Settled::TooOld);
    let epoch = Epoch(made.epoch.0 ^ 1);
    let lost = Reservation::new(one(&user("alice"), 5), made.reserved_at, epoch, Sends::Once);
    assert!(matches!(kit.commit(&lost, &[2]).await, Settled::Late(_)));
    assert_eq!(kit.commit(&lost, &[2]).await, Settled::Already);
    assert_eq!(kit.read(&user("alice"), &[of_user()]).await, [(3, 0)]);
}

#[tokio::test]
async fn windows_of_one_quota_are_counted_apart() {
    let kit = Kit::start().await;
    let mut ever = of_user();
    (ever.window, ever.span) = (Window::Lifetime, WindowSpan::LIFETIME);
    let holds = [hold(of_user(), 5, 1), hold(ever.clone(), 5, 2)];
    let made = kit
        .allowed(&Arc::new(request(&user("alice"), &holds)))
        .await;
    kit.commit(&made.reservation, &[1, 2]).await;
    assert_eq!(
        kit.read(&user("alice"), &[ever, of_user()]).await,
        [(2, 0), (1, 0)]
    );
}

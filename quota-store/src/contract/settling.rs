//! A reservation ends once, and charges its own window.

use super::{
    StoreUnderTest,
    ask::{
        Ask, abort, allowed, ama, ama_of_acme, ask_messages, at_most, commit, correct, counter,
        expire, messages, pass_until, read, read_all, release, send, send_again, tenant_messages,
        three_windows, value, window_of,
    },
};
use crate::{CounterStore, Scope, Settled};

/// What was not used is free, and what was used beyond the hold is charged too.
pub async fn a_commit_charges_what_was_used(under: impl StoreUnderTest) {
    let held = ask_messages(&under, 10, 6).allowed(&under).await;
    let settled = commit(&under, &held, &[2]).await;
    assert_eq!(settled, Settled::Done([value(2, 0)].into_iter().collect()));
    let held = ask_messages(&under, 10, 8).allowed(&under).await;
    let settled = commit(&under, &held, &[13]).await;
    assert_eq!(settled, Settled::Done([value(15, 0)].into_iter().collect()));
    ask_messages(&under, 10, 1).denied(&under).await;
    ask_messages(&under, 16, 1).allowed(&under).await;
}

/// A release gives every unit back and charges nothing.
pub async fn a_release_gives_everything_back(under: impl StoreUnderTest) {
    let windows = three_windows(Scope::User, under.store().now());
    let mut ask = Ask::of(&under, &ama());
    for window in &windows {
        ask = ask.hold(window, at_most(5), 5);
    }
    let held = ask.allowed(&under).await;
    assert_eq!(read_all(&under, &ama(), &windows).await, [value(0, 5); 3]);
    let settled = release(&under, &held).await;
    assert_eq!(
        settled,
        Settled::Done([value(0, 0); 3].into_iter().collect())
    );
    assert_eq!(read_all(&under, &ama(), &windows).await, [value(0, 0); 3]);
}

/// Of two settles only the first takes effect, whatever they are.
pub async fn a_reservation_ends_once(under: impl StoreUnderTest) {
    let mut used = 0;
    for first_commits in [true, false] {
        for second_commits in [true, false] {
            let held = ask_messages(&under, 100, 5).allowed(&under).await;
            let other = ask_messages(&under, 100, 5).allowed(&under).await;
            for (place, commits) in [first_commits, second_commits].into_iter().enumerate() {
                let settled = if commits {
                    commit(&under, &held, &[3]).await
                } else {
                    release(&under, &held).await
                };
                assert_eq!(matches!(settled, Settled::Done(_)), place == 0);
                assert_eq!(matches!(settled, Settled::Already), place == 1);
            }
            used += if first_commits { 3 } else { 0 };
            assert_eq!(read(&under, &ama(), &messages()).await, value(used, 5));
            let again = commit(&under, &held, &[3]).await;
            assert_eq!(again, Settled::Already);
            release(&under, &other).await;
        }
    }
    assert_eq!(read(&under, &ama(), &messages()).await, value(6, 0));
}

/// Reserved before the end of a window and committed after it: charged to the window in which it
/// was reserved, and the next one is untouched.
pub async fn a_commit_is_charged_to_the_window_of_its_reserve(under: impl StoreUnderTest) {
    let seconds = 2;
    let mut now = under.store().now();
    let (_, span) = window_of(seconds, now);
    // Begin with a window, so that the reserve surely arrives within it.
    pass_until(&under, span.end().unwrap_or(now)).await;
    now = under.store().now();
    let old = counter(Scope::User, "messages", window_of(seconds, now));
    let held = Ask::of(&under, &ama())
        .hold(&old, at_most(5), 5)
        .allowed(&under)
        .await;
    pass_until(&under, old.span.end().unwrap_or(now)).await;
    let new = counter(
        Scope::User,
        "messages",
        window_of(seconds, under.store().now()),
    );
    assert_ne!(old, new);
    let settled = commit(&under, &held, &[4]).await;
    assert_eq!(settled, Settled::Done([value(4, 0)].into_iter().collect()));
    let both = read_all(&under, &ama(), &[old.clone(), new.clone()]).await;
    assert_eq!(both, [value(4, 0), value(0, 0)]);
    correct(&under, &held, &[-1]).await;
    let both = read_all(&under, &ama(), &[old, new]).await;
    assert_eq!(both, [value(3, 0), value(0, 0)]);
}

/// A correction takes effect once, up or down, and stops at zero.
pub async fn a_correction_takes_effect_once(under: impl StoreUnderTest) {
    for (difference, expected) in [(7, 12), (-4, 8), (-20, 0)] {
        let held = ask_messages(&under, 100, 5).allowed(&under).await;
        let before = read(&under, &ama(), &messages()).await.used.get();
        let amount = if before == 0 { 5 } else { 0 };
        commit(&under, &held, &[amount]).await;
        let settled = correct(&under, &held, &[difference]).await;
        let now = value(expected, 0);
        assert_eq!(settled, Settled::Done([now].into_iter().collect()));
        let again = correct(&under, &held, &[difference]).await;
        assert_eq!(again, Settled::Already);
        assert_eq!(read(&under, &ama(), &messages()).await, now);
    }
}

/// Of settled reservations no record, index entry or reserved unit is left, only markers that
/// expire.
pub async fn settled_reservations_leave_nothing_behind(under: impl StoreUnderTest) {
    let ask = || {
        Ask::of(&under, &ama_of_acme())
            .hold(&messages(), at_most(100), 1)
            .hold(&tenant_messages(), at_most(100), 1)
    };
    for _ in 0..5 {
        let held = ask().allowed(&under).await;
        commit(&under, &held, &[1, 1]).await;
        let held = ask().allowed(&under).await;
        release(&under, &held).await;
    }
    assert_eq!(under.leftovers().await, Vec::<String>::new());

    let request = ask().request();
    allowed(send(&under, &request).await);
    let held = allowed(send_again(&under, &request).await).reservation;
    commit(&under, &held, &[1, 1]).await;
    correct(&under, &held, &[1, 1]).await;
    let request = ask().request();
    allowed(send(&under, &request).await);
    abort(&under, &request).await;
    abort(&under, &ask().request()).await;
    let held = ask().short(&under).allowed(&under).await;
    expire(&under, &held).await;
    commit(&under, &held, &[1, 1]).await;
    assert_eq!(under.leftovers().await, Vec::<String>::new());
    let both = [messages(), tenant_messages()];
    let both = read_all(&under, &ama_of_acme(), &both).await;
    assert_eq!(both, [value(8, 0); 2]);
}

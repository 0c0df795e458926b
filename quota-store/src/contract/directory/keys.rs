//! Keys that take effect once.

use std::{sync::Arc, time::Duration};

use super::{super::ledger::records::START, DirectoryUnderTest};
use crate::{
    UnixMillis,
    contract::ledger::hostile_texts,
    directory::{Begun, Directory, KeptAnswer, KeyClaim},
};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const ALMOST_A_DAY: Duration = Duration::from_mins(24 * 60 - 1);

fn claim(key: &str) -> KeyClaim {
    KeyClaim {
        actor: "admin-1".to_owned(),
        key: key.to_owned(),
        fingerprint: [7; 32],
        at: UnixMillis::new(START),
    }
}

fn later(claim: &KeyClaim, duration: Duration) -> KeyClaim {
    KeyClaim {
        at: claim.at.saturating_add(duration),
        ..claim.clone()
    }
}

fn answer(body: &str) -> KeptAnswer {
    KeptAnswer {
        status: 201,
        body: body.to_owned(),
    }
}

async fn begin(directory: &impl Directory, claim: &KeyClaim) -> Begun {
    directory.begin(claim).await.expect("it is answered")
}

async fn finish(directory: &impl Directory, claim: &KeyClaim, answer: &KeptAnswer) {
    directory.finish(claim, answer).await.expect("it is kept");
}

async fn abandon(directory: &impl Directory, claim: &KeyClaim) {
    directory.abandon(claim).await.expect("it is let go");
}

/// Of many at once one begins, also where it is opened twice.
pub async fn a_key_begins_once(under: impl DirectoryUnderTest) {
    let opened = [under.open().await, under.open().await];
    for round in 0..10 {
        let wanted = claim(&format!("key {round}"));
        let tasks = opened.iter().cycle().take(6).map(|one| {
            let (directory, wanted) = (Arc::clone(one), wanted.clone());
            tokio::spawn(async move { begin(&*directory, &wanted).await })
        });
        let mut new = 0;
        for task in tasks.collect::<Vec<_>>() {
            match task.await.expect("no task panics") {
                Begun::New => new += 1,
                other => assert_eq!(other, Begun::Running),
            }
        }
        assert_eq!(new, 1);
    }
}

/// The answer is kept as it was given, for every kind of key.
pub async fn a_finished_key_gives_its_answer_again(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let mut texts = hostile_texts();
    texts.push(String::new());
    for text in &texts {
        let mut wanted = claim(text);
        wanted.actor.clone_from(text);
        assert_eq!(begin(&*directory, &wanted).await, Begun::New);
        finish(&*directory, &wanted, &answer(text)).await;
    }
    let again = under.open().await;
    for text in &texts {
        let mut wanted = later(&claim(text), ALMOST_A_DAY);
        wanted.actor.clone_from(text);
        let kept = Begun::Finished(answer(text));
        assert_eq!(begin(&*again, &wanted).await, kept);
        assert_eq!(begin(&*again, &wanted).await, kept);
    }
}

/// A key means one request of one actor.
pub async fn a_key_is_one_actors_and_one_requests(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let wanted = claim("key");
    let other = KeyClaim {
        fingerprint: [8; 32],
        ..wanted.clone()
    };
    let others = KeyClaim {
        actor: "admin-2".to_owned(),
        ..other.clone()
    };
    assert_eq!(begin(&*directory, &wanted).await, Begun::New);
    assert_eq!(begin(&*directory, &other).await, Begun::OtherRequest);
    let much_later = later(&other, MINUTE * 2);
    assert_eq!(begin(&*directory, &much_later).await, Begun::OtherRequest);
    assert_eq!(begin(&*directory, &others).await, Begun::New);
    // What is about the other request changes nothing.
    finish(&*directory, &other, &answer("other")).await;
    abandon(&*directory, &other).await;
    assert_eq!(begin(&*directory, &wanted).await, Begun::Running);
    finish(&*directory, &wanted, &answer("done")).await;
    assert_eq!(begin(&*directory, &other).await, Begun::OtherRequest);
    assert_eq!(begin(&*directory, &others).await, Begun::Running);
}

/// What led to nothing may be tried again, by any request; what has an answer keeps it.
pub async fn an_abandoned_key_is_free(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let wanted = claim("key");
    assert_eq!(begin(&*directory, &wanted).await, Begun::New);
    abandon(&*directory, &wanted).await;
    let other = KeyClaim {
        fingerprint: [8; 32],
        ..wanted
    };
    assert_eq!(begin(&*directory, &other).await, Begun::New);
    finish(&*directory, &other, &answer("done")).await;
    abandon(&*directory, &other).await;
    let kept = Begun::Finished(answer("done"));
    assert_eq!(begin(&*directory, &other).await, kept);
}

/// A process that died leaves the key to the next one, once.
pub async fn a_key_is_taken_over_after_a_minute(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let dead = claim("key");
    assert_eq!(begin(&*directory, &dead).await, Begun::New);
    let early = later(&dead, MINUTE.saturating_sub(Duration::from_millis(1)));
    assert_eq!(begin(&*directory, &early).await, Begun::Running);
    let second = later(&dead, MINUTE);
    assert_eq!(begin(&*directory, &second).await, Begun::New);
    assert_eq!(begin(&*directory, &second).await, Begun::Running);
    // It was not dead, only slow: the key is not its own to let go.
    abandon(&*directory, &dead).await;
    assert_eq!(begin(&*directory, &second).await, Begun::Running);
    // Both did the same, and the first answer stays.
    finish(&*directory, &dead, &answer("first")).await;
    finish(&*directory, &second, &answer("second")).await;
    let kept = Begun::Finished(answer("first"));
    assert_eq!(begin(&*directory, &later(&dead, MINUTE * 3)).await, kept);
}

/// After a day a key is free for any request.
pub async fn a_key_is_forgotten_after_a_day(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    for number in 0..50 {
        let wanted = claim(&format!("key {number}"));
        assert_eq!(begin(&*directory, &wanted).await, Begun::New);
        finish(&*directory, &wanted, &answer("done")).await;
    }
    let last = claim("key 49");
    let early = later(&last, ALMOST_A_DAY);
    let kept = Begun::Finished(answer("done"));
    assert_eq!(begin(&*directory, &early).await, kept);
    let other = KeyClaim {
        fingerprint: [8; 32],
        ..later(&early, MINUTE)
    };
    assert_eq!(begin(&*directory, &other).await, Begun::New);
    // Whatever of them is left by then is old too.
    for number in 0..50 {
        let other = KeyClaim {
            fingerprint: [9; 32],
            ..later(&claim(&format!("key {number}")), DAY * 2)
        };
        assert_eq!(begin(&*directory, &other).await, Begun::New);
    }
}

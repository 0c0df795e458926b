//! What goes in goes in once.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::{
    LedgerUnderTest,
    records::{
        START, ama, append, attempt, batch, charged, commit, daily, hostile_texts, id, lifetime,
        of, posting, quota, tags, units, used, used_of,
    },
};
use crate::{
    Amount, Bound, Epoch, Scope, UnixMillis,
    ledger::{
        Batch, DeniedBy, LedgerErrorKind, LogQuery, Outcome, PostingKind, StreamMark,
        StreamPosition,
    },
};

/// A batch that comes again, as after a crash before its acknowledgment, changes nothing.
pub async fn the_same_batch_twice_counts_once(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let both = batch(vec![attempt(&ama(), 1, START)], vec![commit(&ama(), 1, 3)]);
    assert_eq!(append(&ledger, Arc::clone(&both)).await, (1, 1));
    assert_eq!(append(&ledger, both).await, (0, 0));
    assert_eq!(used(&ledger, &ama()).await, 3);
    let is_posted =
        async |number, kind| ledger.is_posted(id(number), kind).await.expect("an answer");
    assert!(is_posted(1, PostingKind::Commit).await);
    assert!(!is_posted(1, PostingKind::Admin).await);
    assert!(!is_posted(2, PostingKind::Commit).await);
    let log = ledger.log(&LogQuery::of(ama().tenant, 10)).await;
    assert_eq!(log.expect("the log").rows.len(), 1);
}

/// The first of two records with the same key counts.
pub async fn a_copy_within_a_batch_counts_once(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let attempts = vec![attempt(&ama(), 1, START), attempt(&ama(), 1, START)];
    let postings = vec![commit(&ama(), 1, 3), commit(&ama(), 1, 3)];
    assert_eq!(append(&ledger, batch(attempts, postings)).await, (1, 1));
    assert_eq!(used(&ledger, &ama()).await, 3);
}

/// Two relays that move the same events at the same time.
pub async fn overlapping_batches_of_two_writers_count_once(under: impl LedgerUnderTest) {
    let ledgers = [under.open().await, under.open().await];
    for round in 0..10 {
        let first = round * 100;
        let make = |numbers: Vec<u64>| {
            let attempts = numbers.iter().map(|n| attempt(&ama(), *n, START + n));
            let postings = numbers.iter().map(|n| commit(&ama(), *n, 1));
            batch(attempts.collect(), postings.collect())
        };
        let up = make((first..first + 60).collect());
        let down = make((first + 30..first + 90).rev().collect());
        let (one, two) = tokio::join!(append(&ledgers[0], up), append(&ledgers[1], down));
        assert_eq!((one.0 + two.0, one.1 + two.1), (90, 90));
    }
    assert_eq!(used(&ledgers[0], &ama()).await, 900);
}

/// Callers that wait at the same time may share a transaction, and each gets its answer.
pub async fn many_small_batches_at_once_all_count(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let one = |number| {
        let ledger = Arc::clone(&ledger);
        let attempts = vec![attempt(&ama(), number, START)];
        async move { append(&ledger, batch(attempts, vec![commit(&ama(), number, 1)])).await }
    };
    let tasks: Vec<_> = (0..200).map(|number| tokio::spawn(one(number))).collect();
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), (1, 1));
    }
    assert_eq!(used(&ledger, &ama()).await, 200);
}

/// Nothing of a batch is there if something of it is refused, and others are not touched.
pub async fn a_refused_batch_leaves_nothing(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let alone = of(None, "alone");
    let entries = vec![(daily(Scope::Tenant, 0), 1)];
    let bad = posting(&alone, 2, PostingKind::Commit, entries);
    let refused = batch(
        vec![attempt(&alone, 1, START)],
        vec![commit(&alone, 1, 1), bad],
    );
    let good = batch(vec![], vec![commit(&ama(), 3, 1)]);
    let (refused, _) = tokio::join!(ledger.append(refused), append(&ledger, good));
    assert_eq!(
        refused.expect_err("there is no tenant").kind(),
        LedgerErrorKind::Invalid
    );
    let too_much = commit(&alone, 4, i64::MAX);
    let refused = ledger.append(batch(vec![], vec![too_much])).await;
    assert_eq!(
        refused.expect_err("too much").kind(),
        LedgerErrorKind::Invalid
    );
    assert_eq!(used(&ledger, &alone).await, 0);
    assert_eq!(used(&ledger, &ama()).await, 1);
    let log = ledger.log(&LogQuery::of(None, 10)).await.expect("the log");
    assert_eq!(log.rows, []);
}

/// What was acknowledged stays.
pub async fn what_was_acknowledged_is_there_after_opening_again(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    append(&ledger, batch(vec![], vec![commit(&ama(), 1, 3)])).await;
    drop(ledger);
    assert_eq!(used(&under.open().await, &ama()).await, 3);
}

/// A record comes back as it went in, whatever is in it.
pub async fn every_field_comes_back(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let plain = attempt(&ama(), 1, START);
    let mut full = attempt(&ama(), 2, START + 1);
    full.outcome = Outcome::Denied;
    full.charges = vec![
        charged("messages", 3, 0),
        charged("storage", Amount::MAX.get(), -7),
    ];
    full.cause = Some("limit".to_owned());
    full.latency = Some(Duration::from_micros(1_234_567));
    full.tags = tags([("goal", "grow\0 \u{2400}"), ("model", "gpt-4o-mini")]);
    let metadata = serde_json::json!({
        "cost": 12, "nested": [null, true, { "\u{2400}": "\0" }], "share": 0.25,
        "big": u64::MAX, "text": hostile_texts(),
    });
    full.metadata = metadata.as_object().expect("an object").clone();
    full.request_id = Some("req-1".to_owned());
    full.client_ip = Some("2001:db8::1".parse().expect("an address"));
    full.user_agent = Some("curl/8 \"quoted\"".to_owned());
    full.denial = Some(DeniedBy {
        policy: "messages-day".to_owned(),
        scope: Scope::Tenant,
        limit: Bound::AtMost(units(5)),
        hard: Bound::Unlimited,
        used: units(4),
        reserved: units(1),
        requested: units(3),
    });
    full.count = NonZeroU32::new(90).expect("not zero");
    let mut nobody = attempt(&ama(), 3, START + 2);
    nobody.outcome = Outcome::Unmatched;
    nobody.user = None;
    nobody.plan = None;
    nobody.rule = None;
    nobody.charges.clear();
    nobody.status = None;
    let all = vec![nobody, full, plain];
    append(&ledger, batch(all.clone(), vec![])).await;
    let log = ledger.log(&LogQuery::of(ama().tenant, 10)).await;
    assert_eq!(log.expect("the log").rows, all);
}

/// Up to 2^53 - 1, to the unit.
pub async fn amounts_are_exact_to_the_digit(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let most = Amount::MAX.get();
    for (number, amount) in (0..).zip([most, most - 1, (1 << 52) + 1]) {
        let someone = of(None, &format!("user {number}"));
        let posting = commit(&someone, number, amount.cast_signed());
        append(&ledger, batch(vec![], vec![posting])).await;
        assert_eq!(used(&ledger, &someone).await, amount);
    }
}

/// A counter never passes the largest amount, and never shows less than nothing.
pub async fn used_stops_at_both_ends(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let most = Amount::MAX.get().cast_signed();
    for number in 0..3 {
        append(&ledger, batch(vec![], vec![commit(&ama(), number, most)])).await;
    }
    assert_eq!(used(&ledger, &ama()).await, Amount::MAX.get());
    let bob = of(None, "bob");
    append(&ledger, batch(vec![], vec![commit(&bob, 9, -5)])).await;
    assert_eq!(used(&ledger, &bob).await, 0);
}

/// Two relays may bring a correction before its commit.
pub async fn a_correction_may_come_first(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let entries = vec![(daily(Scope::User, 0), -4)];
    let correction = posting(&ama(), 1, PostingKind::Correction, entries);
    append(&ledger, batch(vec![], vec![correction])).await;
    assert_eq!(used(&ledger, &ama()).await, 0);
    append(&ledger, batch(vec![], vec![commit(&ama(), 1, 10)])).await;
    assert_eq!(used(&ledger, &ama()).await, 6);
}

/// One posting changes windows and scopes by amounts of their own.
pub async fn user_and_tenant_have_counters_of_their_own(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let entries = vec![
        (daily(Scope::User, 0), 1),
        (lifetime(Scope::User), 2),
        (daily(Scope::Tenant, 0), 4),
    ];
    let posting = posting(&ama(), 1, PostingKind::Commit, entries);
    append(&ledger, batch(vec![], vec![posting])).await;
    assert_eq!(used(&ledger, &ama()).await, 1);
    assert_eq!(used_of(&ledger, &ama(), &lifetime(Scope::User)).await, 2);
    let bob = of(Some("acme"), "bob");
    assert_eq!(used(&ledger, &bob).await, 0);
    assert_eq!(used_of(&ledger, &bob, &daily(Scope::Tenant, 0)).await, 4);
    assert_eq!(used_of(&ledger, &bob, &daily(Scope::Tenant, 1)).await, 0);
}

/// The epochs of partitions stay as they were said last.
pub async fn epochs_are_kept(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let epochs = async || ledger.epochs().await.expect("they are read");
    assert_eq!(epochs().await, []);
    let set = async |epochs: &[(u8, u64)]| {
        let epochs = epochs
            .iter()
            .map(|(partition, epoch)| (*partition, Epoch(*epoch)));
        let set = ledger.set_epochs(epochs.collect()).await;
        set.expect("they are written");
    };
    set(&[]).await;
    set(&[(255, u64::MAX), (0, 1)]).await;
    set(&[(7, 7), (0, 2)]).await;
    let expected = [(0, Epoch(2)), (7, Epoch(7)), (255, Epoch(u64::MAX))];
    assert_eq!(epochs().await, expected);
    let again = under.open().await.epochs().await;
    assert_eq!(again.expect("they are read"), expected);
}

/// A stream that was moved to a place was moved to it for good.
pub async fn marks_never_go_back(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let position = |millis, sequence| StreamPosition { millis, sequence };
    assert_eq!(ledger.mark("o'ne").await.expect("it is read"), None);
    for (next, expected) in [
        (position(5, 1), position(5, 1)),
        (position(5, 2), position(5, 2)),
        (position(4, 9), position(5, 2)),
        (position(6, 0), position(6, 0)),
    ] {
        let mark = StreamMark {
            stream: "o'ne".to_owned(),
            position: next,
        };
        let batch = Batch {
            mark: Some(mark),
            ..Batch::default()
        };
        ledger
            .append(Arc::new(batch))
            .await
            .expect("it is appended");
        assert_eq!(
            ledger.mark("o'ne").await.expect("it is read"),
            Some(expected)
        );
    }
    assert_eq!(ledger.mark("two").await.expect("it is read"), None);
}

/// Ids and whatever else comes from outside are found again, and are nothing but text.
pub async fn hostile_texts_are_only_texts(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let texts = hostile_texts();
    for (number, text) in (0..).zip(&texts) {
        let someone = of(Some(text), text);
        let mut record = attempt(&someone, number, START);
        record.rule = Some(text.clone());
        record.revision.clone_from(text);
        record.tags = tags([(text, text), ("goal", text)]);
        let commit = commit(&someone, number, 1);
        append(&ledger, batch(vec![record], vec![commit])).await;
    }
    for (number, text) in (0..).zip(&texts) {
        let someone = of(Some(text), text);
        let mut query = LogQuery::of(someone.tenant.clone(), 10);
        query.user = Some(someone.user.clone());
        query.rule = Some(text.clone());
        query.quota = Some(quota("messages"));
        query.tags = tags([(text, text), ("goal", text)]);
        let log = ledger.log(&query).await.expect("the log");
        let found: Vec<_> = log.rows.iter().map(|row| (row.id, &row.user)).collect();
        assert_eq!(found, [(id(number), &Some(someone.user.clone()))]);
        assert_eq!(used(&ledger, &someone).await, 1);
        let partition = (0..=u8::MAX).map(|partition| {
            let (ledger, someone) = (&ledger, &someone);
            async move {
                let page = ledger.balances(partition, UnixMillis::new(START), None, 100);
                let page = page.await.expect("a page");
                let subject = someone.subject(Scope::User);
                page.iter()
                    .filter(|one| Some(&one.subject) == subject.as_ref())
                    .count()
            }
        });
        let found = futures_util::future::join_all(partition).await;
        assert_eq!(found.into_iter().sum::<usize>(), 1, "{text:?}");
    }
}

//! What rolling up leaves as it was.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    LedgerUnderTest,
    keeping::{forget_all, prune_all},
    records::{
        DAY, START, ama, append, attempt, batch, charged, daily, id, lifetime, of, posting, quota,
        tags, used_of, user,
    },
};
use crate::{
    Requester, Scope, Subject, UnixMillis,
    ledger::{
        Attempt, Batch, Bucket, By, Ledger, LogQuery, Outcome, Posting, PostingKind, RollUp, Span,
        StatisticsQuery, UsageQuery,
    },
};

const MINUTE: u64 = 60_000;

/// A charge of `messages`, and what it changes.
fn charge(requester: &Requester, number: u64, at: u64, amount: i64) -> (Attempt, Posting) {
    let mut record = attempt(requester, number, at);
    record.charges = vec![charged("messages", 9, amount)];
    record.client_ip = Some([192, 0, 2, 1].into());
    record.request_id = Some(format!("request {number}"));
    record.metadata.insert("name".to_owned(), "Ama".into());
    let mut entries = vec![(daily(Scope::User, 0), amount), (lifetime(Scope::User), 1)];
    if requester.tenant.is_some() {
        entries.push((daily(Scope::Tenant, 0), amount));
    }
    let mut change = posting(requester, number, PostingKind::Commit, entries);
    change.at = UnixMillis::new(at);
    (record, change)
}

fn together(charges: impl IntoIterator<Item = (Attempt, Posting)>) -> Arc<Batch> {
    let (attempts, postings) = charges.into_iter().unzip();
    batch(attempts, postings)
}

/// Rolls up all of the first days in steps, and answers by how much the log is shorter.
async fn roll_up(ledger: &Arc<dyn Ledger>, limit: u32) -> u64 {
    let mut step = RollUp {
        span: Span {
            from: UnixMillis::new(START),
            to: UnixMillis::new(START + 10 * DAY),
        },
        after: None,
        quotas: BTreeSet::from([quota("messages")]),
        limit,
    };
    let mut rows = 0;
    for steps in 0.. {
        assert!(steps < 1_000, "rolling up does not end");
        let rolled_up = ledger.roll_up(&step).await.expect("it rolls up");
        rows += rolled_up.rows;
        step.after = rolled_up.next;
        if step.after.is_none() {
            break;
        }
    }
    rows
}

async fn log_of(ledger: &Arc<dyn Ledger>, requester: &Requester) -> Vec<Attempt> {
    let mut query = LogQuery::of(requester.tenant.clone(), 1_000);
    query.user = Some(requester.user.clone());
    ledger.log(&query).await.expect("the log").rows
}

/// Everything that adds up of a user and its tenant, as text.
async fn figures(ledger: &Arc<dyn Ledger>, requester: &Requester) -> Vec<String> {
    let mut figures = Vec::new();
    for counter in [daily(Scope::User, 0), lifetime(Scope::User)] {
        figures.push(format!("{:?}", used_of(ledger, requester, &counter).await));
    }
    let subject = Subject::User {
        tenant: requester.tenant.clone(),
        user: requester.user.clone(),
    };
    for minutes in [0, 1, 3, 60] {
        let span = Span {
            from: UnixMillis::new(START + minutes * MINUTE),
            to: UnixMillis::new(START + 10 * DAY),
        };
        let charged = ledger.charged(&subject, &quota("messages"), span).await;
        figures.push(format!("{:?}", charged.expect("it is read")));
    }
    for (by_tag, bucket) in [
        (None, Bucket::Hour),
        (None, Bucket::Day),
        (Some("goal"), Bucket::Hour),
    ] {
        let query = UsageQuery {
            requester: requester.clone(),
            quota: None,
            span: Span::ALL,
            bucket,
            by_tag: by_tag.map(str::to_owned),
        };
        figures.push(format!("{:?}", ledger.usage(&query).await.expect("usage")));
    }
    for by in [None, Some(By::Rule), Some(By::Tag("goal".to_owned()))] {
        let query = StatisticsQuery {
            tenant: requester.tenant.clone(),
            quota: quota("messages"),
            span: Span::ALL,
            bucket: Bucket::Hour,
            by,
        };
        let statistics = ledger.statistics(&query).await.expect("figures");
        figures.push(format!("{statistics:?}"));
    }
    // The partition of Acme.
    let balances = ledger.balances(0x82, UnixMillis::new(START), None, 100);
    figures.push(format!("{:?}", balances.await.expect("balances")));
    figures
}

/// Sixty charges in two minutes and by two users become one record for each user, minute and tag,
/// whatever the steps are, and nothing that adds up changes.
pub async fn rolling_up_changes_no_figure(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let people = [ama(), of(None, "ama")];
    let charges = (0..120_u64).map(|number| {
        let person = &people[usize::from(number % 2 == 0)];
        let at = START + MINUTE + number * 1_000;
        let mut charge = charge(person, number, at, 3);
        if number % 3 == 0 {
            charge.0.tags = tags([("goal", "grow")]);
        }
        charge
    });
    append(&ledger, together(charges)).await;
    let mut before = Vec::new();
    for person in &people {
        before.push(figures(&ledger, person).await);
    }
    assert_eq!(roll_up(&ledger, 7).await, 120 - 8);
    assert_eq!(roll_up(&ledger, 1_000).await, 0);
    for (person, before) in people.iter().zip(before) {
        assert_eq!(figures(&ledger, person).await, before);
        let log = log_of(&ledger, person).await;
        let mut counts: Vec<_> = log
            .iter()
            .map(|record| {
                (
                    record.at.get() - START,
                    record.count.get(),
                    record.tags.len(),
                )
            })
            .collect();
        counts.sort_unstable();
        assert_eq!(
            counts,
            [
                (60_000, 10, 1),
                (60_000, 20, 0),
                (120_000, 10, 1),
                (120_000, 20, 0)
            ]
        );
        for record in log {
            let count = u64::from(record.count.get());
            let sums = charged("messages", 9 * count, 3 * i64::from(record.count.get()));
            assert_eq!(record.charges, [sums]);
            assert_eq!((record.client_ip, record.request_id), (None, None));
            assert!(record.metadata.is_empty());
        }
    }
    let mut query = LogQuery::of(None, 100);
    query.tags = tags([("goal", "grow")]);
    assert_eq!(ledger.log(&query).await.expect("the log").rows.len(), 2);
}

/// What was rolled up is known when it comes again, alone or with what is new.
pub async fn what_was_rolled_up_counts_once(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let charges = |numbers: std::ops::Range<u64>| {
        together(numbers.map(|number| charge(&ama(), number, START + number, 1)))
    };
    append(&ledger, charges(0..5)).await;
    assert_eq!(roll_up(&ledger, 100).await, 4);
    let before = figures(&ledger, &ama()).await;
    assert_eq!(append(&ledger, charges(0..5)).await, (0, 0));
    assert_eq!(figures(&ledger, &ama()).await, before);
    assert_eq!(log_of(&ledger, &ama()).await.len(), 1);
    assert_eq!(append(&ledger, charges(2..9)).await, (4, 4));
    assert_eq!(roll_up(&ledger, 100).await, 4);
    let log = log_of(&ledger, &ama()).await;
    assert_eq!((log.len(), log[0].count.get()), (1, 9));
    assert_eq!(log[0].charges, [charged("messages", 81, 9)]);
    assert_eq!(used_of(&ledger, &ama(), &daily(Scope::User, 0)).await, 9);
}

/// What is recorded each stays, and so does what has no posting, what was not committed and what is
/// like no other.
pub async fn only_what_is_alike_is_rolled_up(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let mut charges: Vec<_> = (0..14)
        .map(|number| charge(&ama(), number, START + number, 1))
        .collect();
    for place in 0..2 {
        charges[place].0.charges.push(charged("tokens", 1, 1));
        charges[place + 2].0.charges.clear();
        charges[place + 4].0.outcome = Outcome::Late;
        charges[place + 4].1.kind = PostingKind::Late;
    }
    charges[6].0.status = Some(201);
    charges[7].0.rule = None;
    charges[8].0.plan = None;
    "another".clone_into(&mut charges[9].0.revision);
    charges[10].0.tags = tags([("goal", "grow")]);
    charges[11].0.at = UnixMillis::new(START + MINUTE);
    charges[12].0.cause = Some("gone".to_owned());
    let batch = together(charges);
    let mut attempts = batch.attempts.clone();
    append(&ledger, batch).await;
    let unposted = attempt(&ama(), 99, START + 13);
    append(
        &ledger,
        super::records::batch(vec![unposted.clone()], vec![]),
    )
    .await;
    attempts.push(unposted);
    assert_eq!(roll_up(&ledger, 3).await, 0);
    let mut log = log_of(&ledger, &ama()).await;
    log.sort_by_key(|record| record.id);
    assert_eq!(log, attempts);
}

/// An attempt that was rolled up is still found, with what it changed.
pub async fn a_rolled_up_attempt_is_found(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let charges: Vec<_> = (0..4)
        .map(|number| charge(&ama(), number, START + MINUTE + 7 * number, 2))
        .collect();
    append(&ledger, together(charges.clone())).await;
    assert_eq!(roll_up(&ledger, 100).await, 3);
    let record = log_of(&ledger, &ama()).await;
    for (attempt, posting) in charges {
        let found = ledger.attempt(ama().tenant.as_ref(), attempt.id).await;
        let found = found.expect("it is read").expect("it is there");
        assert_eq!(
            (found.records, found.postings),
            (record.clone(), vec![posting])
        );
        let other = ledger.attempt(None, attempt.id).await;
        assert_eq!(other.expect("it is read"), None);
    }
}

/// Forgetting finds what was rolled up, and nothing of the user is left.
pub async fn forgetting_finds_what_was_rolled_up(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let bob = of(Some("acme"), "bob");
    let charges = |person: &Requester, first| {
        let charge = |number| charge(person, number, START + number * 10_000, 1);
        together((first..first + 20).map(charge))
    };
    append(&ledger, charges(&ama(), 0)).await;
    append(&ledger, charges(&bob, 100)).await;
    // Each lies in four minutes.
    assert_eq!(roll_up(&ledger, 100).await, 40 - 8);
    let pseudonym = user("forgotten-1");
    forget_all(&ledger, &ama(), &pseudonym).await;
    let forgotten = Requester {
        user: pseudonym,
        ..ama()
    };
    assert_eq!(log_of(&ledger, &ama()).await, []);
    assert_eq!(log_of(&ledger, &forgotten).await.len(), 4);
    for (first, person) in [(0, &forgotten), (100, &bob)] {
        for number in first..first + 20 {
            let found = ledger.attempt(ama().tenant.as_ref(), id(number)).await;
            let found = found.expect("it is read").expect("it is there");
            let owners = found.postings.iter().map(|posting| &posting.user);
            let owners = owners.chain(found.records.iter().map(|record| &record.user));
            let owners: Vec<_> = owners.flatten().collect();
            assert_eq!(owners, [&person.user, &person.user]);
        }
        assert_eq!(used_of(&ledger, person, &daily(Scope::User, 0)).await, 20);
    }
    assert_eq!(used_of(&ledger, &ama(), &daily(Scope::User, 0)).await, 0);
    // It goes on for the pseudonym as for anybody, and the same batch is still known.
    assert_eq!(append(&ledger, charges(&ama(), 0)).await, (0, 0));
    assert_eq!(roll_up(&ledger, 3).await, 0);
}

/// A record of many goes with its time, and balances stay.
pub async fn pruning_takes_what_was_rolled_up(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let charges = (0..20).map(|number| charge(&ama(), number, START + number * 10_000, 1));
    append(&ledger, together(charges)).await;
    roll_up(&ledger, 100).await;
    for (before, left) in [(START + MINUTE, 3), (START + DAY, 0)] {
        prune_all(&ledger, before).await;
        assert_eq!(log_of(&ledger, &ama()).await.len(), left);
        assert_eq!(used_of(&ledger, &ama(), &lifetime(Scope::User)).await, 20);
    }
    let found = ledger.attempt(ama().tenant.as_ref(), id(3)).await;
    assert_eq!(found.expect("it is read"), None);
}

/// Several roll up at once while batches come again and others come in, and each attempt counts
/// once.
pub async fn several_roll_up_at_once(under: impl LedgerUnderTest) {
    let ledgers = [under.open().await, under.open().await];
    let charges = |numbers: std::ops::Range<u64>| {
        let charge = |number: u64| charge(&ama(), number, START + number % 5 * MINUTE + number, 1);
        together(numbers.map(charge))
    };
    append(&ledgers[0], charges(0..200)).await;
    for round in 1..4 {
        let next = charges(round * 200..round * 200 + 200);
        let again = charges(0..round * 200);
        let ((_, new), (old, _), ..) = tokio::join!(
            append(&ledgers[0], next),
            append(&ledgers[1], again),
            roll_up(&ledgers[0], 30),
            roll_up(&ledgers[1], 50),
        );
        assert_eq!((new, old), (200, 0));
    }
    roll_up(&ledgers[1], 100).await;
    let log = log_of(&ledgers[0], &ama()).await;
    let counts: Vec<_> = log.iter().map(|record| record.count.get()).collect();
    assert_eq!(counts, [160; 5]);
    let sum: i64 = log.iter().map(|record| record.charges[0].charged).sum();
    assert_eq!(sum, 800);
    assert_eq!(
        used_of(&ledgers[0], &ama(), &daily(Scope::User, 0)).await,
        800
    );
}

//! Changes, alone and at once.

use std::sync::Arc;

use super::{
    super::ledger::records::{ama, audit_id, of, units},
    DirectoryUnderTest,
    entries::{assigned, audit, change, done, entry, first, overridden, replace, user_of},
};
use crate::{
    Bound, Generation,
    directory::{Directory, EntryChange, Replaced},
    ledger::{Audit, AuditQuery, Batch, Ledger, LedgerErrorKind, Span, Target},
};

/// All acts about Acme, the latest first.
pub(super) async fn audits(ledger: &impl Ledger) -> Vec<Audit> {
    let query = AuditQuery {
        tenant: ama().tenant,
        target: None,
        actor: None,
        action: None,
        span: Span::ALL,
        after: None,
        limit: 1_000,
    };
    ledger.audits(&query).await.expect("audits").rows
}

/// What was worked out from another generation is refused, older or newer.
pub async fn a_change_from_another_generation_does_nothing(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let subject = user_of(&ama());
    let mut early = first(&subject, "max", 1);
    early.entry.generation = Generation(7);
    let refused = replace(&*directory, &early).await;
    assert_eq!(refused, Replaced::Outdated(Generation(0)));
    done(&*directory, &first(&subject, "pro", 2)).await;
    let mut second = first(&subject, "max", 3);
    second.entry.generation = Generation(1);
    done(&*directory, &second).await;
    for (number, generation) in (4..).zip([0, 1, 3]) {
        let mut other = first(&subject, "free", number);
        other.entry.generation = Generation(generation);
        let refused = replace(&*directory, &other).await;
        assert_eq!(refused, Replaced::Outdated(Generation(2)));
    }
    let kept = entry(&*directory, &subject).await;
    assert_eq!(kept.assignments, [assigned("max", 0)]);
    assert_eq!(audits(&*directory).await.len(), 2);
}

/// The audit is there with the change, as it was said.
pub async fn a_change_comes_with_its_audit(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let mut said = first(&user_of(&ama()), "pro", 1);
    "it's \"needed\"\0".clone_into(&mut said.audit.reason);
    said.audit.idempotency_key = Some("key".to_owned());
    done(&*directory, &said).await;
    assert_eq!(audits(&*directory).await, [said.audit]);
}

/// A change that comes again is answered as before, also when others came in between, and when it
/// was worked out anew.
pub async fn the_same_change_again_is_told_what_it_made(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let subject = user_of(&ama());
    let said = first(&subject, "pro", 1);
    let made = Replaced::Done(Generation(1));
    assert_eq!(replace(&*directory, &said).await, made);
    assert_eq!(replace(&*directory, &said).await, made);
    let mut other = first(&subject, "max", 2);
    other.entry.generation = Generation(1);
    done(&*directory, &other).await;
    assert_eq!(replace(&*directory, &said).await, made);
    let mut anew = said;
    anew.entry.generation = Generation(2);
    assert_eq!(replace(&*directory, &anew).await, made);
    let kept = entry(&*directory, &subject).await;
    assert_eq!(kept.assignments, [assigned("max", 0)]);
    assert_eq!(kept.generation, Generation(2));
}

/// The id of an audit that was appended, or that is about another act or subject, is no change's.
pub async fn an_audit_of_another_act_is_refused(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let subject = user_of(&ama());
    let batch = Batch {
        audits: vec![audit(1)],
        ..Batch::default()
    };
    directory.append(Arc::new(batch)).await.expect("appended");
    done(&*directory, &first(&subject, "pro", 2)).await;
    let mut other = first(&subject, "max", 2);
    other.entry.generation = Generation(1);
    "adjust".clone_into(&mut other.audit.action);
    let bob = of(Some("acme"), "bob");
    let mut of_another = first(&user_of(&bob), "pro", 2);
    of_another.audit.target = Target::User(bob.user.clone());
    for wrong in [first(&subject, "pro", 1), other, of_another] {
        let refused = directory.replace(&wrong).await.expect_err("it is refused");
        assert_eq!(refused.kind(), LedgerErrorKind::Invalid);
    }
    let kept = entry(&*directory, &subject).await;
    assert_eq!(kept.generation, Generation(1));
    let of_bob = entry(&*directory, &user_of(&bob)).await;
    assert_eq!(of_bob.generation, Generation(0));
}

/// Which plan is in force is told by the order.
pub async fn assignments_out_of_order_are_refused(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let subject = user_of(&ama());
    let mut wrong = first(&subject, "pro", 1);
    wrong.entry.assignments = vec![assigned("pro", 5), assigned("max", 4)];
    let refused = directory.replace(&wrong).await.expect_err("it is refused");
    assert_eq!(refused.kind(), LedgerErrorKind::Invalid);
    assert_eq!(entry(&*directory, &subject).await.generation, Generation(0));
    assert_eq!(audits(&*directory).await, []);
}

/// Many who change one entry are each counted once, and no change is lost.
pub async fn changes_at_once_count_once_each(under: impl DirectoryUnderTest) {
    const TASKS: u64 = 8;
    const CHANGES: u64 = 5;
    let opened = [under.open().await, under.open().await];
    let tasks = opened.iter().cycle().zip(0..TASKS).map(|(one, task)| {
        let directory = Arc::clone(one);
        tokio::spawn(async move {
            for step in 0..CHANGES {
                add(&*directory, task * CHANGES + step).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no task panics");
    }
    let [directory, _] = opened;
    let kept = entry(&*directory, &user_of(&ama())).await;
    assert_eq!(kept.generation, Generation(TASKS * CHANGES));
    let limits = kept.overrides.iter().map(|one| one.limit.amount());
    let mut limits: Vec<u64> = limits.flatten().map(crate::Amount::get).collect();
    limits.sort_unstable();
    assert_eq!(limits, (0..TASKS * CHANGES).collect::<Vec<_>>());
    let written = audits(&*directory).await.len();
    assert_eq!(u64::try_from(written).expect("few"), TASKS * CHANGES);
}

/// Adds an override, however many others do so at the same time.
async fn add(directory: &impl Directory, number: u64) {
    for attempt in 0.. {
        assert!(attempt < 10_000, "nobody gets on");
        let mut found = entry(directory, &user_of(&ama())).await;
        let limit = Bound::AtMost(units(number));
        found.overrides.push(overridden(limit));
        let wanted = change(user_of(&ama()), found, number);
        if let Replaced::Done(_) = replace(directory, &wanted).await {
            return;
        }
    }
}

/// Of copies that arrive together one takes effect, and all are told what it made.
pub async fn copies_at_once_take_effect_once(under: impl DirectoryUnderTest) {
    let opened = [under.open().await, under.open().await];
    let directory = Arc::clone(&opened[0]);
    for round in 0..10 {
        let found = entry(&*directory, &user_of(&ama())).await;
        assert_eq!(found.generation, Generation(round));
        let wanted = change(user_of(&ama()), found, round);
        let copies = opened.iter().cycle().take(4).map(|one| {
            let (directory, wanted) = (Arc::clone(one), wanted.clone());
            tokio::spawn(async move { replace(&*directory, &wanted).await })
        });
        for copy in copies.collect::<Vec<_>>() {
            let answer = copy.await.expect("no task panics");
            assert_eq!(answer, Replaced::Done(Generation(round + 1)));
        }
    }
    let ids: Vec<_> = audits(&*directory).await.iter().map(|one| one.id).collect();
    assert_eq!(ids.len(), 10);
    assert!(ids.contains(&audit_id(9)));
}

/// The generation that a change is worked out from.
pub(super) const fn from(mut change: EntryChange, generation: u64) -> EntryChange {
    change.entry.generation = Generation(generation);
    change
}

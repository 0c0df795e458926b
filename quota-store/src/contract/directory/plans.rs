//! The plans that the database keeps.

use std::sync::Arc;

use super::{
    super::ledger::records::START,
    DirectoryUnderTest,
    changing::audits,
    entries::{audit, plan},
};
use crate::{
    Generation, UnixMillis,
    contract::ledger::hostile_texts,
    directory::{Directory, PlansChange, PlansEdit, Replaced, StoredPlan, StoredPlans},
};

fn stored(name: &str, version: u64) -> StoredPlan {
    StoredPlan {
        name: plan(name),
        body: serde_json::json!({
            "version": version, "title": hostile_texts(), "share": 1.5, "a\0": [null, true],
        }),
        changed_at: UnixMillis::new(START + version),
    }
}

fn change(generation: u64, edit: PlansEdit) -> PlansChange {
    PlansChange {
        generation: Generation(generation),
        edit,
        audit: audit(generation),
    }
}

async fn plans(directory: &impl Directory) -> StoredPlans {
    directory.plans().await.expect("plans")
}

async fn answer(directory: &impl Directory, change: &PlansChange) -> Replaced {
    let answer = directory.change_plans(change).await;
    answer.expect("it is answered")
}

/// Plans are added, replaced and removed, and each change counts.
pub async fn plans_are_kept_by_name(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let edits = [
        PlansEdit::Put(stored("pro", 1)),
        PlansEdit::Put(stored("free", 1)),
        PlansEdit::Put(stored("pro", 2)),
        PlansEdit::Default(Some(plan("pro"))),
        PlansEdit::Put(stored("max", 1)),
        PlansEdit::Remove(plan("free")),
    ];
    for (generation, edit) in (0..).zip(edits) {
        let done = answer(&*directory, &change(generation, edit)).await;
        assert_eq!(done, Replaced::Done(Generation(generation + 1)));
    }
    let expected = StoredPlans {
        generation: Generation(6),
        default: Some(plan("pro")),
        plans: vec![stored("max", 1), stored("pro", 2)],
    };
    assert_eq!(plans(&*directory).await, expected);
    answer(&*directory, &change(6, PlansEdit::Default(None))).await;
    for (generation, name) in [(7, "max"), (8, "pro")] {
        let remove = PlansEdit::Remove(plan(name));
        answer(&*directory, &change(generation, remove)).await;
    }
    let nothing = StoredPlans {
        generation: Generation(9),
        ..StoredPlans::default()
    };
    assert_eq!(plans(&*under.open().await).await, nothing);
    assert_eq!(audits(&*directory).await.len(), 9);
}

/// What was worked out from other plans is refused; what was done is answered as before.
pub async fn a_change_of_plans_from_another_generation_does_nothing(
    under: impl DirectoryUnderTest,
) {
    let directory = under.open().await;
    let put = change(0, PlansEdit::Put(stored("pro", 1)));
    let done = Replaced::Done(Generation(1));
    assert_eq!(answer(&*directory, &put).await, done);
    for generation in [0, 2] {
        let mut other = change(generation, PlansEdit::Remove(plan("pro")));
        other.audit = audit(10 + generation);
        let refused = answer(&*directory, &other).await;
        assert_eq!(refused, Replaced::Outdated(Generation(1)));
    }
    let next = change(1, PlansEdit::Put(stored("pro", 2)));
    answer(&*directory, &next).await;
    assert_eq!(answer(&*directory, &put).await, done);
    let kept = plans(&*directory).await;
    assert_eq!(kept.plans, [stored("pro", 2)]);
    assert_eq!(kept.generation, Generation(2));
    assert_eq!(audits(&*directory).await.len(), 2);
}

/// Many who change the plans are each counted once, and no change is lost.
pub async fn changes_of_plans_at_once_count_once_each(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let tasks = (0..6).map(|task| {
        let directory = Arc::clone(&directory);
        tokio::spawn(async move {
            for step in 0..4 {
                put(&*directory, task * 4 + step).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no task panics");
    }
    let kept = plans(&*directory).await;
    assert_eq!((kept.generation, kept.plans.len()), (Generation(24), 24));
    assert_eq!(audits(&*directory).await.len(), 24);
}

/// Adds a plan, however many others do so at the same time.
async fn put(directory: &impl Directory, number: u64) {
    for attempt in 0.. {
        assert!(attempt < 10_000, "nobody gets on");
        let generation = plans(directory).await.generation;
        let put = PlansChange {
            generation,
            edit: PlansEdit::Put(stored(&format!("plan_{number}"), number)),
            audit: audit(number),
        };
        if let Replaced::Done(_) = answer(directory, &put).await {
            return;
        }
    }
}

//! What is known of users and tenants.

use super::{
    super::ledger::records::{START, ama, audit_id, of, quota, tenant, units, user},
    DirectoryUnderTest,
};
use crate::{
    Bound, Generation, PlanName, Requester, Scope, Subject, UnixMillis, UserId, Window,
    contract::ledger::hostile_texts,
    directory::{Assignment, Directory, Entries, Entry, EntryChange, Override, Replaced, Status},
    ledger::{Audit, Ledger, Target},
};

pub(super) fn plan(name: &str) -> PlanName {
    PlanName::new(name).expect("rules use names that exist")
}

/// A plan from so many milliseconds after [`START`] on.
pub(super) fn assigned(name: &str, since: u64) -> Assignment {
    Assignment {
        plan: plan(name),
        since: UnixMillis::new(START + since),
        until: None,
        anchor: None,
        timezone: None,
        status: Status::Active,
    }
}

/// Unlimited messages a day.
pub(super) fn overridden(limit: Bound) -> Override {
    Override {
        quota: quota("messages"),
        window: Window::Day,
        limit,
        until: None,
    }
}

pub(super) fn user_of(requester: &Requester) -> Subject {
    Subject::User {
        tenant: requester.tenant.clone(),
        user: requester.user.clone(),
    }
}

pub(super) fn audit(number: u64) -> Audit {
    Audit {
        id: audit_id(number),
        at: UnixMillis::new(START),
        actor: "admin-1".to_owned(),
        tenant: ama().tenant,
        target: Target::User(ama().user),
        action: "assign".to_owned(),
        before: serde_json::json!(null),
        after: serde_json::json!({ "plan": "pro" }),
        reason: "they paid".to_owned(),
        idempotency_key: None,
    }
}

/// A change with the audit of that number.
pub(super) fn change(subject: Subject, entry: Entry, number: u64) -> EntryChange {
    EntryChange {
        subject,
        entry,
        audit: audit(number),
    }
}

/// The first thing that is said of a subject.
pub(super) fn first(subject: &Subject, name: &str, number: u64) -> EntryChange {
    let entry = Entry {
        assignments: vec![assigned(name, 0)],
        ..Entry::default()
    };
    change(subject.clone(), entry, number)
}

pub(super) async fn replace(directory: &impl Directory, change: &EntryChange) -> Replaced {
    directory.replace(change).await.expect("it is answered")
}

pub(super) async fn entry(directory: &impl Directory, subject: &Subject) -> Entry {
    directory.entry(subject).await.expect("an entry")
}

/// Makes a change that must take effect.
pub(super) async fn done(directory: &impl Directory, change: &EntryChange) {
    let after = Generation(change.entry.generation.0 + 1);
    assert_eq!(replace(directory, change).await, Replaced::Done(after));
}

/// Nothing is known of who was never heard of, and its generation is 0.
pub async fn what_nothing_was_said_of_is_the_default(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let subject = user_of(&ama());
    assert_eq!(entry(&*directory, &subject).await, Entry::default());
    let both = Entries {
        user: Entry::default(),
        tenant: Some(Entry::default()),
    };
    assert_eq!(directory.entries(&ama()).await.expect("entries"), both);
    let alone = directory.entries(&of(None, "ama")).await.expect("entries");
    assert_eq!(alone, Entries::default());
    let plans = directory.plans().await.expect("plans");
    assert_eq!(plans, crate::directory::StoredPlans::default());
}

/// What was said is read as it was said.
pub async fn every_field_of_an_entry_comes_back(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let subject = user_of(&ama());
    let mut full = Entry {
        generation: Generation(0),
        assignments: vec![
            assigned("free", 0),
            Assignment {
                plan: plan("pro"),
                since: UnixMillis::new(START + 5),
                until: Some(UnixMillis::new(START + 9)),
                anchor: Some(UnixMillis::new(1)),
                timezone: Some("Europe/Berlin\0\u{2400}".to_owned()),
                status: Status::PastDue,
            },
        ],
        overrides: vec![
            overridden(Bound::Unlimited),
            Override {
                quota: quota("storage"),
                window: Window::Lifetime,
                limit: Bound::AtMost(units((1 << 53) - 1)),
                until: Some(UnixMillis::new(START + 7)),
            },
        ],
    };
    done(&*directory, &change(subject.clone(), full.clone(), 1)).await;
    full.generation = Generation(1);
    assert_eq!(entry(&*directory, &subject).await, full);
    for status in Status::ALL {
        full.assignments[1].status = *status;
        let number = 1 + full.generation.0;
        done(&*directory, &change(subject.clone(), full.clone(), number)).await;
        full.generation.0 += 1;
        assert_eq!(entry(&*directory, &subject).await, full);
    }
}

/// A requester's entries are its own and its tenant's, and nobody else's.
pub async fn user_and_tenant_are_read_together(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let acme = Subject::Tenant(tenant("acme"));
    done(&*directory, &first(&user_of(&ama()), "free", 1)).await;
    done(&*directory, &first(&acme, "team", 2)).await;
    done(&*directory, &first(&user_of(&of(None, "ama")), "pro", 3)).await;
    let other = Subject::Tenant(tenant("other"));
    done(&*directory, &first(&other, "max", 4)).await;
    for (requester, of_user, of_tenant) in [
        (ama(), Some("free"), Some("team")),
        (of(Some("acme"), "bob"), None, Some("team")),
        (of(Some("other"), "ama"), None, Some("max")),
        (of(None, "ama"), Some("pro"), None),
        (of(None, "acme"), None, None),
    ] {
        let entries = directory.entries(&requester).await.expect("entries");
        let name = |entry: &Entry| entry.assignments.first().map(|one| one.plan.clone());
        assert_eq!(name(&entries.user), of_user.map(plan));
        assert_eq!(entries.tenant.is_some(), requester.tenant.is_some());
        let of_tenant = of_tenant.map(plan);
        assert_eq!(entries.tenant.as_ref().and_then(name), of_tenant);
        for scope in [Scope::User, Scope::Tenant] {
            let Some(subject) = requester.subject(scope) else {
                continue;
            };
            let alone = Some(entry(&*directory, &subject).await);
            let together = match scope {
                Scope::User => Some(entries.user.clone()),
                Scope::Tenant => entries.tenant.clone(),
            };
            assert_eq!(alone, together);
        }
    }
}

/// Each id is an id of its own, whatever is in it.
pub async fn hostile_ids_have_entries_of_their_own(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let mut texts = hostile_texts();
    texts.extend(["\0ip:192.0.2.1", "\u{2400}", "\u{2400}\u{2400}0"].map(str::to_owned));
    let requesters: Vec<Requester> = texts
        .iter()
        .flat_map(|text| [of(None, text), of(Some(text), text), of(Some(text), "ama")])
        .collect();
    for (number, requester) in (1..).zip(&requesters) {
        let mut said = first(&user_of(requester), "pro", number);
        said.entry.overrides = vec![overridden(Bound::AtMost(units(number)))];
        said.audit.target = Target::User(requester.user.clone());
        done(&*directory, &said).await;
    }
    for (number, requester) in (1..).zip(&requesters) {
        let entries = directory.entries(requester).await.expect("entries");
        let limit = Bound::AtMost(units(number));
        assert_eq!(entries.user.overrides, [overridden(limit)]);
        assert_eq!(entries.user.generation, Generation(1));
    }
}

/// What was answered stays.
pub async fn an_acknowledged_change_is_there_after_opening_again(under: impl DirectoryUnderTest) {
    let subject = user_of(&ama());
    let said = first(&subject, "pro", 1);
    done(&*under.open().await, &said).await;
    let again = under.open().await;
    let kept = entry(&*again, &subject).await;
    assert_eq!(kept.assignments, said.entry.assignments);
    assert_eq!(kept.generation, Generation(1));
    assert_eq!(replace(&*again, &said).await, Replaced::Done(Generation(1)));
}

/// A generation goes on where everything that was said is taken back.
pub async fn an_emptied_entry_keeps_its_generation(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let subject = user_of(&ama());
    done(&*directory, &first(&subject, "pro", 1)).await;
    let nothing = Entry {
        generation: Generation(1),
        ..Entry::default()
    };
    done(&*directory, &change(subject.clone(), nothing, 2)).await;
    let emptied = entry(&*directory, &subject).await;
    let expected = Entry {
        generation: Generation(2),
        ..Entry::default()
    };
    assert_eq!(emptied, expected);
    let outdated = replace(&*directory, &first(&subject, "max", 3)).await;
    assert_eq!(outdated, Replaced::Outdated(Generation(2)));
}

/// Forgetting a user takes what was said of it, and of nobody else.
pub async fn forgetting_empties_the_entry(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let others = [
        user_of(&of(Some("acme"), "bob")),
        user_of(&of(None, "ama")),
        Subject::Tenant(tenant("acme")),
    ];
    for (number, other) in (2..).zip(&others) {
        done(&*directory, &first(other, "pro", number)).await;
    }
    let mut said = first(&user_of(&ama()), "pro", 1);
    said.entry.overrides = vec![overridden(Bound::Unlimited)];
    done(&*directory, &said).await;
    let pseudonym = user("forgotten-1");
    assert!(forget(&*directory, &pseudonym).await > 0);
    assert_eq!(forget(&*directory, &pseudonym).await, 0);
    let expected = Entry {
        generation: Generation(2),
        ..Entry::default()
    };
    assert_eq!(entry(&*directory, &user_of(&ama())).await, expected);
    for other in &others {
        let kept = entry(&*directory, other).await;
        assert_eq!(kept.assignments, [assigned("pro", 0)]);
        assert_eq!(kept.generation, Generation(1));
    }
    assert_eq!(super::assigned::who_has(&*directory, "pro").await.len(), 3);
}

async fn forget(directory: &impl Ledger, pseudonym: &UserId) -> u64 {
    let forgotten = directory.forget(&ama(), pseudonym, 10).await;
    forgotten.expect("it forgets")
}

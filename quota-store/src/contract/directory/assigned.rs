//! Who has a plan.

use super::{
    super::ledger::records::{START, ama, of, tenant},
    DirectoryUnderTest,
    changing::from,
    entries::{assigned, done, first, plan, user_of},
};
use crate::{
    Subject, TenantId, UnixMillis,
    directory::{AssignedQuery, Directory},
};

fn query(name: &str, of: Option<TenantId>, now: u64) -> AssignedQuery {
    AssignedQuery {
        plan: plan(name),
        tenant: of,
        now: UnixMillis::new(START + now),
        after: None,
        limit: 100,
    }
}

/// Everybody who has a plan at [`START`] or will have it.
pub(super) async fn who_has(directory: &impl Directory, name: &str) -> Vec<Subject> {
    who(directory, query(name, None, 0)).await
}

async fn who(directory: &impl Directory, query: AssignedQuery) -> Vec<Subject> {
    directory.assigned(&query).await.expect("a page").rows
}

/// Each is on exactly one page, in the order of tenants and users.
pub async fn those_who_have_a_plan_are_paged_by_name(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let mut expected = vec![
        Subject::Tenant(tenant("acme")),
        Subject::Tenant(tenant("b\0\nc'")),
    ];
    for number in 0..10 {
        let name = format!("user {number} \u{1f980}'\0");
        for of_tenant in [None, Some("acme"), Some("b\0\nc'")] {
            expected.push(user_of(&of(of_tenant, &name)));
        }
    }
    for (number, subject) in (0..).zip(&expected) {
        done(&*directory, &first(subject, "pro", number)).await;
    }
    let other = user_of(&of(Some("acme"), "someone else"));
    done(&*directory, &first(&other, "free", 99)).await;
    expected.sort_by_key(|one| match one {
        Subject::Tenant(tenant) => (Some(tenant.clone()), None),
        Subject::User { tenant, user } => (tenant.clone(), Some(user.clone())),
    });
    for of_tenant in [None, Some(tenant("acme")), Some(tenant("b\0\nc'"))] {
        let is_asked_for = |one: &&Subject| match (one, &of_tenant) {
            (_, None) => true,
            (Subject::Tenant(tenant), asked) => Some(tenant) == asked.as_ref(),
            (Subject::User { tenant, .. }, asked) => tenant == asked,
        };
        let expected: Vec<_> = expected.iter().filter(is_asked_for).cloned().collect();
        let mut found = Vec::new();
        let mut asked = query("pro", of_tenant.clone(), 0);
        asked.limit = 4;
        loop {
            let page = directory.assigned(&asked).await.expect("a page");
            assert!(page.rows.len() <= 4);
            found.extend(page.rows);
            assert!(found.len() <= expected.len(), "pages do not end");
            asked.after = page.next;
            if asked.after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected);
    }
    assert_eq!(who_has(&*directory, "max").await, []);
}

/// Who had a plan and will not have it again is not found by it.
pub async fn a_plan_that_is_over_is_nobodys(under: impl DirectoryUnderTest) {
    let directory = under.open().await;
    let subject = user_of(&ama());
    let mut said = first(&subject, "free", 1);
    let mut trial = assigned("pro", 10);
    trial.until = Some(UnixMillis::new(START + 20));
    said.entry.assignments.push(trial);
    said.entry.assignments.push(assigned("max", 30));
    done(&*directory, &said).await;
    let has = async |name: &str, now: u64| {
        let found = who(&*directory, query(name, None, now)).await;
        let at_home = who(&*directory, query(name, ama().tenant, now)).await;
        assert_eq!(found, at_home);
        !found.is_empty()
    };
    // Free ends where the next one begins.
    assert!(has("free", 0).await && has("free", 9).await && !has("free", 10).await);
    assert!(has("pro", 0).await && has("pro", 19).await && !has("pro", 20).await);
    assert!(has("max", 0).await && has("max", 1_000_000).await);

    let again = from(first(&subject, "pro", 2), 1);
    done(&*directory, &again).await;
    assert!(has("pro", 20).await && !has("max", 0).await && !has("free", 0).await);
    let mut nothing = from(first(&subject, "pro", 3), 2);
    nothing.entry.assignments.clear();
    done(&*directory, &nothing).await;
    assert!(!has("pro", 0).await);
}

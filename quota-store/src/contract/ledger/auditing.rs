//! What administrators did.

use std::sync::Arc;

use super::{
    LedgerUnderTest,
    records::{START, ama, audit_id, hostile_texts, user},
};
use crate::{
    PlanName, UnixMillis,
    ledger::{Audit, AuditQuery, Batch, Span, Target},
};

fn audit(number: u64, target: Target, action: &str) -> Audit {
    Audit {
        id: audit_id(number),
        at: UnixMillis::new(START + number / 2),
        actor: "admin-1".to_owned(),
        tenant: ama().tenant,
        target,
        action: action.to_owned(),
        before: serde_json::json!({ "used": 5 }),
        after: serde_json::json!(hostile_texts()),
        reason: "it's \"needed\"\0".to_owned(),
        idempotency_key: Some("key".to_owned()),
    }
}

/// Each act is listed once, the latest first, and found by what it changed.
pub async fn audits_are_listed(under: impl LedgerUnderTest) {
    let ledger = under.open().await;
    let mut of_installation = audit(5, Target::Installation, "rebuild");
    of_installation.tenant = None;
    let plan = PlanName::new("pro").expect("a name");
    let audits = vec![
        audit(4, Target::User(user("o'hara")), "reset"),
        audit(3, Target::Tenant, "adjust"),
        audit(2, Target::Plan(plan), "put"),
        audit(1, Target::User(user("ama")), "reset"),
    ];
    let mut all = audits.clone();
    all.push(of_installation.clone());
    let batch = Arc::new(Batch {
        audits: all,
        ..Batch::default()
    });
    let first = ledger.append(Arc::clone(&batch)).await.expect("appended");
    let second = ledger.append(batch).await.expect("appended");
    assert_eq!((first.audits, second.audits), (5, 0));

    let query = AuditQuery {
        tenant: ama().tenant,
        target: None,
        actor: None,
        action: None,
        span: Span::ALL,
        after: None,
        limit: 3,
    };
    let page = ledger.audits(&query).await.expect("a page");
    assert_eq!(page.rows, audits[..3]);
    let rest = AuditQuery {
        after: page.next,
        ..query.clone()
    };
    let rest = ledger.audits(&rest).await.expect("a page");
    assert_eq!((&rest.rows[..], rest.next), (&audits[3..], None));
    let selected = AuditQuery {
        target: Some(Target::User(user("o'hara"))),
        actor: Some("admin-1".to_owned()),
        action: Some("reset".to_owned()),
        ..query.clone()
    };
    let selected = ledger.audits(&selected).await.expect("a page");
    assert_eq!(selected.rows, audits[..1]);
    let none = AuditQuery {
        tenant: None,
        ..query
    };
    let none = ledger.audits(&none).await.expect("a page");
    assert_eq!(none.rows, [of_installation]);
}

//! Resets, corrections and refunds.

use quota_layer::administration::AdminError;
use quota_store::{
    Amount, ReservationId, Window,
    ledger::{LogQuery, Outcome},
};
use quota_tests::{layers::Store, requests::header, tokens::Claims};

use super::{Office, none, quota, told, user};

fn amount(units: u64) -> Amount {
    Amount::new(units).expect("an amount")
}

impl Office {
    /// What the counter and the ledger say of a user's day, once both say the same.
    async fn agreed(&self, who: &str) -> u64 {
        let day = async || {
            let standing = self.admin.user(&none(who), None).await.unwrap();
            standing.quotas[0].counters[0].used
        };
        let in_ledger = async || {
            let now = self.store.now();
            let zone = jiff::tz::TimeZone::UTC;
            let key = quota_store::CounterKey {
                scope: quota_store::Scope::User,
                quota: quota("messages"),
                window: Window::Day,
                span: Window::Day.span_at(now, &zone, quota_store::Anchor::Calendar),
            };
            let ledger = self.admin.ledger().unwrap();
            ledger.used(&none(who), &[key]).await.unwrap()[0].get()
        };
        quota_tests::eventually(
            || async { day().await == in_ledger().await },
            "the counter and the ledger say the same",
        )
        .await;
        day().await
    }
}

async fn a_reset_is_zero_and_in_the_ledger(store: Store) {
    let office = Office::new(store).await;
    for _ in 0..5 {
        assert_eq!(office.status("/chat", "alice").await, 200);
    }
    let doing = office.doing();
    let changes = office
        .admin
        .reset(&user("alice"), None, None, &doing)
        .await
        .unwrap();
    let day = changes
        .iter()
        .find(|change| change.window == Window::Day)
        .unwrap();
    assert_eq!((day.used_before.get(), day.used_after.get()), (5, 0));
    assert_eq!(office.agreed("alice").await, 0);
    assert_eq!(office.told("alice").await, told("free", "5", "1"));
    // The same again is the same, and not another one.
    office
        .admin
        .reset(&user("alice"), None, None, &doing)
        .await
        .unwrap();
    assert_eq!(office.agreed("alice").await, 1);
    let audits = office.audits("alice").await;
    assert_eq!(audits.len(), 1);
    assert_eq!(audits[0].before[0]["used"], 5);
}

async fn what_was_used_can_be_set(store: Store) {
    let office = Office::new(store).await;
    let change = office
        .admin
        .set_used(
            &user("alice"),
            &quota("messages"),
            Window::Day,
            amount(4),
            &office.doing(),
        )
        .await
        .unwrap();
    assert_eq!((change.used_before.get(), change.used_after.get()), (0, 4));
    assert_eq!(office.agreed("alice").await, 4);
    assert_eq!(office.told("alice").await, told("free", "5", "5"));
    assert_eq!(office.status("/chat", "alice").await, 429);
}

async fn a_refund_gives_back_once_what_an_attempt_was_charged(store: Store) {
    let office = Office::new(store).await;
    for _ in 0..3 {
        assert_eq!(office.status("/chat", "alice").await, 200);
    }
    assert_eq!(office.agreed("alice").await, 3);
    let attempt = office.attempt_of("alice").await;
    let refund = async |units: u64| {
        office
            .admin
            .refund(
                &none("alice"),
                &quota("messages"),
                amount(units),
                Some(attempt),
                &office.doing(),
            )
            .await
    };
    let changes = refund(7).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].used_before.get(), changes[0].used_after.get()),
        (3, 2)
    );
    assert!(matches!(refund(1).await, Err(AdminError::Conflict(_))));
    assert_eq!(office.agreed("alice").await, 2);
    // An attempt of somebody else is as good as none.
    let other = office
        .admin
        .refund(
            &none("bob"),
            &quota("messages"),
            amount(1),
            Some(attempt),
            &office.doing(),
        )
        .await;
    assert!(matches!(other, Err(AdminError::NotFound { .. })));
    // Without an attempt it is the present windows.
    office
        .admin
        .refund(
            &none("alice"),
            &quota("messages"),
            amount(9),
            None,
            &office.doing(),
        )
        .await
        .unwrap();
    assert_eq!(office.agreed("alice").await, 0);
}

impl Office {
    async fn attempt_of(&self, who: &str) -> ReservationId {
        let ledger = self.admin.ledger().unwrap();
        let mut query = LogQuery::of(None, 1);
        query.user = Some(none(who).user);
        query.outcome = Some(Outcome::Committed);
        ledger.log(&query).await.unwrap().rows[0].id
    }
}

#[tokio::test]
async fn a_forgotten_user_is_a_new_one() {
    let office = Office::new(Store::Memory).await;
    office
        .assign(
            "alice",
            "pro",
            quota_layer::administration::ChangeRule::Carry,
        )
        .await;
    assert_eq!(office.told("alice").await.0, "pro");
    let forgotten = office
        .admin
        .forget(&none("alice"), &office.doing())
        .await
        .unwrap();
    assert!(forgotten > 0);
    assert_eq!(office.told("alice").await.0, "free");
    assert_eq!(office.audits("alice").await.len(), 0);
    let response = office.get("/chat", &Claims::user("alice")).await;
    assert_eq!(header(&response, "x-quota-plan"), "free");
}

on_both_stores! {
    a_reset_is_zero_and_in_the_ledger,
    what_was_used_can_be_set,
    a_refund_gives_back_once_what_an_attempt_was_charged,
}

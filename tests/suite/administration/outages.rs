//! The directory's database is down, and the last that was known goes on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, routing};
use futures_util::future::BoxFuture;
use quota_layer::{
    QuotaLayer,
    administration::{AdminError, ChangeRule},
};
use quota_store::{
    Requester, Subject, UnixMillis,
    directory::{
        AssignedQuery, Begun, Directory, Entries, Entry, EntryChange, KeptAnswer, KeyClaim,
        PlansChange, Replaced, StoredPlans, WindowInForce,
    },
    ledger::{Ledger, LedgerError, LedgerErrorKind, Page, SqliteLedger},
};
use quota_tests::{
    layers::{Store, config},
    requests::{get_as, header, send},
    tokens::Claims,
};

use super::{Office, change_to, user};

/// A directory whose database can be taken away.
struct Fragile {
    inner: Arc<SqliteLedger>,
    is_down: AtomicBool,
}

impl Fragile {
    fn check(&self) -> Result<&SqliteLedger, LedgerError> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(LedgerError::new(LedgerErrorKind::Unreachable, "taken away"));
        }
        Ok(&self.inner)
    }
}

impl Directory for Fragile {
    fn entries<'a>(&'a self, who: &'a Requester) -> BoxFuture<'a, Result<Entries, LedgerError>> {
        Box::pin(async { self.check()?.entries(who).await })
    }

    fn entry<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Entry, LedgerError>> {
        Box::pin(async { self.check()?.entry(subject).await })
    }

    fn replace<'a>(
        &'a self,
        change: &'a EntryChange,
    ) -> BoxFuture<'a, Result<Replaced, LedgerError>> {
        Box::pin(async { self.check()?.replace(change).await })
    }

    fn assigned<'a>(
        &'a self,
        query: &'a AssignedQuery,
    ) -> BoxFuture<'a, Result<Page<Subject, Subject>, LedgerError>> {
        Box::pin(async { self.check()?.assigned(query).await })
    }

    fn plans(&self) -> BoxFuture<'_, Result<StoredPlans, LedgerError>> {
        Box::pin(async { self.check()?.plans().await })
    }

    fn change_plans<'a>(
        &'a self,
        change: &'a PlansChange,
    ) -> BoxFuture<'a, Result<Replaced, LedgerError>> {
        Box::pin(async { self.check()?.change_plans(change).await })
    }

    fn put_in_force(
        &self,
        windows: Vec<WindowInForce>,
        now: UnixMillis,
    ) -> BoxFuture<'_, Result<Vec<UnixMillis>, LedgerError>> {
        Box::pin(async move { self.check()?.put_in_force(windows, now).await })
    }

    fn begin<'a>(&'a self, claim: &'a KeyClaim) -> BoxFuture<'a, Result<Begun, LedgerError>> {
        Box::pin(async { self.check()?.begin(claim).await })
    }

    fn finish<'a>(
        &'a self,
        claim: &'a KeyClaim,
        answer: &'a KeptAnswer,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async { self.check()?.finish(claim, answer).await })
    }

    fn abandon<'a>(&'a self, claim: &'a KeyClaim) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async { self.check()?.abandon(claim).await })
    }
}

async fn the_last_known_plan_goes_on_and_strangers_have_none(store: Store) {
    let office = Office::new(store).await;
    office.assign("alice", "pro", ChangeRule::Carry).await;
    office.assign("carol", "pro", ChangeRule::Carry).await;
    let directory = Arc::new(Fragile {
        inner: Arc::clone(&office.ledger),
        is_down: AtomicBool::new(false),
    });
    let quota = QuotaLayer::from_config(config(super::PLANS))
        .store(Arc::clone(&office.store))
        .ledger(
            Arc::clone(&office.ledger) as Arc<dyn Ledger>,
            Arc::clone(&directory) as Arc<dyn Directory>,
        )
        .build()
        .await
        .unwrap();
    let app = Router::new()
        .route("/chat", routing::get(async || "hello"))
        .layer(quota.clone());
    let told = async |who: &str| {
        let response = send(&app, get_as("/chat", &Claims::user(who))).await;
        header(&response, "x-quota-plan").to_owned()
    };
    let plan_of = async |who: &str| {
        let response = send(&app, get_as("/chat", &Claims::user(who))).await;
        assert_eq!(response.status(), 200, "{who}");
        header(&response, "x-quota-plan").to_owned()
    };
    assert_eq!(plan_of("alice").await, "pro");
    directory.is_down.store(true, Ordering::SeqCst);
    assert_eq!(plan_of("alice").await, "pro");
    // Another process changes something, which this one can't read.
    office.assign("alice", "open", ChangeRule::Carry).await;
    assert_eq!(plan_of("alice").await, "pro");
    assert_eq!(plan_of("alice").await, "pro");
    assert_eq!(plan_of("carol").await, "free");
    let admin = quota.administration();
    let change = change_to("free");
    let refused = admin.assign(&user("alice"), &change, &office.doing()).await;
    assert!(matches!(refused, Err(AdminError::Ledger(_))), "{refused:?}");
    directory.is_down.store(false, Ordering::SeqCst);
    quota_tests::eventually(
        || async { told("alice").await == "open" },
        "the database is looked at again",
    )
    .await;
    quota_tests::eventually(
        || async { told("carol").await == "pro" },
        "a stranger is looked up again",
    )
    .await;
}

on_both_stores! {
    the_last_known_plan_goes_on_and_strangers_have_none,
}

//! Plans that the database keeps.

use quota_layer::administration::{AdminError, ChangeRule, PutPlan, Whom};
use quota_store::{Generation, Subject};
use quota_tests::{layers::Store, requests::header, tokens::Claims};
use serde_json::{Value, json};

use super::{Office, change_to, none, plan, tenant, told};

impl Office {
    async fn put(&self, name: &str, body: Value, how: PutPlan) -> Result<(), AdminError> {
        let (plan, doing) = (plan(name), self.doing());
        let put = self.admin.put_plan(&plan, &body, how, &doing);
        put.await.map(|_| ())
    }

    fn names(&self) -> Vec<String> {
        let plans = self.admin.plans().into_iter();
        plans.map(|view| view.plan.name.to_string()).collect()
    }
}

async fn a_plan_is_made_changed_and_removed_with_the_next_request(store: Store) {
    let office = Office::new(store).await;
    let gold =
        |limit: &str| json!({ "extends": "pro", "limits": { "messages": limit }, "order": 9 });
    office
        .put("gold", gold("8/day"), PutPlan::Create)
        .await
        .unwrap();
    assert_eq!(office.names(), ["free", "pro", "open", "old", "gold"]);
    office.assign("alice", "gold", ChangeRule::Carry).await;
    assert_eq!(office.told("alice").await, told("gold", "8", "1"));
    office
        .put("gold", gold("2/day"), PutPlan::Replace)
        .await
        .unwrap();
    assert_eq!(office.told("alice").await, told("gold", "2", "2"));
    assert_eq!(office.status("/chat", "alice").await, 429);
    let removed = office
        .admin
        .remove_plan(&plan("gold"), None, &office.doing())
        .await;
    assert!(matches!(removed, Err(AdminError::Conflict(_))));
    let doing = office.doing();
    office
        .admin
        .remove_plan(&plan("gold"), Some(&plan("pro")), &doing)
        .await
        .unwrap();
    assert_eq!(office.told("alice").await, told("pro", "20", "3"));
    assert_eq!(office.names(), ["free", "pro", "open", "old"]);
}

async fn the_default_plan_can_be_another(store: Store) {
    let office = Office::new(store).await;
    office
        .put(
            "gold",
            json!({ "limits": { "messages": "9/day" } }),
            PutPlan::Create,
        )
        .await
        .unwrap();
    let view = office
        .admin
        .set_default_plan(&plan("gold"), &office.doing())
        .await
        .unwrap();
    assert!(view.is_default && !view.is_from_file);
    assert_eq!(
        view.written,
        Some(json!({ "limits": { "messages": "9/day" } }))
    );
    assert_eq!(office.told("bob").await, told("gold", "9", "1"));
    let removed = office
        .admin
        .remove_plan(&plan("gold"), None, &office.doing())
        .await;
    assert!(matches!(removed, Err(AdminError::Conflict(_))));
    let disabled = json!({ "limits": { "messages": "9/day" }, "enabled": false });
    let put = office.put("gold", disabled, PutPlan::Replace).await;
    assert!(matches!(put, Err(AdminError::Conflict(_))));
    office
        .admin
        .set_default_plan(&plan("free"), &office.doing())
        .await
        .unwrap();
    assert_eq!(office.told("bob").await, told("free", "5", "2"));
    let old = office
        .admin
        .set_default_plan(&plan("old"), &office.doing())
        .await;
    assert!(matches!(old, Err(AdminError::Conflict(_))));
    let gone = office
        .admin
        .set_default_plan(&plan("gone"), &office.doing())
        .await;
    assert!(matches!(gone, Err(AdminError::NotFound { .. })));
}

async fn an_edited_plan_and_another_default_plan_refill_nobody(store: Store) {
    let office = Office::new(store).await;
    let gold = |limits: Value| json!({ "limits": { "messages": limits } });
    let put = async |limits: Value, how: PutPlan| {
        let put = office.put("gold", gold(limits), how).await;
        put.unwrap();
    };
    put(json!("9/day"), PutPlan::Create).await;
    office.assign("alice", "gold", ChangeRule::Carry).await;
    assert_eq!(office.told("alice").await, told("gold", "9", "1"));
    assert_eq!(office.told("alice").await, told("gold", "9", "2"));
    put(json!(["9/day", "9/month"]), PutPlan::Replace).await;
    assert_eq!(used(&office, "alice").await, [2, 2]);
    put(json!("9/12h"), PutPlan::Replace).await;
    assert_eq!(office.told("alice").await, told("gold", "9", "3"));
    // Bob has whatever the default plan is.
    assert_eq!(office.told("bob").await, told("free", "5", "1"));
    office
        .admin
        .set_default_plan(&plan("gold"), &office.doing())
        .await
        .unwrap();
    assert_eq!(office.told("bob").await, told("gold", "9", "2"));
}

/// What the counters of messages of a user say, as its standing shows them.
async fn used(office: &Office, who: &str) -> Vec<u64> {
    let standing = office.admin.user(&none(who), None).await.unwrap();
    let counters = standing.quotas[0].counters.iter();
    counters.map(|counter| counter.used).collect()
}

#[tokio::test]
async fn plans_of_the_file_are_left_alone_and_bodies_are_read_as_the_file_is() {
    let office = Office::new(Store::Memory).await;
    let conflict = office.put("pro", json!({}), PutPlan::Replace).await;
    assert!(matches!(conflict, Err(AdminError::Conflict(_))));
    let gone = office.put("gold", json!({}), PutPlan::Replace).await;
    assert!(matches!(gone, Err(AdminError::NotFound { .. })));
    let wrong = office
        .put(
            "gold",
            json!({ "limits": { "mesages": "5/day" } }),
            PutPlan::Create,
        )
        .await;
    let Err(AdminError::Invalid { field, problem }) = wrong else {
        panic!("{wrong:?}");
    };
    assert_eq!(field, "limits.mesages");
    assert_eq!(
        problem,
        "there is no quota `mesages`; did you mean `messages`?"
    );
    office
        .put("gold", json!({ "features": ["x"] }), PutPlan::Create)
        .await
        .unwrap();
    let twice = office.put("gold", json!({}), PutPlan::Create).await;
    assert!(matches!(twice, Err(AdminError::Conflict(_))));
    office
        .put("child", json!({ "extends": "gold" }), PutPlan::Create)
        .await
        .unwrap();
    let views = office.admin.plans();
    let child = views.iter().find(|view| view.plan.name.as_str() == "child");
    assert_eq!(child.unwrap().plan.features, ["x"]);
    let parent = office
        .admin
        .remove_plan(&plan("gold"), None, &office.doing())
        .await;
    assert!(matches!(parent, Err(AdminError::Conflict(_))));
}

#[tokio::test]
async fn another_process_takes_them_before_its_next_admission() {
    let here = Office::new(Store::Redis).await;
    let there = here.another().await;
    let gold = |limit: &str| json!({ "limits": { "messages": limit } });
    here.put("gold", gold("8/day"), PutPlan::Create)
        .await
        .unwrap();
    here.assign("alice", "gold", ChangeRule::Carry).await;
    assert_eq!(there.told("alice").await, told("gold", "8", "1"));
    here.put("gold", gold("1/day"), PutPlan::Replace)
        .await
        .unwrap();
    assert_eq!(there.status("/chat", "alice").await, 429);
    there
        .admin
        .set_default_plan(&plan("gold"), &there.doing_after(100))
        .await
        .unwrap();
    assert_eq!(here.told("bob").await, told("gold", "1", "1"));
}

impl Office {
    /// An act whose id no act of another process has.
    fn doing_after(&self, number: u64) -> quota_layer::administration::Doing {
        self.acts
            .store(number, std::sync::atomic::Ordering::Relaxed);
        self.doing()
    }
}

#[tokio::test]
async fn a_restart_finds_plans_and_assignments_again() {
    let before = Office::new(Store::Redis).await;
    before
        .put(
            "gold",
            json!({ "limits": { "messages": "8/day" } }),
            PutPlan::Create,
        )
        .await
        .unwrap();
    before.assign("alice", "gold", ChangeRule::Carry).await;
    let after = before.another().await;
    drop(before);
    assert_eq!(after.told("alice").await, told("gold", "8", "1"));
    assert_eq!(after.names(), ["free", "gold", "pro", "open", "old"]);
}

#[tokio::test]
async fn a_plan_whose_quota_is_gone_is_left_out_and_its_users_have_the_default() {
    let before = Office::new(Store::Memory).await;
    before
        .put(
            "gold",
            json!({ "limits": { "images": "8/day" } }),
            PutPlan::Create,
        )
        .await
        .unwrap();
    before.assign("alice", "gold", ChangeRule::Carry).await;
    let toml = super::PLANS
        .replace("[quotas.images]\n", "")
        .replace("limits.images = \"10/month\"\n", "")
        .replace(
            "[[routes]]\nmatch = \"GET /draw\"\ncharge = { images = 1 }\n",
            "",
        );
    let place = (Store::Memory, before.prefix.clone());
    let clock = std::sync::Arc::new(quota_store::SystemClock);
    let folder = std::sync::Arc::clone(&before.folder);
    drop(before);
    let after = Office::over(place, &toml, folder, clock).await;
    assert_eq!(after.told("alice").await, told("free", "5", "1"));
    assert_eq!(after.names(), ["free", "pro", "open", "old"]);
}

async fn plans_of_a_database_that_was_put_back_go_on(store: Store) {
    let office = Office::new(store).await;
    let gold = json!({ "limits": { "messages": "9/day" } });
    office.put("gold", gold, PutPlan::Create).await.unwrap();
    assert_eq!(office.status("/chat", "alice").await, 200);
    // Changes that the database has no more.
    let later = Generation(1 << 40);
    office.store.advance_plans(later).await.unwrap();
    for _ in 0..2 {
        assert_eq!(office.status("/chat", "alice").await, 200);
    }
    office.assign("alice", "gold", ChangeRule::Carry).await;
    assert_eq!(office.told("alice").await.0, "gold");
}

#[tokio::test]
async fn many_users_can_be_given_a_plan_at_once() {
    let office = Office::new(Store::Memory).await;
    for who in ["a", "b", "c"] {
        assert_eq!(office.status("/chat", who).await, 200);
    }
    office.assign("a", "pro", ChangeRule::Carry).await;
    assert_eq!(office.many(&Whom::Everyone, "pro", true).await, 2);
    assert_eq!(office.told("b").await.0, "free");
    assert_eq!(office.many(&Whom::Everyone, "pro", false).await, 2);
    assert_eq!(office.told("b").await.0, "pro");
    assert_eq!(office.many(&Whom::Everyone, "pro", false).await, 0);
    let with_pro = Whom::WithPlan(plan("pro"));
    assert_eq!(office.many(&with_pro, "free", false).await, 3);
    assert_eq!(office.told("c").await.0, "free");
    let named = Whom::Users(vec![none("x").user, none("c").user]);
    assert_eq!(office.many(&named, "pro", false).await, 2);
    let standing = office.admin.user(&none("x"), None).await.unwrap();
    assert_eq!(standing.plan.plan.name.as_str(), "pro");
    assert_eq!(office.audits("x").await.len(), 1);
}

#[tokio::test]
async fn a_change_of_many_is_about_one_tenant() {
    let office = Office::new(Store::Memory).await;
    let member = Claims::user("d").with_org("acme");
    assert_eq!(office.get("/chat", &member).await.status(), 200);
    assert_eq!(office.many(&Whom::Everyone, "pro", false).await, 0);
    let subject = Subject::User {
        tenant: Some(tenant("acme")),
        user: none("d").user,
    };
    let pro = change_to("pro");
    let doing = office.doing();
    office.admin.assign(&subject, &pro, &doing).await.unwrap();
    let with_pro = Whom::WithPlan(plan("pro"));
    assert_eq!(office.many(&with_pro, "free", false).await, 0);
    let response = office.get("/chat", &member).await;
    assert_eq!(header(&response, "x-quota-plan"), "pro");
}

impl Office {
    /// Gives users without a tenant a plan; how many.
    async fn many(&self, whom: &Whom, name: &str, dry_run: bool) -> u64 {
        let (change, doing) = (change_to(name), self.doing());
        let count = self.admin.assign_many(None, whom, &change, dry_run, &doing);
        count.await.unwrap()
    }
}

on_both_stores! {
    plans_of_a_database_that_was_put_back_go_on,
    an_edited_plan_and_another_default_plan_refill_nobody,
    a_plan_is_made_changed_and_removed_with_the_next_request,
    the_default_plan_can_be_another,
}

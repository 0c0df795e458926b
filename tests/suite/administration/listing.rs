//! Who uses how much, and how the whole does.

use quota_layer::administration::{ChangeRule, HealthStatus, UserRow, UsersQuery, UsersSort};
use quota_tests::{layers::Store, tokens::Claims};

use super::{Office, plan, quota, tenant};

fn query() -> UsersQuery {
    UsersQuery {
        tenant: None,
        quota: Some(quota("messages")),
        window: None,
        plan: None,
        near_limit: None,
        sort: UsersSort::MostUsed,
        limit: 50,
        after: None,
    }
}

impl Office {
    async fn listed(&self, query: UsersQuery) -> Vec<String> {
        let (rows, _) = self.admin.users(&query).await.unwrap();
        rows.iter().map(shown).collect()
    }
}

fn shown(row: &UserRow) -> String {
    let status = &row.status;
    format!(
        "{} {} {} {}",
        row.user.as_str(),
        row.plan,
        status.window,
        status.used
    )
}

async fn charged() -> Office {
    let office = Office::new(Store::Memory).await;
    for (who, times) in [("a", 2), ("b", 5), ("c", 1)] {
        for _ in 0..times {
            assert_eq!(office.status("/chat", who).await, 200);
        }
    }
    office.assign("c", "pro", ChangeRule::Carry).await;
    let other = Claims::user("z").with_org("acme");
    assert_eq!(office.get("/chat", &other).await.status(), 200);
    office
}

#[tokio::test]
async fn who_used_most_comes_first_and_other_tenants_are_not_told() {
    let office = charged().await;
    assert_eq!(
        office.listed(query()).await,
        [
            "b free day 5",
            "a free day 2",
            "c pro day 1",
            "c pro month 1"
        ]
    );
    let by_name = UsersQuery {
        sort: UsersSort::Name,
        ..query()
    };
    assert_eq!(
        office.listed(by_name).await,
        [
            "a free day 2",
            "b free day 5",
            "c pro day 1",
            "c pro month 1"
        ]
    );
    let of_acme = UsersQuery {
        tenant: Some(tenant("acme")),
        ..query()
    };
    assert_eq!(office.listed(of_acme).await, ["z free day 1"]);
}

#[tokio::test]
async fn filters_keep_those_near_a_limit_and_those_with_a_plan() {
    let office = charged().await;
    let near = UsersQuery {
        near_limit: Some(40),
        ..query()
    };
    assert_eq!(office.listed(near).await, ["b free day 5", "a free day 2"]);
    let near = UsersQuery {
        near_limit: Some(41),
        ..query()
    };
    assert_eq!(office.listed(near).await, ["b free day 5"]);
    let pro = UsersQuery {
        plan: Some(plan("pro")),
        ..query()
    };
    assert_eq!(office.listed(pro).await, ["c pro day 1", "c pro month 1"]);
}

#[tokio::test]
async fn a_page_goes_on_where_the_one_before_ended() {
    let office = charged().await;
    let mut seen = Vec::new();
    let mut page = UsersQuery {
        limit: 1,
        ..query()
    };
    loop {
        let (rows, next) = office.admin.users(&page).await.unwrap();
        assert!(rows.len() <= 1);
        seen.extend(rows.iter().map(shown));
        if next.is_none() {
            break;
        }
        page.after = next;
    }
    assert_eq!(seen, office.listed(query()).await);
}

#[tokio::test]
async fn health_names_rules_that_nothing_matched_and_routes_without_one() {
    let office = charged().await;
    assert_eq!(office.status("/nothing", "a").await, 200);
    let health = office.admin.health().await;
    assert_eq!(health.status, HealthStatus::Ok);
    assert_eq!(health.breaker, "closed");
    assert!(health.store.is_ok() && matches!(health.ledger, Some(Ok(_))));
    assert_eq!(health.unmatched_rules, ["GET /fail", "GET /draw"]);
    assert_eq!(health.unruled_routes, ["/{anything}"]);
    assert_eq!(health.revision, office.quota.config_revision());
    assert_eq!(health.reload_error, None);
}

//! A store in memory that is full forgets nobody: new subjects get what `on_failure` says.

use axum::{Router, body::Body, routing::get};
use http::{Request, Response};
use quota_layer::QuotaLayer;
use quota_tests::{layers::config, tokens::bearer};
use tower::ServiceExt as _;

const CONFIG: &str = r#"
[store]
memory_subjects = 20
allow_max = 3
[quotas.messages]
unit = "message"
[plans.free]
default = true
limits.messages = "40/lifetime"
[[routes]]
match = "GET /deny"
charge = { messages = 1 }
[[routes]]
match = "GET /allow"
charge = { messages = 1 }
on_failure = "allow"
[[routes]]
match = "GET /local"
charge = { messages = 1 }
on_failure = "local"
"#;

async fn ask(app: &Router, user: &str, path: &str) -> (u16, Option<String>) {
    let request = Request::get(path)
        .header("authorization", bearer(user))
        .body(Body::empty())
        .unwrap();
    let response: Response<_> = app.clone().oneshot(request).await.unwrap();
    let header = |name| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let told = header("x-quota-used").or_else(|| header("x-quota-state"));
    (response.status().as_u16(), told)
}

#[tokio::test]
async fn a_full_memory_denies_nobody_and_forgets_nobody() {
    let quota = QuotaLayer::from_config(config(CONFIG))
        .build()
        .await
        .unwrap();
    let hello = || get(|| async { "hello" });
    let app = Router::new()
        .route("/deny", hello())
        .route("/allow", hello())
        .route("/local", hello())
        .layer(quota);
    let counted = |used: u64| (200, Some(used.to_string()));
    let unavailable = |status: u16| (status, Some("unavailable".to_owned()));
    // How many fit depends on how they spread; sooner or later somebody does not.
    let mut known = Vec::new();
    let latecomer = loop {
        let user = format!("user-{}", known.len());
        match ask(&app, &user, "/deny").await {
            (200, told) => assert_eq!(told.as_deref(), Some("1")),
            refused => {
                assert_eq!(refused, unavailable(503));
                break user;
            }
        }
        known.push(user);
        assert!(known.len() <= 20, "more than the cap were taken in");
    };
    assert!(
        known.len() >= 10,
        "only {} of 20 were taken in",
        known.len()
    );
    for _ in 0..3 {
        assert_eq!(ask(&app, &latecomer, "/allow").await, unavailable(200));
    }
    assert_eq!(ask(&app, &latecomer, "/allow").await, unavailable(503));
    for _ in 0..4 {
        assert_eq!(ask(&app, &latecomer, "/local").await, unavailable(200));
    }
    assert_eq!(ask(&app, &latecomer, "/local").await, unavailable(503));
    for user in &known {
        assert_eq!(ask(&app, user, "/deny").await, counted(2));
    }
}

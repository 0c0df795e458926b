//! A running process takes another configuration, and refills nobody.

use std::path::Path;

use axum::Router;
use bytes::Bytes;
use http::Response;
use quota_layer::{QuotaLayer, ReloadError};
use quota_tests::{
    eventually,
    layers::identity,
    requests::{get, header, send},
};

fn config(limit: u64, extra: &str) -> String {
    format!(
        "unmatched = \"pass\"\n{}\n[quotas.messages]\n[plans.free]\ndefault = true\n\
         limits.messages = \"{limit}/lifetime\"\n[[routes]]\nmatch = \"GET /hello\"\n\
         charge = {{ messages = 1 }}\n{extra}",
        identity()
    )
}

struct Watched {
    folder: tempfile::TempDir,
    quota: QuotaLayer,
    app: Router,
}

impl Watched {
    async fn start(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("quota.toml"), text);
        let quota = QuotaLayer::from_file(folder.path().join("quota.toml"))
            .await
            .unwrap();
        let app = Router::new()
            .route("/hello", axum::routing::get(|| async { "hello" }))
            .layer(quota.clone());
        Self { folder, quota, app }
    }

    fn write(&self, text: &str) {
        write(&self.folder.path().join("quota.toml"), text);
    }

    async fn ask(&self) -> Response<Bytes> {
        send(&self.app, get("/hello", "alice")).await
    }
}

/// As editors do: a new file takes the place of the old one.
fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

#[tokio::test]
async fn another_limit_is_in_force_and_nobody_is_refilled() {
    let watched = Watched::start(&config(5, "")).await;
    for _ in 0..3 {
        assert_eq!(watched.ask().await.status().as_u16(), 200);
    }
    watched.write(&config(4, ""));
    watched.quota.reload().await.unwrap();
    let fourth = watched.ask().await;
    assert_eq!(
        (fourth.status().as_u16(), header(&fourth, "x-quota-used")),
        (200, "4")
    );
    assert_eq!(header(&fourth, "x-quota-limit"), "4");
    assert_eq!(watched.ask().await.status().as_u16(), 429);

    // Lowered below what is used: nothing is left, and never a negative.
    watched.write(&config(2, ""));
    watched.quota.reload().await.unwrap();
    let refused = watched.ask().await;
    assert_eq!(
        (
            refused.status().as_u16(),
            header(&refused, "x-quota-remaining")
        ),
        (429, "0")
    );
    assert_eq!(header(&refused, "x-quota-used"), "4");
}

#[tokio::test]
async fn a_changed_file_is_taken_without_being_asked() {
    let watched = Watched::start(&config(5, "")).await;
    let before = watched.quota.config_revision();
    watched.write(&config(6, ""));
    eventually(
        || async { watched.quota.config_revision() != before },
        "the changed file is in force",
    )
    .await;
    assert_eq!(header(&watched.ask().await, "x-quota-limit"), "6");
}

#[tokio::test]
async fn a_wrong_file_changes_nothing() {
    let watched = Watched::start(&config(5, "")).await;
    let before = watched.quota.config_revision();
    watched.write(&config(6, "colour = \"red\""));
    let error = watched.quota.reload().await.unwrap_err();
    assert!(matches!(error, ReloadError::Config(_)), "{error}");
    assert!(error.to_string().contains("colour"), "{error}");
    assert_eq!(watched.quota.config_revision(), before);
    assert_eq!(header(&watched.ask().await, "x-quota-limit"), "5");
}

#[tokio::test]
async fn the_store_section_needs_a_restart_and_the_rest_does_not() {
    // `settle` of the rules comes from `[store]`, and once took effect without a restart.
    let watched = Watched::start(&config(5, "[store]\nsettle = \"before-response\"\n")).await;
    let before = watched.quota.config_revision();
    watched.write(&config(5, "[store]\nsettle = \"background\"\n"));
    watched.quota.reload().await.unwrap();
    assert_eq!(watched.quota.config_revision(), before);
    watched.write(&config(7, "[store]\nsettle = \"background\"\n"));
    watched.quota.reload().await.unwrap();
    assert_ne!(watched.quota.config_revision(), before);
    assert_eq!(header(&watched.ask().await, "x-quota-limit"), "7");
}

#[tokio::test]
async fn the_ledger_section_needs_a_restart_too() {
    let watched = Watched::start(&config(5, "")).await;
    let before = watched.quota.config_revision();
    watched.write(&config(5, "[ledger]\nurl = \"none\"\n"));
    watched.quota.reload().await.unwrap();
    assert_eq!(watched.quota.config_revision(), before);
}

#[tokio::test]
async fn without_a_file_there_is_nothing_to_reload() {
    let quota =
        QuotaLayer::from_config(quota_tests::layers::config("[plans.free]\ndefault = true"))
            .build()
            .await
            .unwrap();
    let error = quota.reload().await.unwrap_err();
    assert!(matches!(error, ReloadError::NoFile), "{error}");
}

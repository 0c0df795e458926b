//! Amounts are exact to the digit up to 2^53 - 1, and nothing larger, negative or broken gets in.

use axum::{Router, routing};
use quota_layer::{Config, QuotaHandle};
use quota_tests::{
    layers::{Store, identity, layered},
    logs::Logs,
    requests::{get, header, json, request, send},
};

use super::quota_header;

const MAX: u64 = (1 << 53) - 1;

fn config(limit: &str, charge: &str) -> String {
    format!(
        r#"
        [store]
        timeout = "5s"
        [quotas.tokens]
        [plans.free]
        default = true
        limits.tokens = "{limit}"
        [[routes]]
        match = "GET /chat"
        charge = {{ tokens = {charge} }}
        "#
    )
}

async fn the_largest_amount_is_exact_in_headers_and_bodies(store: Store) {
    let layered = layered(
        store,
        &config(&format!("{MAX}/lifetime"), &(MAX - 1).to_string()),
    )
    .await;
    let app = Router::new()
        .route(
            "/chat",
            routing::get(async |handle: QuotaHandle| {
                let status = &handle.status()[0];
                assert_eq!((status.reserved, status.remaining), (MAX - 1, Some(1)));
            }),
        )
        .layer(layered.quota.clone());
    let response = send(&app, get("/chat", "alice")).await;
    let shown = ["limit", "used", "remaining"].map(|name| quota_header(&response, name));
    assert_eq!(shown, ["9007199254740991", "9007199254740990", "1"]);
    let denied = send(&app, get("/chat", "alice")).await;
    assert_eq!(denied.status(), 429);
    let text = String::from_utf8(denied.body().to_vec()).unwrap();
    assert!(text.contains("\"used\":9007199254740990,"), "{text}");
    assert!(text.contains("\"limit\":9007199254740991,"), "{text}");
    assert_eq!(json(&denied)["requested"], MAX - 1);
    assert_eq!(json(&denied)["quota_status"]["remaining"], 1);
}

async fn amounts_near_1e14_keep_every_digit(store: Store) {
    let layered = layered(store, &config("900T/month", "100000000000001")).await;
    let app = Router::new()
        .route("/chat", routing::get(async || ()))
        .layer(layered.quota.clone());
    for expected in ["100000000000001", "200000000000002", "300000000000003"] {
        let response = send(&app, get("/chat", "alice")).await;
        assert_eq!(quota_header(&response, "used"), expected);
    }
}

/// `used` stops at the largest amount instead of wrapping.
async fn used_stops_at_the_largest_amount(store: Store) {
    let charge = "{ reserve = 1, actual = \"handler\" }";
    let layered = layered(store, &config("unlimited", charge)).await;
    let app = Router::new()
        .route(
            "/chat",
            routing::get(async |handle: QuotaHandle| {
                handle.report("tokens", i64::try_from(MAX).unwrap());
                handle.report("tokens", i64::try_from(MAX).unwrap());
            }),
        )
        .layer(layered.quota.clone());
    for _ in 0..3 {
        let response = send(&app, get("/chat", "alice")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(quota_header(&response, "used"), MAX.to_string());
    }
}

/// What cannot be an amount of a flow is an error in the log, and the reserved amount is charged.
async fn a_report_that_is_no_amount_changes_nothing(store: Store) {
    let charge = "{ reserve = 3, actual = \"handler\" }";
    for wrong in [-1, i64::MIN, 1 << 53, i64::MAX] {
        let layered = layered(store, &config("1000/lifetime", charge)).await;
        let logs = Logs::capture();
        let app = Router::new()
            .route(
                "/chat",
                routing::get(async move |handle: QuotaHandle| handle.report("tokens", wrong)),
            )
            .layer(layered.quota.clone());
        let response = send(&app, get("/chat", "alice")).await;
        assert_eq!(quota_header(&response, "used"), "3", "{wrong}");
        let lines = logs.lines_with("quota::report");
        assert!(
            lines.len() == 1 && lines[0].contains("ERROR"),
            "{wrong}: {lines:?}"
        );
    }
}

on_both_stores!(
    the_largest_amount_is_exact_in_headers_and_bodies,
    amounts_near_1e14_keep_every_digit,
    used_stops_at_the_largest_amount,
    a_report_that_is_no_amount_changes_nothing,
);

#[track_caller]
fn assert_rejected(limit: &str, charge: &str) {
    let text = format!("{}{}", config(limit, charge), identity());
    let text = text.replace("\"nan\"", "nan").replace("\"inf\"", "inf");
    assert!(Config::from_toml(&text).is_err(), "{limit} {charge}");
}

#[test]
fn what_is_no_amount_is_rejected_in_the_configuration() {
    for limit in [
        "-1/day",
        "1.5/day",
        "9007199254740992/day",
        "9P/day",
        "1e3/day",
        "nan/day",
        "18446744073709551616/day",
        "/day",
        "10000T/day",
    ] {
        assert_rejected(limit, "1");
    }
    for charge in [
        "-1",
        "1.0",
        "nan",
        "inf",
        "9007199254740992",
        "{ reserve = -1 }",
        "{ reserve = 1.5, actual = \"handler\" }",
        "{ reserve = 1, max = 9007199254740992, actual = \"handler\" }",
        "\"-1\"",
    ] {
        assert_rejected("5/day", charge);
    }
}

async fn a_forged_amount_in_a_header_is_not_believed(store: Store) {
    let layered = layered(store, &config("5/day", "1")).await;
    let app = Router::new()
        .route("/chat", routing::get(async || ()))
        .layer(layered.quota.clone());
    let mut forged = request(http::Method::GET, "/chat", "alice");
    forged
        .headers_mut()
        .insert("x-quota-used", "-100".parse().unwrap());
    let response = send(&app, forged).await;
    assert_eq!(header(&response, "x-quota-used"), "1");
}

#[tokio::test]
async fn a_forged_amount_in_a_header_is_not_believed_anywhere() {
    a_forged_amount_in_a_header_is_not_believed(Store::Memory).await;
    a_forged_amount_in_a_header_is_not_believed(Store::Redis).await;
}

//! The `RateLimit` fields parse as structured fields and agree with everything else that is said.

use std::collections::BTreeMap;

use quota_tests::{layers::Store, requests::header, tokens::Claims};
use sfv::{BareItem, Item, List, ListEntry, Parser};

use super::Quotas;

const CONFIG: &str = r#"
[responses]
upgrade_url = "https://example.com/pricing"
[quotas.messages]
[quotas.traffic]
unit = "byte"
[quotas.tokens]
unit = "token"
[plans.free]
default = true
grace = "30%"
limits.messages = ["5/day", "7/3h", "200/lifetime"]
limits.traffic = "1GiB/month"
limits.tokens = "unlimited"
tenant_limits.messages = "6/month"
[[routes]]
match = "GET /chat"
charge = { messages = 1, traffic = 1000, tokens = { reserve = 1, actual = "handler" } }
"#;

type Parameters = BTreeMap<String, String>;

/// Policy to parameters, in the order of the field.
fn parsed(field: &str) -> Vec<(String, Parameters)> {
    let list: List = Parser::new(field)
        .parse()
        .unwrap_or_else(|error| panic!("{field}: {error}"));
    let text = |item: &BareItem| match item {
        BareItem::Integer(number) => number.to_string(),
        BareItem::String(text) => text.to_string(),
        other => panic!("{other:?} in {field}"),
    };
    list.into_iter()
        .map(|entry| {
            let ListEntry::Item(Item { bare_item, params }) = entry else {
                panic!("a list in {field}");
            };
            let params = params
                .iter()
                .map(|(key, value)| (key.to_string(), text(value)));
            (text(&bare_item), params.collect())
        })
        .collect()
}

fn value<'a>(of: &'a [(String, Parameters)], policy: &str, key: &str) -> &'a str {
    let (_, params) = of.iter().find(|(name, _)| name == policy).unwrap();
    params.get(key).map_or("", String::as_str)
}

async fn the_fields_name_every_limited_counter(store: Store) {
    let quotas = Quotas::new(store, CONFIG).await;
    let response = quotas
        .get("/chat", &Claims::user("alice").with_org("acme"))
        .await;
    assert_eq!(response.status(), 200);
    let policies = parsed(header(&response, "ratelimit-policy"));
    let names: Vec<&str> = policies.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "messages-day",
        "messages-3h",
        "messages-lifetime",
        "messages-month-tenant",
        "traffic-month",
    ];
    assert_eq!(names, expected);
    assert_eq!(value(&policies, "messages-day", "q"), "6");
    assert_eq!(value(&policies, "messages-3h", "q"), "9");
    // A tenant's limit has no grace.
    assert_eq!(value(&policies, "messages-month-tenant", "q"), "6");
    assert_eq!(value(&policies, "messages-day", "w"), "86400");
    assert_eq!(value(&policies, "messages-3h", "w"), "10800");
    assert_eq!(value(&policies, "messages-lifetime", "w"), "");
    assert_eq!(value(&policies, "messages-day", "qu"), "");
    assert_eq!(value(&policies, "traffic-month", "qu"), "content-bytes");
    let limits = parsed(header(&response, "ratelimit"));
    let names: Vec<&str> = limits.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, expected);
    assert_eq!(value(&limits, "messages-day", "r"), "5");
    assert_eq!(value(&limits, "messages-lifetime", "t"), "");
    let left: u64 = value(&limits, "messages-day", "t").parse().unwrap();
    assert!((1..=86_400).contains(&left));
}

async fn a_refusal_waits_as_long_as_the_limit_that_denied(store: Store) {
    let quotas = Quotas::new(store, CONFIG).await;
    let alice = Claims::user("alice");
    for _ in 0..6 {
        assert_eq!(quotas.status("/chat", &alice).await, 200);
    }
    let refused = quotas.get("/chat", &alice).await;
    assert_eq!(refused.status(), 429);
    let limits = parsed(header(&refused, "ratelimit"));
    let wait: u64 = header(&refused, "retry-after").parse().unwrap();
    let told: u64 = value(&limits, "messages-day", "t").parse().unwrap();
    assert!(wait >= told, "{wait} {told}");
    assert_eq!(value(&limits, "messages-day", "r"), "0");
    let reset: u64 = header(&refused, "x-quota-reset").parse().unwrap();
    let now = quotas.layered.store.now().seconds();
    assert!((now..=now + 86_400).contains(&reset));
}

async fn members_need_not_see_their_tenants_totals(store: Store) {
    let text = CONFIG.replace("[responses]", "[responses]\ntenant_headers = false");
    let quotas = Quotas::new(store, &text.replace("\"6/month\"", "\"2/month\"")).await;
    let alice = Claims::user("alice").with_org("acme");
    for turn in 0..3 {
        let response = quotas.get("/chat", &alice).await;
        let status = response.status().as_u16();
        assert_eq!(status, if turn < 2 { 200 } else { 429 });
        let fields = [
            header(&response, "ratelimit"),
            header(&response, "ratelimit-policy"),
        ];
        assert!(
            fields.iter().all(|field| !field.contains("tenant")),
            "{fields:?}"
        );
        if header(&response, "x-quota-scope") == "tenant" {
            let totals = ["limit", "used", "remaining"];
            let shown = totals.map(|name| super::quota_header(&response, name));
            assert_eq!(shown, ["", "", ""]);
        }
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        assert!(!body.contains("\"used\"") && !body.contains(" 2"), "{body}");
    }
}

async fn families_that_are_off_are_not_written(store: Store) {
    for (headers, has_quota, has_ratelimit) in [
        ("\"x-quota\"", true, false),
        ("\"ratelimit\"", false, true),
        ("", false, false),
    ] {
        let text = CONFIG.replace(
            "[responses]",
            &format!("[responses]\nheaders = [{headers}]"),
        );
        let quotas = Quotas::new(store, &text).await;
        let response = quotas.get("/chat", &Claims::user("alice")).await;
        assert_eq!(header(&response, "x-quota-used") == "1", has_quota);
        assert_eq!(!header(&response, "ratelimit").is_empty(), has_ratelimit);
    }
}

/// Of several counters the headers are about the one closest to its hard limit.
async fn the_closest_counter_is_told(store: Store) {
    let text = CONFIG.replace(
        "\"5/day\", \"7/3h\", \"200/lifetime\"",
        "\"100/lifetime\", \"10/month\", \"20/day\"",
    );
    let quotas = Quotas::new(store, &text).await;
    let response = quotas.get("/chat", &Claims::user("alice")).await;
    assert_eq!(super::quota_header(&response, "window"), "month");
    // A tie goes to the first of the file.
    let text = text.replace("\"10/month\", \"20/day\"", "\"20/month\", \"20/day\"");
    let quotas = Quotas::new(store, &text).await;
    let response = quotas.get("/chat", &Claims::user("alice")).await;
    assert_eq!(super::quota_header(&response, "window"), "month");
}

on_both_stores!(
    the_fields_name_every_limited_counter,
    a_refusal_waits_as_long_as_the_limit_that_denied,
    members_need_not_see_their_tenants_totals,
    families_that_are_off_are_not_written,
    the_closest_counter_is_told,
);

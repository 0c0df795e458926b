//! The description of the APIs.

use serde_json::Value;

use crate::kit::Kit;

#[tokio::test]
async fn every_route_is_described() {
    let kit = Kit::new().await;
    let document = kit.get("/openapi.json").await.assert_ok().json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            check(path, method, operation);
            let responses = operation["responses"].as_object().unwrap();
            let statuses: Vec<&str> = responses.keys().map(String::as_str).collect();
            let method = method.to_uppercase();
            routes.push(format!("{method} {path}: {}", statuses.join(" ")));
        }
    }
    routes.sort();
    insta::assert_snapshot!(routes.join("\n"));
}

#[track_caller]
fn check(path: &str, method: &str, operation: &Value) {
    let place = format!("{method} {path}");
    assert!(operation["summary"].is_string(), "{place}");
    assert!(operation["operationId"].is_string(), "{place}");
    assert!(operation["security"].is_array(), "{place}");
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        assert!(
            parameter["description"].is_string() || parameter["schema"]["description"].is_string(),
            "{place}: {parameter}"
        );
    }
    if path.starts_with("/admin/") && method != "get" {
        let parameters = operation["parameters"].as_array().unwrap();
        let has_key = parameters
            .iter()
            .any(|parameter| parameter["name"] == "Idempotency-Key");
        assert!(has_key, "{place}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    let kit = Kit::new().await;
    let document = kit.get("/admin/quotas/openapi.json").await.json();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn both_documents_agree() {
    let kit = Kit::new().await;
    let both = kit.get("/openapi.json").await.json();
    let admin = kit.get("/admin/quotas/openapi.json").await.json();
    for (path, item) in admin["paths"].as_object().unwrap() {
        assert!(path.starts_with("/admin/quotas/"), "{path}");
        assert_eq!(&both["paths"][path], item);
    }
}

//! The examples of the pages do what they say.

use axum::body::Body;
use http::{Request, header};
use quota_layer::QuotaIdentity;

use crate::kit::{Kit, TOKEN, bare};

/// The lines of a page that call curl.
fn examples(page: &str) -> Vec<String> {
    let path = format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("curl "));
    lines.map(str::to_owned).collect()
}

/// What follows `before` in a line, up to `end`.
fn part<'a>(line: &'a str, before: &str, end: char) -> Option<&'a str> {
    let (_, rest) = line.split_once(before)?;
    Some(rest.split(end).next().unwrap())
}

/// The request that a line makes, of somebody who may do everything.
fn request(line: &str, prefix: &str) -> Request<Body> {
    let json = part(line, "--json '", '\'');
    let method = part(line, "-X ", ' ').unwrap_or(if json.is_some() { "POST" } else { "GET" });
    let path = line.split_once("$BASE").unwrap().1;
    let path = path.split(['"', ' ']).next().unwrap();
    let mut request = bare(method, &format!("{prefix}{path}"))
        .header("x-admin-token", TOKEN)
        .extension(QuotaIdentity::new("alice"));
    if json.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(key) = part(line, "Idempotency-Key: ", '\'') {
        request = request.header("idempotency-key", key);
    }
    request
        .body(Body::from(json.unwrap_or_default().to_owned()))
        .unwrap()
}

#[tokio::test]
async fn every_example_of_the_pages_works() {
    for (page, prefix, count) in [
        ("user-api.md", "", 5),
        ("admin-api.md", "/admin/quotas", 22),
    ] {
        let kit = Kit::with("[plans.enterprise]\nextends = \"pro\"\nvisible = false\n").await;
        let lines = examples(page);
        assert_eq!(lines.len(), count, "{page}");
        for line in lines {
            let seen = kit.send(request(&line, prefix)).await;
            assert!(seen.status.is_success(), "{line}: {}", seen.text());
        }
    }
}

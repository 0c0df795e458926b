//! Whatever a client writes as its target, a charged handler that runs is charged, and one that
//! does not run is not.

mod applications;
mod random;
mod unmatched;

use quota_tests::layers::Store;

use applications::{Application, Placed};

/// Method, target, and the status and the quota charged.
type Case = (&'static str, &'static str, u16, &'static str);

/// What every place of the layer agrees on.
const CASES: [Case; 35] = [
    ("GET", "/api/1", 200, "item"),
    ("GET", "/api/special", 200, "special"),
    ("GET", "/api/%73pecial", 200, "special"),
    ("GET", "/api/%73%70ecial", 200, "special"),
    ("GET", "/api/%2573pecial", 200, "item"),
    ("GET", "/api/special%2F", 200, "item"),
    ("GET", "/api/Special", 200, "item"),
    ("GET", "/api/special?x=/api/1", 200, "special"),
    ("GET", "/api/..", 200, "item"),
    ("HEAD", "/files/a", 200, "files"),
    ("GET", "/files/a/b/c", 200, "files"),
    ("GET", "/files/a//b", 200, "files"),
    ("GET", "/files/private/x", 200, "private"),
    ("GET", "/files/%70rivate/x", 200, "private"),
    ("POST", "/files/a", 200, ""),
    ("GET", "/free", 200, ""),
    ("POST", "/v1/chat", 200, "chat"),
    ("GET", "/v1/chat", 405, ""),
    ("POST", "/v1/ch%61t", 400, ""),
    ("GET", "/v1/users/7", 200, "user"),
    ("GET", "/merged/a/b", 200, "merged"),
    ("GET", "/svc/chat", 200, "svc_chat"),
    ("GET", "/svc/items/1", 200, "svc_item"),
    ("GET", "/svc/items/special", 200, "svc_special"),
    ("GET", "/lenient/secret", 200, "secret"),
    ("GET", "/lenient/open", 200, ""),
    ("GET", "/lenient//secret", 400, ""),
    ("GET", "//lenient/secret", 400, ""),
    ("GET", "/lenient/./secret", 400, ""),
    ("GET", "/lenient/x/../secret", 400, ""),
    ("GET", "/lenient/%2e/secret", 400, ""),
    ("GET", "/lenient%2Fsecret", 400, ""),
    ("GET", "/lenient%2fsecret", 400, ""),
    ("GET", "/lenient/s%65cret", 400, ""),
    ("GET", "/elsewhere/../lenient/secret", 400, ""),
];

async fn every_spelling_is_charged_or_refused(store: Store) {
    for placed in [Placed::Outside, Placed::Inside, Placed::Both] {
        let application = Application::new(store, placed).await;
        for (method, target, status, quota) in CASES {
            let seen = application.ask(method, target).await.expect("a target");
            let told = (seen.status, seen.charged.as_str());
            assert_eq!(told, (status, quota), "{method} {target} {placed:?}");
        }
        application.assert_books_are_right().await;
    }
}

/// `nest_service` swallows a slash that the path of the request keeps, so an inner router matches
/// a template that this path is not one of.
async fn a_slash_that_a_nested_service_swallows_hides_no_rule(store: Store) {
    for (placed, expected) in [
        (Placed::Outside, (400, "")),
        (Placed::Both, (400, "")),
        (Placed::Inside, (200, "svc_special")),
    ] {
        let application = Application::new(store, placed).await;
        // Both at once: a second slash, and one that is part of a segment.
        let hidden = application.ask("GET", "/svc//items/1%2f").await;
        let hidden = hidden.expect("a target");
        assert!(hidden.status == 400 || hidden.charged == "svc_item");
        let asked = application.ask("GET", "/svc//items/special").await;
        let seen = asked.expect("a target");
        assert_eq!((seen.status, seen.charged.as_str()), expected, "{placed:?}");
        application.assert_books_are_right().await;
    }
}

/// Behind `nest_service` the outer layer sees no template; an inner one does.
async fn a_spelling_behind_a_nested_service_is_charged_or_refused(store: Store) {
    for (placed, expected) in [
        (Placed::Outside, (400, "")),
        (Placed::Both, (400, "")),
        (Placed::Inside, (200, "svc_special")),
    ] {
        let application = Application::new(store, placed).await;
        let seen = application
            .ask("GET", "/svc/items/%73pecial")
            .await
            .expect("a target");
        assert_eq!((seen.status, seen.charged.as_str()), expected, "{placed:?}");
        application.assert_books_are_right().await;
    }
}

on_both_stores!(
    every_spelling_is_charged_or_refused,
    a_slash_that_a_nested_service_swallows_hides_no_rule,
    a_spelling_behind_a_nested_service_is_charged_or_refused,
);

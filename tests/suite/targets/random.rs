//! Random targets and methods against the application and its books.

use proptest::{collection::vec, prelude::*, sample::select};
use quota_tests::layers::Store;

use super::applications::{Application, Placed};

const BASES: [&str; 18] = [
    "/api/1",
    "/api/special",
    "/files/a/b",
    "/files/private/x",
    "/free",
    "/v1/chat",
    "/v1/users/7",
    "/v1/nothing",
    "/merged/a/b",
    "/svc/chat",
    "/svc/items/1",
    "/svc/items/special",
    "/svc/nothing",
    "/lenient/secret",
    "/lenient/open",
    "/nothing",
    "/",
    "/svc/",
];

const SEGMENTS: [&str; 24] = [
    "api", "special", "files", "private", "v1", "chat", "users", "svc", "items", "lenient",
    "secret", "merged", "a", "", ".", "..", "%2e%2e", "%2F", "%2f", "%", "%zz", "%00", "%C3%A9",
    "%25",
];

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "BREW"];

/// One way to write the same path differently.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Writes a byte as an escape.
    Escape(usize),
    /// Puts something in front of a slash.
    Insert(usize, &'static str),
    /// Adds something at the end.
    Append(&'static str),
}

impl Change {
    fn apply(self, path: &str) -> String {
        match self {
            Self::Escape(at) => {
                let at = at % path.len();
                let byte = path.as_bytes()[at];
                // The first slash makes it a path, and an escape stays one.
                if at == 0 || !byte.is_ascii_graphic() || byte == b'%' {
                    return path.to_owned();
                }
                format!("{}%{byte:02x}{}", &path[..at], &path[at + 1..])
            }
            Self::Insert(nth, text) => {
                let slashes: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
                let at = slashes[nth % slashes.len()];
                format!("{}{text}{}", &path[..at], &path[at..])
            }
            Self::Append(text) => format!("{path}{text}"),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => any::<usize>().prop_map(Change::Escape),
        2 => (any::<usize>(), select(vec!["/", "/.", "/x/..", "/%2e", "/%2E%2e", "/..", "/x%2f.."]))
            .prop_map(|(at, text)| Change::Insert(at, text)),
        1 => select(vec!["/", "?q=1", "/.", "//", "%2f", "/..", "#x"]).prop_map(Change::Append),
    ]
}

fn target() -> impl Strategy<Value = String> {
    let spelled = (select(BASES.to_vec()), vec(change(), 0..4)).prop_map(|(base, changes)| {
        changes
            .into_iter()
            .fold(base.to_owned(), |path, change| change.apply(&path))
    });
    let assembled = vec(select(SEGMENTS.to_vec()), 0..5)
        .prop_map(|segments| format!("/{}", segments.join("/")));
    prop_oneof![2 => spelled, 1 => assembled]
}

fn check(store: Store, placed: Placed, requests: &[(&'static str, String)]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let application = Application::new(store, placed).await;
        for (method, target) in requests {
            // Not everything that is written here is a URI.
            application.ask(method, target).await;
        }
        application.assert_books_are_right().await;
    });
}

fn placed() -> impl Strategy<Value = Placed> {
    select(vec![Placed::Outside, Placed::Inside, Placed::Both])
}

fn requests() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    vec((select(METHODS.to_vec()), target()), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_handler_that_ran_was_charged_in_memory(placed in placed(), requests in requests()) {
        check(Store::Memory, placed, &requests);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_handler_that_ran_was_charged_on_redis(placed in placed(), requests in requests()) {
        check(Store::Redis, placed, &requests);
    }
}

//! An application of every kind of route, which keeps its own books of what it ran.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{OriginalUri, Path},
    routing,
};
use http::{Method, Request, Response, StatusCode};
use quota_layer::QuotaIdentity;
use quota_tests::{
    clients::read_whole,
    layers::{Layered, Store, layered},
    requests::header,
};
use tower::{ServiceExt, service_fn};

/// Every quota belongs to one handler.
const QUOTAS: [&str; 11] = [
    "item",
    "special",
    "files",
    "private",
    "chat",
    "user",
    "merged",
    "svc_chat",
    "svc_item",
    "svc_special",
    "secret",
];

const ROUTES: [(&str, &str); 11] = [
    ("* /api/{any}", "item"),
    ("* /api/special", "special"),
    ("GET /files/{*rest}", "files"),
    ("* /files/private/{*rest}", "private"),
    ("POST /v1/chat", "chat"),
    ("GET /v1/users/{id}", "user"),
    ("* /merged/{x}/{y}", "merged"),
    ("* /svc/chat", "svc_chat"),
    ("* /svc/items/{id}", "svc_item"),
    ("* /svc/items/special", "svc_special"),
    ("* /lenient/secret", "secret"),
];

fn config() -> String {
    let lines = |line: fn(&str) -> String| QUOTAS.map(line).concat();
    let quotas = lines(|quota| format!("[quotas.{quota}]\n"));
    let limits = lines(|quota| format!("limits.{quota} = \"1M/lifetime\"\n"));
    let routes = ROUTES.map(|(route, quota)| {
        format!("[[routes]]\nmatch = \"{route}\"\ncharge = {{ {quota} = 1 }}\n")
    });
    let routes = routes.concat();
    format!(
        "unmatched = \"pass\"\n[identity]\nfrom = \"application\"\n[store]\ntimeout = \"5s\"\n\
         {quotas}[plans.free]\ndefault = true\n{limits}{routes}"
    )
}

/// Where the layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Outside,
    Inside,
    Both,
}

/// By quota, how often a handler ran that must be charged to it.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Books {
    /// A handler that is charged to `quota`, or to none, ran.
    fn ran(&self, quota: Option<&'static str>) {
        if let Some(quota) = quota {
            *self.0.lock().unwrap().entry(quota).or_default() += 1;
        }
    }
}

pub(super) struct Application {
    app: Router,
    layered: Layered,
    books: Books,
}

/// What came of a request.
pub(super) struct Seen {
    pub(super) status: u16,
    /// The quota that a success was charged to, or nothing.
    pub(super) charged: String,
}

impl Application {
    pub(super) async fn new(store: Store, placed: Placed) -> Self {
        let layered = layered(store, &config()).await;
        let books = Books::default();
        let quota = &layered.quota;
        let inside = |router: Router| match placed {
            Placed::Outside => router,
            Placed::Inside | Placed::Both => router.layer(quota.clone()),
        };
        let app = inside(direct(&books))
            .nest("/v1", inside(nested(&books)))
            .nest_service("/svc", inside(service(&books)))
            .merge(inside(merged(&books)));
        let app = match placed {
            Placed::Inside => {
                app.fallback_service(inside(Router::new().fallback_service(lenient(&books))))
            }
            Placed::Outside | Placed::Both => app
                .fallback_service(lenient(&books))
                .layer(layered.quota.clone()),
        };
        Self {
            app,
            layered,
            books,
        }
    }

    /// Sends a request, or nothing where this is no target.
    pub(super) async fn ask(&self, method: &str, target: &str) -> Option<Seen> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .extension(QuotaIdentity::new("alice"))
            .body(Body::empty());
        let Ok(response) = self.app.clone().oneshot(request.ok()?).await;
        let response = read_whole(response).await;
        let charged = if response.status().is_success() {
            header(&response, "x-quota-type").to_owned()
        } else {
            String::new()
        };
        Some(Seen {
            status: response.status().as_u16(),
            charged,
        })
    }

    /// What was charged is what ran, quota by quota.
    pub(super) async fn assert_books_are_right(&self) {
        let books = self.books.0.lock().unwrap().clone();
        for quota in QUOTAS {
            let value = self.layered.user("alice", quota, "lifetime").await;
            let ran = books.get(quota).copied().unwrap_or(0);
            assert_eq!(
                (value.used.get(), value.reserved.get()),
                (ran, 0),
                "{quota}"
            );
        }
    }
}

fn direct(books: &Books) -> Router {
    let (items, files) = (books.clone(), books.clone());
    let item = async move |Path(id): Path<String>| {
        items.ran(Some(if id == "special" { "special" } else { "item" }));
    };
    let file = async move |method: Method, OriginalUri(uri): OriginalUri| {
        // As a server of files would: by the decoded first segment.
        let rest = uri.path().strip_prefix("/files/").unwrap_or_default();
        let first = decode(rest.split('/').next().unwrap_or_default());
        let has_more = rest
            .split_once('/')
            .is_some_and(|(_, more)| !more.is_empty());
        let is_read = matches!(method, Method::GET | Method::HEAD);
        match (first == "private" && has_more, is_read) {
            (true, _) => files.ran(Some("private")),
            (false, true) => files.ran(Some("files")),
            (false, false) => files.ran(None),
        }
    };
    Router::new()
        .route("/api/{id}", routing::any(item))
        .route("/files/{*path}", routing::any(file))
        .route("/free", routing::any(async || ()))
}

fn nested(books: &Books) -> Router {
    let (chats, users) = (books.clone(), books.clone());
    Router::new()
        .route(
            "/chat",
            routing::post(async move || chats.ran(Some("chat"))),
        )
        .route(
            "/users/{id}",
            routing::get(async move || users.ran(Some("user"))),
        )
        .fallback(async || ())
}

fn service(books: &Books) -> Router {
    let (chats, items) = (books.clone(), books.clone());
    let item = async move |Path(id): Path<String>| {
        items.ran(Some(if id == "special" {
            "svc_special"
        } else {
            "svc_item"
        }));
    };
    Router::new()
        .route(
            "/chat",
            routing::any(async move || chats.ran(Some("svc_chat"))),
        )
        .route("/items/{id}", routing::any(item))
}

fn merged(books: &Books) -> Router {
    let books = books.clone();
    Router::new().route(
        "/merged/{a}/{b}",
        routing::any(async move || books.ran(Some("merged"))),
    )
}

type Answered = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// A service that understands every spelling of a path, as file servers and old proxies do.
fn lenient(
    books: &Books,
) -> impl tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answered>
+ Clone
+ Send
+ Sync
+ 'static {
    let books = books.clone();
    service_fn(move |request: Request<Body>| {
        let is_secret = understood(request.uri().path()) == "/lenient/secret";
        books.ran(is_secret.then_some("secret"));
        Box::pin(async {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::OK;
            Ok(response)
        }) as Answered
    })
}

/// Escapes resolved, empty and dot segments removed.
fn understood(path: &str) -> String {
    let decoded = decode(path);
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let last = decoded.rsplit('/').next().unwrap_or_default();
    let end = if matches!(last, "" | "." | "..") {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", kept.join("/"))
}

/// Every escape resolved once.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = after.get(..2).filter(|_| *first == b'%');
        let byte = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

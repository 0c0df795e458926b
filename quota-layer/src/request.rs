//! What the layer reads from a request before any rule is known, and leaves in it.

use std::sync::Arc;

use http::{Extensions, HeaderMap, Request, Uri};

use crate::{handle::QuotaHandle, route::Target, shared::Shared};

fn name_of(shared: &Arc<Shared>) -> usize {
    Arc::as_ptr(shared).addr()
}

/// Whether the same layer, further out, charges this request.
pub(crate) fn is_charged_by<B>(shared: &Arc<Shared>, request: &Request<B>) -> bool {
    let handle = request.extensions().get::<QuotaHandle>();
    handle.is_some_and(|handle| handle.is_of(name_of(shared)))
}

/// Marks a request as charged, and lets its handler find the handle.
pub(crate) fn mark<B>(shared: &Arc<Shared>, request: &mut Request<B>, handle: QuotaHandle) {
    let extensions = request.extensions_mut();
    let outer = extensions.get::<QuotaHandle>();
    let handle = handle.of(outer, name_of(shared));
    extensions.insert(handle);
}

/// What the rules are compared with.
pub(crate) fn target<B>(request: &Request<B>) -> Target<'_> {
    let extensions = request.extensions();
    Target {
        method: request.method(),
        template: template(extensions),
        path: request.uri().path(),
        extensions,
    }
}

/// What the router matched.
#[cfg(feature = "axum")]
fn template(extensions: &Extensions) -> Option<&str> {
    let matched = extensions.get::<axum::extract::MatchedPath>();
    matched.map(axum::extract::MatchedPath::as_str)
}

/// What the router matched.
#[cfg(not(feature = "axum"))]
fn template(_: &Extensions) -> Option<&str> {
    None
}

/// The path as the client sent it: a nest takes its prefix off the URI.
#[cfg(feature = "axum")]
pub(crate) fn original_path<'a>(path: &'a str, extensions: &'a Extensions) -> &'a str {
    let original = extensions.get::<axum::extract::OriginalUri>();
    original.map_or(path, |uri| uri.path())
}

/// The path as the client sent it.
#[cfg(not(feature = "axum"))]
pub(crate) fn original_path<'a>(path: &'a str, _: &'a Extensions) -> &'a str {
    path
}

/// The host that the client asked: of the URI with HTTP/2, of the header with HTTP/1.
pub(crate) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let header = || headers.get(http::header::HOST)?.to_str().ok();
    authority.or_else(header)
}

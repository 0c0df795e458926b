//! What the layer reads from a request before any rule is known, and leaves in it.

use std::sync::Arc;

use http::Request;
use smallvec::SmallVec;

use crate::{handle::QuotaHandle, route::Target, shared::Shared};

/// Which layers charge a request already, by the address of what their clones share.
#[derive(Clone, Debug, Default)]
struct ChargedBy(SmallVec<[usize; 2]>);

fn name_of(shared: &Arc<Shared>) -> usize {
    Arc::as_ptr(shared).addr()
}

/// Whether the same layer, further out, charges this request.
pub(crate) fn is_charged_by<B>(shared: &Arc<Shared>, request: &Request<B>) -> bool {
    request
        .extensions()
        .get::<ChargedBy>()
        .is_some_and(|charged| charged.0.contains(&name_of(shared)))
}

/// Marks a request as charged, and lets its handler find the handle.
pub(crate) fn mark<B>(shared: &Arc<Shared>, request: &mut Request<B>, handle: QuotaHandle) {
    let extensions = request.extensions_mut();
    extensions.insert(handle);
    let mut charged = extensions.remove::<ChargedBy>().unwrap_or_default();
    charged.0.push(name_of(shared));
    extensions.insert(charged);
}

/// What the rules are compared with.
#[cfg(feature = "axum")]
pub(crate) fn target<B>(request: &Request<B>) -> Target<'_> {
    use axum::extract::{MatchedPath, OriginalUri};

    let extensions = request.extensions();
    // A nest takes its prefix off the URI; the template and the original one keep it.
    let original = extensions.get::<OriginalUri>();
    Target {
        method: request.method(),
        template: extensions.get::<MatchedPath>().map(MatchedPath::as_str),
        path: original.map_or_else(|| request.uri().path(), |uri| uri.path()),
    }
}

/// What the rules are compared with.
#[cfg(not(feature = "axum"))]
pub(crate) fn target<B>(request: &Request<B>) -> Target<'_> {
    Target {
        method: request.method(),
        template: None,
        path: request.uri().path(),
    }
}

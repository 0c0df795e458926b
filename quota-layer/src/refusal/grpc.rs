//! Refusals as gRPC clients understand them: HTTP 200 and a status in the head, without a body.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Refusal, text};

/// What `grpc-message` escapes, from the gRPC protocol over HTTP/2, section "Responses".
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// `Trailers-Only`, with the code that comes closest.
pub(super) fn response(refusal: &Refusal) -> Response<Bytes> {
    let code = match refusal {
        Refusal::Denied(_) => "8",
        Refusal::Unauthenticated(_) => "16",
        Refusal::Unavailable { .. } => "14",
        Refusal::TenantRequired | Refusal::UnknownPlan | Refusal::Unmatched => "7",
        Refusal::Misspelled => "3",
    };
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert("grpc-status", HeaderValue::from_static(code));
    let message = utf8_percent_encode(&text::summary(refusal), MESSAGE).to_string();
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert("grpc-message", message);
    }
    response
}

//! Responses from what was read of a connection.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

/// Whether a body follows the head.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum HasBody {
    ByItsHead,
    Never,
}

/// The first response in `read` and how many bytes it takes, or `None` if it is not whole yet.
pub(super) fn response(
    read: &[u8],
    has_body: HasBody,
    has_ended: bool,
) -> Result<Option<(Response<Bytes>, usize)>, String> {
    let Some(head_length) = find(read, b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let mut response = head(&read[..head_length])?;
    let rest = &read[head_length..];
    let is_bodyless = has_body == HasBody::Never
        || response.status().is_informational()
        || matches!(response.status().as_u16(), 204 | 304);
    let body = if is_bodyless {
        Some((Bytes::new(), 0))
    } else {
        body(rest, response.headers(), has_ended)?
    };
    Ok(body.map(|(body, body_length)| {
        *response.body_mut() = body;
        (response, head_length + body_length)
    }))
}

fn head(text: &[u8]) -> Result<Response<Bytes>, String> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse::<StatusCode>().ok())
        .ok_or_else(|| format!("not a response: {text:?}"))?;
    let mut response = Response::builder().status(status);
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| format!("not a header: {line:?}"))?;
        response = response.header(name, value.trim());
    }
    response
        .body(Bytes::new())
        .map_err(|error| error.to_string())
}

fn body(
    rest: &[u8],
    headers: &HeaderMap,
    has_ended: bool,
) -> Result<Option<(Bytes, usize)>, String> {
    if headers.contains_key("transfer-encoding") {
        return chunks(rest);
    }
    let Some(length) = headers.get("content-length") else {
        return Ok(has_ended.then(|| (Bytes::copy_from_slice(rest), rest.len())));
    };
    let length: usize = length
        .to_str()
        .ok()
        .and_then(|length| length.parse().ok())
        .ok_or_else(|| format!("not a length: {length:?}"))?;
    Ok(rest
        .get(..length)
        .map(|body| (Bytes::copy_from_slice(body), length)))
}

/// A chunked body; trailers are read over.
fn chunks(rest: &[u8]) -> Result<Option<(Bytes, usize)>, String> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(line) = find(&rest[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = String::from_utf8_lossy(&rest[at..at + line]);
        let size = usize::from_str_radix(size.trim(), 16)
            .map_err(|error| format!("chunk size {size:?}: {error}"))?;
        // The empty chunk ends the body, after the trailers and an empty line.
        if size == 0 {
            let end = find(&rest[at..], b"\r\n\r\n");
            return Ok(end.map(|end| (body.into(), at + end + 4)));
        }
        let start = at + line + 2;
        let Some(chunk) = rest.get(start..start + size) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        at = start + size + 2;
        if rest.len() < at {
            return Ok(None);
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

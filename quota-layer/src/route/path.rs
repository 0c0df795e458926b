//! Spellings of a path.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The parts of a path between slashes, each percent-decoded once.
pub(super) fn decoded_segments(path: &str) -> Vec<Cow<'_, str>> {
    path.strip_prefix('/')
        .unwrap_or(path)
        .split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy())
        .collect()
}

/// The path as servers commonly understand it, where that differs from how it was sent.
///
/// Escapes of unreserved characters and of slashes are resolved, empty and dot segments removed
/// (RFC 3986, sections 6.2.2.2, 6.2.2.3 and 5.2.4).
pub(super) fn normalized(path: &str) -> Option<String> {
    if !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return None;
    }
    let unescaped = unescape_unreserved(path);
    let mut kept: Vec<&str> = Vec::new();
    for segment in unescaped.split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if normal.is_empty() || unescaped.ends_with('/') {
        normal.push('/');
    }
    (normal != path).then_some(normal)
}

/// Resolves escapes of letters, digits, `-._~`, slashes and backslashes, once.
fn unescape_unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let escape = rest.get(at + 1..at + 3);
        let byte = escape
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~/\\".contains(&byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            _ => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Option<&str>) {
        assert_eq!(normalized(path).as_deref(), expected, "{path}");
    }

    #[test]
    fn spellings_have_one_normal_form() {
        check("/api/chat", None);
        check("/api/chat/", None);
        check("/api//chat", Some("/api/chat"));
        check("//api/chat", Some("/api/chat"));
        check("/api/./chat", Some("/api/chat"));
        check("/x/../api/chat", Some("/api/chat"));
        check("/../api/chat", Some("/api/chat"));
        check("/api/%63hat", Some("/api/chat"));
        check("/api%2fchat", Some("/api/chat"));
        check("/api/%2e%2E/chat", Some("/chat"));
        check("/api/caf%C3%A9", None);
        check("/api/100%", None);
        check("/.well-known/x", None);
        check("//", Some("/"));
        check("/a%2", None);
    }
}

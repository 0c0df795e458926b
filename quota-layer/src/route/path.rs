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

/// What an escaped slash is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EscapedSlash {
    /// The end of a segment.
    Separates,
    /// A part of its segment, as for routers that decode segment by segment.
    Stays,
}

/// The path as servers commonly understand it, where that differs from how it was sent.
///
/// Escapes of unreserved characters, and of slashes where they separate, are resolved, empty and
/// dot segments removed (RFC 3986, sections 6.2.2.2, 6.2.2.3 and 5.2.4).
pub(super) fn normalized(path: &str, escaped_slash: EscapedSlash) -> Option<String> {
    if !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return None;
    }
    let also: &[u8] = match escaped_slash {
        EscapedSlash::Separates => b"/\\",
        EscapedSlash::Stays => b"",
    };
    let unescaped = unescape_unreserved(path, also);
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

/// Resolves escapes of letters, digits, `-._~` and of `also`, once.
fn unescape_unreserved(path: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let escape = rest.get(at + 1..at + 3);
        let byte = escape
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte)
                if byte.is_ascii_alphanumeric()
                    || b"-._~".contains(&byte)
                    || also.contains(&byte) =>
            {
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
        let normal = normalized(path, EscapedSlash::Separates);
        assert_eq!(normal.as_deref(), expected, "{path}");
    }

    #[test]
    fn an_escaped_slash_may_stay_in_its_segment() {
        let normal = |path| normalized(path, EscapedSlash::Stays);
        assert_eq!(normal("/api//a%2f").as_deref(), Some("/api/a%2f"));
        assert_eq!(normal("/api/a%2F"), None);
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

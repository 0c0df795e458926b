//! The text of the file with every secret in it replaced by stars.

use std::ops::Range;

use super::{
    findings::nearest,
    node::{Node, Place, Table, Value},
};

/// Text that is safe to show.
#[derive(Clone, Debug)]
pub(super) struct Masked {
    text: String,
    /// What was replaced, in bytes of the original, in order and without overlaps.
    masks: Vec<Mask>,
    original_length: usize,
}

#[derive(Clone, Debug)]
struct Mask {
    range: Range<usize>,
    /// How many bytes stand there now.
    length: usize,
}

/// Sections whose keys are names that people choose, and never secrets.
const WITHOUT_SECRETS: [&str; 6] = ["quotas", "charges", "plans", "routes", "tags", "prices"];

impl Masked {
    /// Masks by the document, or by the look of the text where it cannot be parsed.
    pub(super) fn new(text: &str, document: Option<&Table>) -> Self {
        let mut ranges = user_info(text);
        ranges.extend(passwords_in_queries(text));
        match document {
            Some(document) => {
                secrets_in(document, "", &mut ranges);
                for entry in &document.entries {
                    user_info_in(&entry.node, text, &mut ranges);
                }
            }
            None => ranges.extend(secrets_by_look(text)),
        }
        Self::replace(text, ranges)
    }

    fn replace(original: &str, mut ranges: Vec<Range<usize>>) -> Self {
        ranges.sort_by_key(|range| range.start);
        let mut text = String::with_capacity(original.len());
        let mut masks: Vec<Mask> = Vec::new();
        let mut done = 0;
        for range in ranges {
            let start = range.start.max(done);
            if start >= range.end {
                continue;
            }
            text.push_str(&original[done..start]);
            // A star for each character: columns stay what they are.
            let hidden: String = original[start..range.end]
                .chars()
                .map(|c| if c == '\n' { '\n' } else { '*' })
                .collect();
            text.push_str(&hidden);
            masks.push(Mask {
                range: start..range.end,
                length: hidden.len(),
            });
            done = range.end;
        }
        text.push_str(&original[done..]);
        Self {
            text,
            masks,
            original_length: original.len(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Where a span of the original stands now; at most to the end of its first line.
    pub(super) fn span(&self, original: &Range<usize>) -> Range<usize> {
        let start = self.offset(original.start);
        let end = self.offset(original.end).max(start);
        let line_end = self.text[start..]
            .find(['\n', '\r'])
            .map_or(self.text.len(), |length| start + length);
        start..end.min(line_end).max(start)
    }

    fn offset(&self, original: usize) -> usize {
        let original = original.min(self.original_length);
        let mut shift = 0;
        for mask in &self.masks {
            if original <= mask.range.start {
                break;
            }
            if original < mask.range.end {
                return mask.range.start - shift;
            }
            shift += mask.range.len() - mask.length;
        }
        let mut offset = original - shift;
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// Whether a key is one of the secret ones, or probably meant to be.
fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "passw", "pwd", "credential", "private"]
        .iter()
        .any(|part| key.contains(part))
        || matches!(key.as_str(), "token" | "tokens")
        || key.ends_with("_tokens")
        || nearest(&key, ["secret", "password", "public_key", "tokens"]).is_some()
}

fn is_reference(value: &str) -> bool {
    value.starts_with("env:") || value.starts_with("file:")
}

fn secrets_in(table: &Table, section: &str, ranges: &mut Vec<Range<usize>>) {
    for entry in &table.entries {
        if section.is_empty() && WITHOUT_SECRETS.contains(&entry.key.as_str()) {
            continue;
        }
        if names_a_secret(&entry.key) {
            mask_all(&entry.node, ranges);
        } else if let Value::Table(inner) = &entry.node.value {
            secrets_in(inner, &entry.key, ranges);
        }
    }
}

fn mask_all(node: &Node, ranges: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::Table(table) => {
            for entry in &table.entries {
                mask_all(&entry.node, ranges);
            }
        }
        Value::List(items) => {
            for item in items {
                mask_all(item, ranges);
            }
        }
        Value::String(text) if is_reference(text) => {}
        Value::String(_) => {
            if let Place::File(span) = &node.place {
                ranges.push(span.start + 1..span.end.saturating_sub(1).max(span.start + 1));
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            if let Place::File(span) = &node.place {
                ranges.push(span.clone());
            }
        }
    }
}

/// The part before `@` in every value that looks like a URL, however odd the password is.
fn user_info_in(node: &Node, text: &str, ranges: &mut Vec<Range<usize>>) {
    match (&node.value, &node.place) {
        (Value::Table(table), _) => {
            for entry in &table.entries {
                user_info_in(&entry.node, text, ranges);
            }
        }
        (Value::List(items), _) => {
            for item in items {
                user_info_in(item, text, ranges);
            }
        }
        (Value::String(_), Place::File(span)) => {
            let written = &text[span.clone()];
            if let (Some(separator), Some(at)) = (written.find("://"), written.rfind('@'))
                && separator + 3 < at
            {
                ranges.push(span.start + separator + 3..span.start + at);
            }
        }
        _ => {}
    }
}

/// The passwords in the queries of everything that looks like a URL.
fn passwords_in_queries(text: &str) -> Vec<Range<usize>> {
    const KEY: &str = "password=";
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
    text.match_indices(KEY)
        .filter(|(at, _)| {
            let before = &text[..*at];
            let begin = before.rfind(is_end).map_or(0, |end| end + 1);
            before[begin..].contains("://") && before.ends_with(['?', '&'])
        })
        .map(|(at, _)| {
            let start = at + KEY.len();
            let end = text[start..].find(|c: char| is_end(c) || c == '&');
            start..end.map_or(text.len(), |length| start + length)
        })
        .collect()
}

/// The part before `@` in everything that looks like a URL.
fn user_info(text: &str) -> Vec<Range<usize>> {
    text.match_indices("://")
        .filter_map(|(at, separator)| {
            let start = at + separator.len();
            let rest = &text[start..];
            let end = rest
                .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\''))
                .unwrap_or(rest.len());
            rest[..end].rfind('@').map(|at| start..start + at)
        })
        .collect()
}

/// Values after keys that name a secret, found without a parser.
fn secrets_by_look(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut section = "";
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        if let Some(header) = trimmed.strip_prefix('[') {
            let header = header.trim_start_matches('[').trim_start();
            let end = header.find(['.', ']', '\n']).unwrap_or(header.len());
            section = header[..end].trim();
        }
        if !WITHOUT_SECRETS.contains(&section) {
            let dotted = WITHOUT_SECRETS
                .iter()
                .any(|name| section.is_empty() && trimmed.starts_with(name));
            for (equals, _) in line.match_indices('=') {
                if !dotted && names_a_secret(last_word(&line[..equals])) {
                    let value = line_start + equals + 1;
                    ranges.extend(value_after(text, value));
                }
            }
            // Not TOML, but a secret all the same: `password: "..."`.
            if !dotted && !line.contains('=') {
                let start = line.len() - trimmed.len();
                let word = trimmed
                    .find([' ', '\t', ':', '\n'])
                    .map_or(line.len(), |end| start + end);
                if names_a_secret(last_word(&line[..word])) {
                    ranges.push(line_start + word..line_start + line.trim_end().len());
                }
            }
        }
        line_start += line.len();
    }
    ranges
}

fn last_word(text: &str) -> &str {
    let text = text.trim_end().trim_end_matches(['"', '\'']);
    let start = text
        .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        .map_or(0, |at| {
            at + text[at..].chars().next().map_or(1, char::len_utf8)
        });
    &text[start..]
}

/// The value that begins at `start`, as far as it can be told, if it is not a reference.
fn value_after(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = &text[start..];
    let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let (start, rest) = (start + blank, &rest[blank..]);
    for (open, close) in [("\"\"\"", "\"\"\""), ("'''", "'''"), ("[", "]"), ("{", "}")] {
        if let Some(inner) = rest.strip_prefix(open) {
            let references = inner.trim_start().trim_start_matches(['"', '\'']);
            if open == "[" && is_reference(references) {
                return None;
            }
            let length = inner.find(close).unwrap_or(inner.len());
            return Some(start + open.len()..start + open.len() + length);
        }
    }
    let line = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];
    let Some(quote) = line.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return Some(start..start + line.len());
    };
    let inner = &line[1..];
    let close = inner
        .char_indices()
        .find(|(at, c)| *c == quote && !(quote == '"' && inner[..*at].ends_with('\\')))
        .map(|(at, _)| at);
    match close {
        Some(close) if is_reference(&inner[..close]) => None,
        Some(close) => Some(start + 1..start + 1 + close),
        None => Some(start + 1..start + line.len()),
    }
}

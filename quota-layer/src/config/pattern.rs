//! What a rule matches: a method and a path.

use http::Method;
use matchit::InsertError;

use super::{
    findings::{Problem, suggestion},
    settings::{Methods, RulePattern},
};

/// The methods that axum's router knows.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// Reads `METHOD /path`, `METHOD|METHOD /path` or `* /path`.
pub(super) fn parse(text: &str) -> Result<RulePattern, Problem> {
    let (methods, path) = match text.split_once(' ') {
        Some((methods, path)) => (methods, path.trim_start()),
        None if text.starts_with('/') => {
            return Err(Problem::new(
                format!("`{text}` does not say the method"),
                format!("write \"GET {text}\", or \"* {text}\" for every method"),
            ));
        }
        None => {
            return Err(Problem::new(
                format!("`{text}` is not a method and a path"),
                "write it like \"POST /api/v1/chat\"",
            ));
        }
    };
    Ok(RulePattern {
        methods: parse_methods(methods)?,
        path: parse_path(path)?,
    })
}

fn parse_methods(text: &str) -> Result<Methods, Problem> {
    if text == "*" {
        return Ok(Methods::Any);
    }
    let mut methods = Vec::new();
    for word in text.split('|') {
        let Some(method) = METHODS.iter().find(|method| method.as_str() == word) else {
            return Err(not_a_method(word));
        };
        if methods.contains(method) {
            return Err(Problem::new(
                format!("`{word}` is named twice"),
                "leave one out",
            ));
        }
        methods.push(method.clone());
    }
    Ok(Methods::Some(methods))
}

fn not_a_method(word: &str) -> Problem {
    let upper = word.to_ascii_uppercase();
    if upper == "ANY" || upper == "ALL" {
        return Problem::new(
            format!("`{word}` is not a method"),
            "write * for every method",
        );
    }
    if METHODS.iter().any(|method| method.as_str() == upper) {
        return Problem::new(
            format!("`{word}` is not a method"),
            format!("methods are upper-case: write {upper}"),
        );
    }
    Problem::new(
        format!("`{word}` is not a method"),
        suggestion(
            &upper,
            METHODS.iter().map(Method::as_str),
            "write * for every method, or one of",
        ),
    )
}

fn parse_path(path: &str) -> Result<String, Problem> {
    if !path.starts_with('/') {
        return Err(Problem::new(
            format!("the path `{path}` does not begin with a slash"),
            format!("write /{path}"),
        ));
    }
    if let Some(c) = path.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(Problem::new(
            format!("the path has {c:?} in it"),
            "write one path for each rule, or a list: match = [\"GET /a\", \"GET /b\"]",
        ));
    }
    if path.contains(['?', '#']) {
        return Err(Problem::new(
            format!("`{path}` is more than a path"),
            "a rule looks at the path only: leave out what begins with ? or #",
        ));
    }
    if let Some(segment) = path
        .split('/')
        .find(|segment| segment.starts_with([':', '*']))
    {
        let name = &segment[1..];
        let (name, star) = match (segment.starts_with('*'), name.is_empty()) {
            (true, true) => ("rest", "*"),
            (true, false) => (name, "*"),
            (false, true) => ("id", ""),
            (false, false) => (name, ""),
        };
        return Err(Problem::new(
            format!("`{segment}` is the old way to write a parameter"),
            format!("write {{{star}{name}}}"),
        ));
    }
    matchit::Router::new()
        .insert(path, ())
        .map_err(|error| refused(path, &error))?;
    Ok(path.to_owned())
}

fn refused(path: &str, error: &InsertError) -> Problem {
    let hint = match error {
        InsertError::InvalidCatchAll => "a parameter like {*rest} stands at the end of the path",
        InsertError::InvalidParamSegment => {
            "a segment has one parameter, and nothing after it: /files/{name}"
        }
        _ => "a parameter has a name between braces, such as {id}; a brace itself is written twice",
    };
    Problem::new(format!("`{path}` is not a path"), hint)
}

/// The path with the names of its parameters left out.
pub(super) fn shape(path: &str) -> String {
    let mut shape = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        shape.push_str(before);
        if brace.starts_with("{{") || brace.starts_with("}}") {
            shape.push_str(&brace[..2]);
            rest = &brace[2..];
            continue;
        }
        shape.push_str(if brace.starts_with("{*") { "{*}" } else { "{}" });
        rest = brace.find('}').map_or("", |end| &brace[end + 1..]);
    }
    shape.push_str(rest);
    shape
}

/// Whether a request can match both, neither being more specific.
pub(super) fn collide(one: &RulePattern, other: &RulePattern) -> bool {
    let methods = match (&one.methods, &other.methods) {
        (Methods::Any, Methods::Any) => true,
        (Methods::Some(one), Methods::Some(other)) => {
            one.iter().any(|method| other.contains(method))
        }
        _ => false,
    };
    methods && shape(&one.path) == shape(&other.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_forgets_names_and_keeps_braces() {
        for (path, expected) in [
            ("/a/{id}/b", "/a/{}/b"),
            ("/a/{*rest}", "/a/{*}"),
            ("/a/{{id}}", "/a/{{id}}"),
            ("/a/v{id}", "/a/v{}"),
            ("/", "/"),
        ] {
            assert_eq!(shape(path), expected);
        }
    }
}

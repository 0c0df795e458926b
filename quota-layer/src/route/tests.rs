use super::*;

fn table(rules: &[&str]) -> RouteTable {
    let parsed: Vec<(Methods, &str, usize)> = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| {
            let (methods, path) = rule.split_once(' ').unwrap();
            let methods = if methods == "*" {
                Methods::Any
            } else {
                Methods::Some(methods.split('|').map(|m| m.parse().unwrap()).collect())
            };
            (methods, path, index)
        })
        .collect();
    RouteTable::new(
        parsed.iter().map(|(m, p, i)| (m, *p, *i)),
        vec![true; rules.len()],
    )
}

#[track_caller]
fn check(rules: &[&str], method: &str, template: Option<&str>, path: &str, expected: Found) {
    let table = table(rules);
    let target = Target {
        method: &method.parse().unwrap(),
        template,
        path,
        extensions: &Extensions::new(),
    };
    assert_eq!(table.find(target), expected, "{method} {template:?} {path}");
    // A second time from what was remembered.
    assert_eq!(table.find(target), expected, "{method} {template:?} {path}");
}

#[test]
fn the_more_specific_path_wins_then_the_named_method() {
    let rules = [
        "* /api/{id}",
        "POST /api/{name}",
        "POST /api/special",
        "* /{*rest}",
    ];
    check(&rules, "POST", None, "/api/special", Found::Rule(2));
    check(&rules, "GET", None, "/api/special", Found::Rule(0));
    check(&rules, "POST", None, "/api/x", Found::Rule(1));
    check(&rules, "DELETE", None, "/api/x", Found::Rule(0));
    check(&rules, "PURGE", None, "/b/c/d", Found::Rule(3));
    check(&rules, "POST", Some("/api/{key}"), "/api/x", Found::Rule(1));
    check(
        &rules,
        "POST",
        Some("/api/{key}"),
        "/api/special",
        Found::Rule(2),
    );
    check(
        &rules,
        "POST",
        Some("/api/{key}"),
        "/api/%73pecial",
        Found::Rule(2),
    );
}

#[test]
fn get_rules_match_head_unless_a_rule_names_head() {
    check(&["GET /a"], "HEAD", None, "/a", Found::Rule(0));
    check(&["GET /a"], "HEAD", Some("/a"), "/a", Found::Rule(0));
    check(&["GET /a", "HEAD /a"], "HEAD", None, "/a", Found::Rule(1));
    check(
        &["* /a", "GET /a"],
        "HEAD",
        Some("/a"),
        "/a",
        Found::Rule(1),
    );
    check(&["GET /a"], "OPTIONS", None, "/a", Found::Unmatched);
}

#[test]
fn a_template_under_a_catch_all_needs_a_catch_all_rule() {
    check(
        &["GET /files/{*path}"],
        "GET",
        Some("/files/{*p}"),
        "/files/a/b",
        Found::Rule(0),
    );
    check(
        &["GET /files/{name}"],
        "GET",
        Some("/files/{*p}"),
        "/files/a/b",
        Found::Unmatched,
    );
    // One that is narrower is compared with the path.
    check(
        &["GET /files/{name}"],
        "GET",
        Some("/files/{*p}"),
        "/files/a",
        Found::Rule(0),
    );
    check(
        &["GET /{*all}"],
        "GET",
        Some("/a/{id}/b"),
        "/a/1/b",
        Found::Rule(0),
    );
}

#[test]
fn a_rule_of_another_length_or_text_does_not_apply() {
    check(&["GET /a/{id}"], "GET", Some("/a"), "/a", Found::Unmatched);
    check(
        &["GET /a/{id}"],
        "GET",
        Some("/a/{id}/b"),
        "/a/1/b",
        Found::Unmatched,
    );
    check(
        &["GET /a/{id}"],
        "GET",
        Some("/b/{id}"),
        "/b/1",
        Found::Unmatched,
    );
    check(&["GET /a/"], "GET", Some("/a"), "/a", Found::Unmatched);
}

#[test]
fn a_spelling_that_would_slip_past_a_charged_rule_is_refused() {
    for spelling in [
        "//api/chat",
        "/api//chat",
        "/x/../api/chat",
        "/api/%63hat",
        "/api%2Fchat",
    ] {
        check(
            &["POST /api/chat"],
            "POST",
            None,
            spelling,
            Found::Misspelled,
        );
    }
    check(
        &["POST /api/chat"],
        "GET",
        None,
        "/api//chat",
        Found::Unmatched,
    );
    check(
        &["POST /api/chat"],
        "POST",
        None,
        "/other//chat",
        Found::Unmatched,
    );
    // It falls under the same rule either way: nothing slips past.
    check(
        &["POST /api/{*rest}"],
        "POST",
        None,
        "/api//chat",
        Found::Rule(0),
    );
}

#[test]
fn a_parameter_and_a_catch_all_in_one_place_live_together() {
    let rules = [
        "GET /{*rest}",
        "GET /{id}",
        "GET /{id}/special",
        "GET /a/{id}",
    ];
    check(&rules, "GET", None, "/x", Found::Rule(1));
    check(&rules, "GET", None, "/x/special", Found::Rule(2));
    check(&rules, "GET", None, "/a/special", Found::Rule(3));
    check(&rules, "GET", None, "/x/y/z", Found::Rule(0));
}

#[test]
fn a_partly_overlapping_rule_is_compared_with_the_path() {
    let rules = ["GET /{kind}/special"];
    check(
        &rules,
        "GET",
        Some("/api/{id}"),
        "/api/special",
        Found::Rule(0),
    );
    check(
        &rules,
        "GET",
        Some("/api/{id}"),
        "/api/other",
        Found::Unmatched,
    );
}

#[test]
fn a_template_that_the_path_is_not_of_is_compared_in_normal_form() {
    let rules = ["* /svc/items/{id}", "* /svc/items/special"];
    let template = Some("/svc/items/{key}");
    for (path, rule) in [
        ("/svc/items/special", 1),
        ("/svc/items/%73pecial", 1),
        // The router that matched saw a path without the second slash.
        ("/svc//items/special", 1),
        ("/svc//items/%73pecial", 1),
        ("/svc//items/other", 0),
        ("/svc//items/special%2F", 0),
    ] {
        check(&rules, "GET", template, path, Found::Rule(rule));
    }
    // Such a path may well be of a catch-all: then its parts are what the handler sees.
    let rules = ["* /files/{*rest}", "* /files/private/{*rest}"];
    let template = Some("/files/{*path}");
    check(&rules, "GET", template, "/files//private/x", Found::Rule(0));
}

//! `QUOTA__...` variables.

use std::{fmt::Write, time::Duration};

use quota_store::{Amount, Bound, Scope};

use super::{
    super::{Config, StoreUrl, TokenFrom, Unmatched},
    completed, load_with,
};

#[track_caller]
fn with(text: &str, environment: &[(&str, &str)]) -> Config {
    load_with(&completed(text), environment).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_variable_wins_over_the_file() {
    let config = with(
        "unmatched = \"pass\"\n[store]\nurl = \"memory:\"\ntimeout = \"1s\"\n",
        &[
            ("QUOTA__UNMATCHED", "deny"),
            ("QUOTA__STORE__URL", "redis://cache/2"),
            ("QUOTA__STORE__MAX_IN_FLIGHT", "7"),
            ("QUOTA__STORE__ACCEPT_EVICTION", "true"),
            ("QUOTA__STORE__PREFIX", "\"quoted\""),
            ("UNRELATED", "x"),
        ],
    );
    assert_eq!(config.unmatched, Unmatched::Deny);
    assert_eq!(
        config.store.url,
        StoreUrl::Redis {
            address: "redis://cache:6379/2".to_owned()
        }
    );
    assert_eq!(config.store.timeout, Duration::from_secs(1));
    assert_eq!(config.store.max_in_flight, 7);
    assert!(config.store.accept_eviction);
    assert_eq!(config.store.prefix, "quoted");
}

#[test]
fn a_list_is_replaced_as_a_whole() {
    let config = with(
        "[identity]\nfrom = \"application\"\ntoken_from = [\"authorization\", \"cookie:a\"]\n",
        &[("QUOTA__IDENTITY__TOKEN_FROM", "[\"cookie:b\"]")],
    );
    let cookie = TokenFrom::Cookie("b".to_owned());
    assert_eq!(config.identity.token_from, [cookie]);
    let rules = "[{ match = \"GET /a\", exempt = true }]";
    let config = with(
        "[[routes]]\nmatch = \"GET /b\"\nexempt = true\n[[routes]]\nmatch = \"GET /c\"\nexempt = true\n",
        &[("QUOTA__ROUTES", rules)],
    );
    assert_eq!(config.rules.len(), 1);
}

#[test]
fn names_with_underscores_are_one_level() {
    let config = with(
        "[quotas.output_tokens]\n",
        &[("QUOTA__PLANS__FREE__LIMITS__OUTPUT_TOKENS", "5/day")],
    );
    let limits = &config.default_plan.limits[0];
    assert_eq!(
        (limits.quota.as_str(), limits.scope),
        ("output_tokens", Scope::User)
    );
    let five = Amount::new(5).unwrap();
    assert_eq!(limits.limits[0].bound, Bound::AtMost(five));
}

#[test]
fn a_wrong_variable_is_named() {
    let text = completed("[[routes]]\nmatch = \"GET /a\"\nexempt = true\n");
    let mut told = String::new();
    for (name, value) in [
        ("QUOTA__STORE__TIMEOUT", "fast"),
        ("QUOTA__STORE__TIMEOUT", "50"),
        ("QUOTA__STORE__ULR", "memory:"),
        ("QUOTA__STROE__URL", "memory:"),
        ("QUOTA__STORE__URL__HOST", "cache"),
        ("QUOTA__ROUTES__0__MATCH", "GET /b"),
        ("QUOTA__", "x"),
        ("QUOTA__STORE____URL", "x"),
        ("QUOTA__STORE__PASSWORD", "hunter2"),
        ("QUOTA__PLANS__FREE__LIMITS__MESSAGES", "10GB/day"),
        ("QUOTA__ENFORCEMENT", "off"),
        ("QUOTA__QUOTAS__MESSAGES__KIND", "stock"),
    ] {
        let text = format!("{text}[store]\nurl = \"memory:\"\n");
        let errors = load_with(&text, &[(name, value)]).expect_err(name);
        for error in &errors {
            assert_eq!(error.variable(), Some(name));
            assert_eq!((error.line(), error.column()), (None, None));
        }
        writeln!(told, "{errors}\n").unwrap();
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false, snapshot_path => "../snapshots" }, {
        insta::assert_snapshot!("wrong_variables", told);
    });
}

#[test]
fn errors_know_their_place() {
    let text = completed("# Überschrift\nunmatched = \"warn\" # é\n[store]\n  prefix = \"\"\n");
    let errors = load_with(&text, &[("QUOTA__STORE__TIMEOUT", "0s")]).unwrap_err();
    let places: Vec<_> = errors
        .iter()
        .map(|error| (error.line(), error.column(), error.hint().is_empty()))
        .collect();
    assert_eq!(places, [(Some(4), Some(12), false), (None, None, false)]);
}

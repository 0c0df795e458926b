//! No secret is ever shown.

use std::fs;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::{
    super::{Config, ConfigError, IdentityFrom, Source, StoreUrl},
    SECRET, completed, load, load_with,
};
use crate::identity::JwtKey;

const HIDDEN: &str = "hunter2-hunter2-hunter2-hunter2-hunter2";

#[track_caller]
fn check_hidden(text: &str, environment: &[(&str, &str)]) {
    let errors = load_with(&completed(text), environment).unwrap_err();
    for shown in [errors.to_string(), format!("{errors:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_secret_in_the_file_is_masked_in_every_error_about_its_line() {
    for line in [
        format!("password = \"{HIDDEN}\""),
        format!("password = '{HIDDEN}'"),
        format!("password = '''\n{HIDDEN}\n'''"),
        format!("password = \"\"\"\\\n{HIDDEN}\"\"\""),
        format!("password = [\"{HIDDEN}\"]"),
        format!("password = {{ value = \"{HIDDEN}\" }}"),
        format!("\"password\" = \"{HIDDEN}\""),
        format!("password=\"{HIDDEN}\""),
        format!("pasword = \"{HIDDEN}\""),
        format!("Password = \"{HIDDEN}\""),
        format!("redis_password = \"{HIDDEN}\""),
        format!("auth = {{ password = \"{HIDDEN}\" }}"),
        format!("url = \"redis://:{HIDDEN}@host/0\""),
        "url = \"redis://user:hunter2/hunter2@host/0\"".to_owned(),
        "url = \"redis://:hunter2 hunter2@host/0\"".to_owned(),
        "url = \"redis://:hunter2\\\"hunter2@host/0\"".to_owned(),
        "url = 'redis://:hunter2\"hunter2@host/0'".to_owned(),
        format!("address = \"redis://user:{HIDDEN}@host/0\""),
        format!("password = \"{HIDDEN}"),
        format!("password = {HIDDEN}"),
        format!("password = \"{HIDDEN}\" oops"),
        format!("password = \"{HIDDEN}\\\"hunter2\" oops"),
        format!("password \"{HIDDEN}\""),
        format!("password: \"{HIDDEN}\""),
        format!("password = \"\"\"{HIDDEN}\nhunter2\""),
        format!("password = [\"{HIDDEN}\",\n\"hunter2\"\noops"),
        format!("url = redis://user:{HIDDEN}@host/0"),
    ] {
        check_hidden(&format!("[store]\n{line}\n"), &[]);
    }
    for text in [
        format!(
            "identity.jwt.secret = \"{HIDDEN}\"\nidentity.from = \"jwt\"\nidentity.colour = 1\n[identity]"
        ),
        format!("[identity]\njwt = {{ secret = \"{HIDDEN}\", colour = 1 }}\n"),
        format!("[identity]\njwt = {{ secret = \"{HIDDEN}\", colour = }}\n"),
        format!("[admin]\ntenant_tokens = {{ acme = [\"{HIDDEN}\"] }}\n"),
        format!("[admin]\ntokens = [\n\"{HIDDEN}\",\n]\n"),
        format!("[ledger]\nurl = \"postgres://me:{HIDDEN}@db/quota\"\n"),
        format!("store = {{ password = \"{HIDDEN}\" }}\nstore.url = 1\n"),
        format!("secret = \"{HIDDEN}\"\n"),
    ] {
        check_hidden(&text, &[]);
    }
}

#[test]
fn references_are_shown_and_columns_count_characters() {
    let text = "[store]\nurl = \"redis://h\"\npassword = \"env:NOT_SET\"\n";
    let errors = load(text).unwrap_err();
    assert!(errors.to_string().contains("password = \"env:NOT_SET\""));
    let text = "[store]\nauth = { password = \"pässword\", x = 1 }\n";
    let errors = load(text).unwrap_err();
    let error = errors.iter().next().unwrap();
    assert_eq!((error.line(), error.column()), (Some(2), Some(1)));
    assert!(
        errors
            .to_string()
            .contains("password = \"********\", x = 1")
    );
}

#[test]
fn a_secret_in_a_variable_is_not_shown() {
    check_hidden("", &[("QUOTA__STORE__PASSWORD", HIDDEN)]);
    check_hidden("", &[("QUOTA__STORE__PASSWROD", HIDDEN)]);
    check_hidden("", &[("QUOTA__STORE__URL", "redis://:hunter2@host/0")]);
    check_hidden("", &[("QUOTA__STORE__URL", "hunter2")]);
    check_hidden("", &[("QUOTA__IDENTITY__JWT__SECRET", HIDDEN)]);
    check_hidden(
        "[store]\nurl = \"env:REDIS_URL\"\n",
        &[("REDIS_URL", "redis://:hunter2@host:port/0")],
    );
    check_hidden(
        "[identity.jwt]\nsecret = \"env:SHORT\"\n",
        &[("SHORT", "hunter2")],
    );
}

#[test]
fn a_configuration_does_not_show_its_secrets() {
    let config = load_with(
        &completed("[identity.jwt]\n[store]\nurl = \"redis://host\"\npassword = \"env:P\"\n"),
        &[("QUOTA_JWT_SECRET", HIDDEN), ("P", HIDDEN)],
    )
    .unwrap();
    let shown = format!("{config:?} {config:#?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let password = config.store.password.as_ref().unwrap();
    assert_eq!(password.expose_secret(), HIDDEN);
}

#[test]
fn secrets_are_no_part_of_the_revision_and_are_a_part_of_the_store() {
    let text = completed("[store]\nurl = \"redis://host\"\npassword = \"env:P\"\n");
    let one = load_with(&text, &[("P", "one")]).unwrap();
    let same = load_with(&text, &[("P", "one")]).unwrap();
    let other = load_with(&text, &[("P", "other")]).unwrap();
    assert_eq!(one.revision(), other.revision());
    assert!(one.store == same.store);
    assert!(one.store != other.store);
}

#[test]
fn a_url_from_the_environment_may_hold_its_password() {
    let text = completed("[store]\nurl = \"env:REDIS_URL\"\n");
    let url = "rediss://quota:p%40ss@cache.example:6380/3";
    let config = load_with(&text, &[("REDIS_URL", url)]).unwrap();
    assert_eq!(
        config.store.url,
        StoreUrl::Redis {
            address: "rediss://cache.example:6380/3".to_owned()
        }
    );
    assert_eq!(config.store.username.as_deref(), Some("quota"));
    assert_eq!(config.store.password.unwrap().expose_secret(), "p@ss");
}

#[test]
fn a_password_is_given_once() {
    let text = completed("[store]\nurl = \"env:REDIS_URL\"\npassword = \"env:P\"\n");
    let environment = [("REDIS_URL", "redis://:one@host"), ("P", "two")];
    let errors = load_with(&text, &environment).unwrap_err();
    let messages: Vec<&str> = errors.iter().map(ConfigError::message).collect();
    assert_eq!(
        messages,
        ["`store.password` is given, and so it is in `store.url`"]
    );
}

#[test]
fn files_are_found_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("keys")).unwrap();
    fs::write(folder.path().join("keys/jwt"), format!("{SECRET}\r\n")).unwrap();
    let path = folder.path().join("quota.toml");
    fs::write(
        &path,
        completed("[identity.jwt]\nsecret = \"file:keys/jwt\"\n"),
    )
    .unwrap();
    let config = Config::from_file(&path).unwrap();
    let IdentityFrom::Jwt(jwt) = &config.identity.from else {
        panic!("identities come from tokens");
    };
    assert!(matches!(&jwt.key, JwtKey::Secret(secret) if secret.expose_secret() == SECRET));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let errors = Config::from_file("no/such/quota.toml").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "error: the file cannot be read: No such file or directory (os error 2)\n\
         --> no/such/quota.toml\n = help: check the path, and that this process may read the file"
    );
}

#[test]
fn keys_for_tokens_come_from_files_and_addresses() {
    let pem = "algorithms = [\"EdDSA\"]\npublic_key = \"file:src/config/tests/public_key.pem\"\n";
    let jwks = "algorithms = [\"RS256\"]\njwks = \"http://127.0.0.1:9/jwks\"\n";
    for key in [pem, jwks] {
        let text = completed(&format!("[identity.jwt]\n{key}audience = \"any\"\n"));
        let config = load_with(&text, &[]).unwrap();
        let IdentityFrom::Jwt(jwt) = &config.identity.from else {
            panic!("identities come from tokens");
        };
        match &jwt.key {
            JwtKey::PublicKeyPem(pem) => assert!(pem.starts_with("-----BEGIN PUBLIC KEY")),
            JwtKey::Jwks(url) => assert_eq!(url, "http://127.0.0.1:9/jwks"),
            JwtKey::Secret(_) => panic!("a public key"),
        }
    }
}

#[test]
fn tokens_that_are_not_used_need_no_secret() {
    let text =
        completed("[identity]\nfrom = \"application\"\njwt = { secret = \"env:NOT_SET\" }\n");
    let config = load_with(&text, &[]).unwrap();
    assert!(matches!(config.identity.from, IdentityFrom::Application));
    assert_eq!(config.warnings().count(), 1);
}

/// Pieces of which nearly right and wholly wrong files are made.
fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        "\"",
        "'",
        "\"\"\"",
        ",",
        ".",
        "\n",
        "\r\n",
        " ",
        "#",
        "\\",
        "é",
        "密",
        "\u{feff}",
        "\0",
        "store",
        "url",
        "password",
        "secret",
        "identity",
        "jwt",
        "plans",
        "free",
        "limits",
        "messages",
        "routes",
        "match",
        "charge",
        "\"GET /{a}\"",
        "\"5/day\"",
        "\"env:X\"",
        "://",
        "@",
        "-1",
        "1e9",
        "nan",
        "true",
        "1979-05-27",
        "[[routes]]\nmatch = \"",
        "GET /",
        "{*",
        "[plans.a.limits]\nmessages = \"",
    ]);
    prop_oneof![
        4 => known.prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(pieces in prop::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        if let Err(errors) = load_with(&text, &[]) {
            prop_assert!(errors.iter().count() > 0);
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn no_value_makes_it_panic(value in "\\PC{0,24}", key in 0..9_usize) {
        let value = format!("{value:?}");
        let text = match key {
            0 => format!("[store]\nurl = {value}\npassword = {value}\nca_file = {value}"),
            1 => format!("[[routes]]\nmatch = {value}\ncharge = {value}"),
            2 => format!("[plans.free.limits]\nmessages = {value}"),
            3 => format!("[plans.free]\ntimezone = {value}\ngrace = {value}\nextends = {value}"),
            4 => format!("[identity.jwt]\njwks = {value}\nclaims = {{ user = {value} }}"),
            5 => format!("[quotas.messages]\nunit = {value}\ntitle = {{ en = {value} }}"),
            6 => format!("[store]\ntimeout = {value}\nallow_max = {value}"),
            7 => format!("[identity]\ntoken_from = [{value}]\ntrusted_proxies = [{value}]"),
            _ => format!("[[routes]]\nmatch = \"GET /\"\nsuccess = [{value}]"),
        };
        if let Err(errors) = load_with(&completed(&text), &[]) {
            prop_assert!(errors.iter().count() > 0);
        }
    }

    #[test]
    fn no_path_makes_it_panic(path in "[/{}*:a ]{0,12}") {
        let text = format!("[[routes]]\nmatch = \"GET /{path}\"\nexempt = true\n");
        if let Err(errors) = load_with(&completed(&text), &[]) {
            prop_assert!(errors.iter().count() > 0);
        }
    }

    #[test]
    fn no_variable_makes_it_panic(name in "[A-Z_]{0,16}", value in "\\PC{0,12}") {
        let source = Source {
            text: completed(""),
            name: "quota.toml".to_owned(),
            folder: "".into(),
            environment: vec![(format!("QUOTA__{name}"), value)],
        };
        if let Err(errors) = Config::load(&source) {
            prop_assert!(errors.iter().count() > 0);
        }
    }
}

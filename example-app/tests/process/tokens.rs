//! `example-app token`.

use crate::app::{App, Config, command, header, run, status};

const CLAIMS: &str = r#"
identity.jwt.issuer = "https://issuer.example"
identity.jwt.audience = ["api"]
identity.jwt.claims = { user = "/user/id", tenant = "/user/org", plan = "tier" }
plans.free = { default = true, limits.calls = 3 }
plans.pro.limits.calls = "9/lifetime"
quotas.calls.unit = "call"
[[routes]]
match = "POST /api/v1/studies/{id}/detect"
charge = { calls = 1 }
"#;

#[test]
fn a_token_stands_alone_and_opens_the_door() {
    let config = Config::new(&CLAIMS.replace("calls = 3", "calls = \"3/lifetime\""));
    let path = config.path();
    let (code, output, errors) = run(&mut command(&[
        "token",
        "--user",
        "alice",
        "--tenant",
        "acme",
        "--plan",
        "pro",
        "--expires",
        "5m",
        "--config",
        &path,
    ]));
    assert_eq!(code, 0, "{errors}");
    let token = output.strip_suffix('\n').unwrap();
    assert!(!token.contains(char::is_whitespace), "{output:?}");
    let app = App::start(&["--config", &path]);
    let answer = app.get("/api/v1/studies/1/detect -X POST", token);
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(header(&answer, "x-quota-plan"), "pro");
    assert_eq!(header(&answer, "x-quota-limit"), "9");
    let without = app.get("/api/v1/studies/1/detect -X POST", "");
    assert_eq!(status(&without), 401, "{without}");
}

#[test]
fn what_can_not_be_signed_is_said() {
    let application = "identity.from = \"application\"\nplans.free.default = true\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quota.toml");
    std::fs::write(&path, application).unwrap();
    let path = path.display().to_string();
    let config = Config::new("plans.free.default = true\n");
    let own = config.path();
    let table: [(&[&str], &str); 5] = [
        (&["--user", "alice", "--config", &path], "takes no tokens"),
        (&["--user", "", "--config", &own], "the user is empty"),
        (&["--user", "a", "--expires", "soon"], "90s, 30m, 1h or 7d"),
        (&["--user", "a", "--config", "/nowhere"], "cannot be read"),
        (&[], "--user <USER>"),
    ];
    for (arguments, message) in table {
        let (code, output, errors) = run(&mut command(&[&["token"], arguments].concat()));
        assert_eq!((code, output.as_str()), (2, ""), "{arguments:?}: {errors}");
        assert!(errors.contains(message), "{arguments:?}: {errors}");
    }
}

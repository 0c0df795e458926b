//! What keeps the program from starting, and its exit codes.

use std::net::TcpListener;

use crate::app::{App, Config, command, curl, free_port, run, status};

#[test]
fn a_missing_secret_is_an_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quota.toml");
    std::fs::write(
        &path,
        "identity.jwt.secret = \"env:NO_SUCH_SECRET\"\nplans.free.default = true\n",
    )
    .unwrap();
    let path = path.display().to_string();
    let (code, output, errors) = run(&mut command(&["--config", &path]));
    assert_eq!((code, output.as_str()), (2, ""), "{errors}");
    assert!(errors.contains("quota.toml:1:"), "{errors}");
    assert!(errors.contains("`NO_SUCH_SECRET` is not set"), "{errors}");
}

#[test]
fn a_taken_port_is_named_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, errors) = run(&mut command(&["--listen", &address]));
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains(&format!("{address} is taken")), "{errors}");
    assert!(errors.contains("--listen 127.0.0.1:0"), "{errors}");
}

#[test]
fn wrong_arguments_are_a_wrong_use() {
    for arguments in [&["--listen", "here"][..], &["--nonsense"], &["sing"]] {
        let (code, _, errors) = run(&mut command(arguments));
        assert_eq!(code, 2, "{errors}");
        assert!(errors.contains("error:"), "{errors}");
    }
    let (code, output, _) = run(&mut command(&["--help"]));
    assert_eq!(code, 0);
    assert!(output.contains("--listen"), "{output}");
}

#[test]
fn it_starts_without_its_redis_and_says_so() {
    let port = free_port();
    let config = Config::new(&format!(
        "store.url = \"redis://127.0.0.1:{port}/0\"\nplans.free.default = true\n\
         [[routes]]\nmatch = \"GET /health\"\nexempt = true\n"
    ));
    let mut app = App::start(&["--config", &config.path()]);
    app.line_with("the counter store can't serve");
    let health = curl(&format!("{}/health", app.base));
    assert_eq!(status(&health), 503, "{health}");
    assert!(health.contains("\"status\":\"down\""), "{health}");
    // No demo was asked for, so anybody may call it under any name, and there is no demo.
    let other = curl(&format!("{}/demo/panic -H 'Host: api.example'", app.base));
    assert_eq!(status(&other), 404, "{other}");
}

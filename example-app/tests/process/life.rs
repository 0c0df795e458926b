//! Signals: reload and end.

use std::{sync::mpsc, thread};

use crate::app::{App, Config, Redis, curl, header, status};

fn config(store: &str, limit: u32) -> String {
    format!(
        "store.url = \"{store}\"\nstore.timeout = \"5s\"\n\
         quotas.calls.unit = \"call\"\n\
         plans.free = {{ default = true, limits.calls = \"{limit}/lifetime\" }}\n\
         [[routes]]\nmatch = \"GET /demo/status/{{code}}\"\ncharge = {{ calls = 1 }}\n"
    )
}

fn counts(answer: &str) -> (u16, &str, &str) {
    let used = header(answer, "x-quota-used");
    (status(answer), used, header(answer, "x-quota-limit"))
}

#[test]
fn a_reload_changes_the_limit_and_refills_nobody() {
    let config_file = Config::new(&config("memory:", 2));
    let mut app = App::start(&["--demo", "--config", &config_file.path()]);
    let token = config_file.token("alice");
    let call = |app: &App| app.get("/demo/status/200", &token);
    assert_eq!(counts(&call(&app)), (200, "1", "2"));
    assert_eq!(counts(&call(&app)), (200, "2", "2"));
    assert_eq!(counts(&call(&app)), (429, "2", "2"));

    config_file.write(&config("memory:", 3));
    app.signal("HUP");
    app.line_with("the configuration was reloaded");
    assert_eq!(counts(&call(&app)), (200, "3", "3"));
    assert_eq!(counts(&call(&app)), (429, "3", "3"));

    config_file.write(&config("memory:", 9).replace("lifetime", "lifetimes"));
    app.signal("HUP");
    app.line_with("what was in force stays");
    assert_eq!(counts(&call(&app)), (429, "3", "3"));
}

#[test]
fn an_end_waits_for_running_requests() {
    ended_by("TERM");
}

#[test]
fn ctrl_c_waits_for_running_requests() {
    ended_by("INT");
}

fn ended_by(signal: &str) {
    let redis = Redis::start();
    let config = Config::new(&config(&redis.url(), 5));
    let mut app = App::start(&["--demo", "--config", &config.path()]);
    let token = config.token("alice");
    let running = while_running(&mut app, &redis, &token, 1_500);
    app.signal(signal);
    let (code, output) = app.wait();
    assert_eq!(code, 0, "{output}");
    assert_eq!(counts(&running.recv().unwrap()), (200, "1", "5"));
    nothing_is_held(&redis, &config, &token, "2");
}

#[test]
fn an_end_gives_back_what_outlives_its_patience() {
    let redis = Redis::start();
    let config = Config::new(&config(&redis.url(), 5));
    let mut app = App::start(&["--demo", "--config", &config.path()]);
    let token = config.token("alice");
    let running = while_running(&mut app, &redis, &token, 25_000);
    app.signal("TERM");
    let (code, output) = app.wait();
    assert_eq!(code, 0, "{output}");
    assert_eq!(status(&running.recv().unwrap()), 503, "{output}");
    nothing_is_held(&redis, &config, &token, "1");
}

/// A request that holds its unit when this returns, and its answer later.
fn while_running(
    app: &mut App,
    redis: &Redis,
    token: &str,
    delay_ms: u32,
) -> mpsc::Receiver<String> {
    let (sender, answer) = mpsc::channel();
    let request = format!(
        "'{}/demo/status/200?delay_ms={delay_ms}' -H 'Authorization: Bearer {token}'",
        app.base
    );
    thread::spawn(move || sender.send(curl(&request)));
    // Each look is a process of its own, so this is no busy loop.
    let held = (0..1_000).any(|_| !redis.cli("--scan --pattern '*}:x*'").is_empty());
    assert!(held, "no reservation appears:\n{}", app.output());
    answer
}

/// Asks Redis, and then a process that starts anew on the same counters.
fn nothing_is_held(redis: &Redis, config: &Config, token: &str, next: &str) {
    assert_eq!(redis.cli("--scan --pattern '*}:x*'"), "");
    let app = App::start(&["--demo", "--config", &config.path()]);
    let answer = app.get("/demo/status/200", token);
    assert_eq!(counts(&answer), (200, next, "5"));
    let remaining: u32 = header(&answer, "x-quota-remaining").parse().unwrap();
    let used: u32 = next.parse().unwrap();
    assert_eq!(used + remaining, 5, "nothing is reserved: {answer}");
}

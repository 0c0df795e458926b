//! Demo mode: no set-up, lines to paste, and nobody but this machine.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::app::{App, command, curl, demo_secret, header, run, shell, status};

/// The answers to the three printed lines, each pasted into a shell.
fn pasted() -> [String; 3] {
    let mut app = App::demo();
    app.line_with("token --user bob");
    let output = app.output();
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| line.contains("curl -si"))
        .collect();
    let lines: [&str; 3] = lines.try_into().expect("three lines to paste");
    lines.map(|line| {
        let (code, answer) = shell(line);
        assert_eq!(code, 0, "{line}");
        answer
    })
}

/// The same, on one day: at midnight the counters start again.
fn pasted_on_one_day() -> [String; 3] {
    let answers = pasted();
    let is_one_day = {
        let [first, _, last] = &answers;
        let last = last.rsplit("HTTP/1.1 ").next().unwrap();
        header(first, "x-quota-reset") == header(last, "x-quota-reset")
    };
    if is_one_day { answers } else { pasted() }
}

#[test]
fn the_printed_lines_show_a_count_a_free_failure_and_a_refusal() {
    let [chat, failing, many] = pasted_on_one_day();
    assert_eq!(status(&chat), 200, "{chat}");
    assert_eq!(header(&chat, "x-quota-type"), "messages");
    assert_eq!(header(&chat, "x-quota-used"), "1");
    assert_eq!(header(&chat, "x-quota-remaining"), "4");
    assert!(chat.contains("\"completion_tokens\""), "{chat}");

    assert_eq!(status(&failing), 500, "{failing}");
    assert_eq!(header(&failing, "x-quota-used"), "0");

    let answers: Vec<&str> = many.split("HTTP/1.1 ").skip(1).collect();
    let seen: Vec<(&str, &str)> = answers
        .iter()
        .map(|answer| (&answer[..3], header(answer, "x-quota-remaining")))
        .collect();
    let expected = [
        ("200", "3"),
        ("200", "2"),
        ("200", "1"),
        ("200", "0"),
        ("429", "0"),
        ("429", "0"),
    ];
    assert_eq!(seen, expected);
    let refusal = answers[5];
    assert_eq!(header(refusal, "content-type"), "application/problem+json");
    assert!(
        refusal.contains("You have used 5 of 5 messages today."),
        "{refusal}"
    );
    // The actual amount was charged, not the 500 that were held.
    assert!(header(refusal, "ratelimit").contains("\"output_tokens-month\";r=49920;"));
}

#[test]
fn the_secret_is_for_its_owner_only() {
    drop(App::demo());
    let mode = fs::metadata(demo_secret()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_demo_listens_on_loopback_only() {
    for arguments in [
        &["--listen", "0.0.0.0:0"][..],
        &["--listen", "[::]:0", "--demo"],
        &["--listen", "192.0.2.1:7500"],
    ] {
        let (code, _, errors) = run(&mut command(arguments));
        assert_eq!(code, 2, "{errors}");
        assert!(errors.contains("listens on loopback only"), "{errors}");
    }
}

#[test]
fn a_demo_answers_this_machine_only() {
    let app = App::demo();
    let base = &app.base;
    assert_eq!(status(&curl(&format!("{base}/health"))), 200);
    for header_line in [
        "Host: evil.example",
        "X-Forwarded-For: 203.0.113.9",
        "Forwarded: for=203.0.113.9",
        "X-Forwarded-Host: evil.example",
        "X-Real-IP: 203.0.113.9",
    ] {
        let answer = curl(&format!("{base}/health -H '{header_line}'"));
        assert_eq!(status(&answer), 403, "{header_line}: {answer}");
        assert_eq!(header(&answer, "content-type"), "application/problem+json");
        assert!(answer.contains("a demo for one machine"), "{answer}");
    }
}

#[test]
fn failures_of_every_kind_are_free() {
    let app = App::demo();
    let (code, token, errors) = run(&mut command(&["token", "--user", "carol"]));
    assert_eq!(code, 0, "{errors}");
    let token = token.trim_end();
    let base = &app.base;
    let chat = |body: &str| {
        curl(&format!(
            "{base}/api/v1/chat -H 'Authorization: Bearer {token}' \
             -H 'Content-Type: application/json' -d '{body}'"
        ))
    };
    for body in [
        "{",
        "{}",
        r#"{"message": ""}"#,
        r#"{"message": "a", "max_tokens": 0}"#,
    ] {
        let answer = chat(body);
        assert!((400..500).contains(&status(&answer)), "{body}: {answer}");
        assert_eq!(header(&answer, "x-quota-used"), "0", "{body}");
    }
    let failing = [
        ("/demo/panic", 500),
        ("/demo/status/100", 400),
        ("/demo/status/600", 400),
        ("/demo/status/404", 404),
        ("/demo/status/304", 304),
        ("/demo/status/503?delay_ms=20", 503),
        ("/demo/stream?chunks=x", 400),
    ];
    for (path, expected) in failing {
        let answer = app.get(path, token);
        assert_eq!(status(&answer), expected, "{path}: {answer}");
        assert_eq!(header(&answer, "x-quota-used"), "0", "{path}");
    }
    let stream = app.get("/demo/stream?chunks=3", token);
    assert!(stream.contains("chunk 3 of 3"), "{stream}");
    assert_eq!(header(&stream, "x-quota-used"), "1");
    assert_eq!(
        header(&app.get("/demo/status/204", token), "x-quota-used"),
        "2"
    );
    assert_eq!(header(&app.get("/demo/cost/7", token), "x-quota-used"), "7");
    assert_eq!(header(&app.get("/demo/cost/x", token), "x-quota-used"), "7");
}

#[test]
fn operators_see_health_and_metrics_without_a_token() {
    let app = App::demo();
    let (_, token, _) = run(&mut command(&["token", "--user", "dora"]));
    app.get("/demo/status/200", token.trim_end());
    let health = curl(&format!("{}/health", app.base));
    assert!(health.contains("\"status\":\"ok\""), "{health}");
    let metrics = curl(&format!("{}/metrics", app.base));
    let counted = "quota_requests_total{route=\"/demo/status/{code}\",\
                   quota=\"demo_calls\",plan=\"free\",outcome=\"committed\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("quota_layer_seconds_bucket"), "{metrics}");
    assert!(metrics.contains("quota_config_info{revision="), "{metrics}");
}

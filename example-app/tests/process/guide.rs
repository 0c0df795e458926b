//! `docs/administration.md`, pasted line by line.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::app::{App, run};

/// The blocks of the page: what to type, and what that prints.
struct Step {
    /// After a restart of the application.
    is_restarted: bool,
    types: String,
    prints: String,
}

fn steps() -> Vec<Step> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/administration.md");
    let page = fs::read_to_string(path).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let mut block = String::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            writeln!(block, "{line}").unwrap();
        }
        match language {
            "text" => steps.last_mut().expect("it is printed by something").prints = block,
            _ => steps.push(Step {
                is_restarted: language == "sh restarted",
                types: block,
                prints: String::new(),
            }),
        }
    }
    steps
}

/// The demo's folder, as a clean checkout has it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::copy(
        checkout.join("quota.toml"),
        folder.path().join("quota.toml"),
    )
    .unwrap();
    for secret in [".secret", ".admin-token"] {
        let text = format!("a {secret} of these tests, 32 bytes or more");
        fs::write(folder.path().join(secret), text).unwrap();
    }
    folder
}

const MARK: &str = "@@ the next block";

/// Everything that is typed, with the application of the page's first block started by the test.
fn script(steps: &[Step], folder: &Path, app: &App) -> String {
    let folder = folder.display();
    let program = env!("CARGO_BIN_EXE_example-app");
    let address = app.base.strip_prefix("http://").unwrap();
    let mut script = "set -o pipefail\n".to_owned();
    for step in steps {
        if step.is_restarted {
            let pid = app.id();
            writeln!(
                script,
                "kill -9 {pid}\n\
                 while curl -s -o /dev/null $BASE/health; do sleep 0.1; done\n\
                 {program} --demo --config {folder}/quota.toml --listen {address} >/dev/null 2>&1 &\n\
                 APP=$!; trap 'kill $APP' EXIT\n\
                 curl -s -o /dev/null --retry 50 --retry-all-errors --retry-delay 1 $BASE/health"
            )
            .unwrap();
        }
        let typed = step
            .types
            .replace("http://127.0.0.1:7500", &app.base)
            .replace(
                "cargo run -q -p example-app -- token",
                &format!("{program} token --config {folder}/quota.toml"),
            )
            .replace(
                "example-app/.admin-token",
                &format!("{folder}/.admin-token"),
            );
        writeln!(script, "{typed}echo '{MARK}'").unwrap();
    }
    script
}

#[test]
fn the_page_on_administration_prints_what_it_says() {
    let folder = folder();
    let config = folder.path().join("quota.toml").display().to_string();
    let app = App::start(&["--demo", "--config", &config]);
    let mut steps = steps();
    let start = steps.remove(0);
    assert_eq!(start.types, "cargo run -p example-app\n");
    let script = script(&steps, folder.path(), &app);
    let (_, printed, errors) = run(Command::new("bash").args(["-c", &script]));
    let printed = printed.replace('\r', "");
    let blocks: Vec<&str> = printed.split(&format!("{MARK}\n")).collect();
    assert_eq!(blocks.len(), steps.len() + 1, "{printed}\n{errors}");
    for (step, printed) in steps.iter().zip(blocks) {
        assert_eq!(printed, step.prints, "{}\n{errors}", step.types);
    }
}

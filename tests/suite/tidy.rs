//! The rules of the repository, each with all its offenders.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Crates that speak to a database; only `quota-store` and the tests know them.
const DRIVERS: [&str; 5] = [
    "deadpool-postgres",
    "deadpool-redis",
    "redis",
    "rusqlite",
    "tokio-postgres",
];

/// Endings of files that are text by our own hand.
const TEXT: [&str; 8] = ["rs", "toml", "md", "lua", "yml", "sh", "json", "sql"];

fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package lies in the repository")
}

/// Every file that is in the repository or about to be, relative to its root.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(root())
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "these rules need a git checkout");
    let names = String::from_utf8(output.stdout).expect("file names are UTF-8");
    let names: BTreeSet<&str> = names.split_terminator('\0').collect();
    let exists = |name: &&str| root().join(name).is_file();
    names
        .into_iter()
        .filter(exists)
        .map(str::to_owned)
        .collect()
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    let ending = Path::new(name)
        .extension()
        .and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| endings.contains(&ending))
}

fn files_ending(endings: &[&str]) -> Vec<(String, String)> {
    let names = files().into_iter().filter(|name| has_ending(name, endings));
    names
        .map(|name| {
            let text = fs::read_to_string(root().join(&name)).expect("text files are UTF-8");
            (name, text)
        })
        .collect()
}

fn rust_files() -> Vec<(String, String)> {
    let mut files = files_ending(&["rs"]);
    files.retain(|(name, _)| !name.contains("/testdata/"));
    files
}

/// Offenders as `file:line: what`, for each line of which `offence` says something.
fn offending_lines<'a>(
    files: &'a [(String, String)],
    offence: impl Fn(&'a str) -> Option<&'static str>,
) -> Vec<String> {
    let lines = files.iter().flat_map(|(name, text)| {
        let numbered = (1..).zip(text.lines());
        numbered.map(move |(number, line): (usize, _)| (name, number, line))
    });
    lines
        .filter_map(|(name, number, line)| {
            offence(line).map(|what| format!("{name}:{number}: {what}"))
        })
        .collect()
}

#[track_caller]
fn assert_none(rule: &str, offenders: &[String]) {
    assert!(
        offenders.is_empty(),
        "{rule}:\n  {}",
        offenders.join("\n  ")
    );
}

/// A word that must not stand in this file as itself, or the rule would find it here.
fn word(parts: [&str; 2]) -> String {
    parts.concat()
}

/// Package name to the names of everything it depends on, in any table.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let manifests = files_ending(&["toml"]).into_iter();
    manifests
        .filter(|(name, _)| name.ends_with("Cargo.toml") && !name.starts_with("bench/"))
        .filter_map(|(name, text)| {
            let manifest: toml::Table = text
                .parse()
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let package = manifest.get("package")?.get("name")?.as_str()?.to_owned();
            let mut found = BTreeSet::new();
            collect_dependencies(&manifest, &mut found);
            Some((package, found))
        })
        .collect()
}

fn collect_dependencies(table: &toml::Table, found: &mut BTreeSet<String>) {
    for (name, value) in table {
        let Some(inner) = value.as_table() else {
            continue;
        };
        if name.ends_with("dependencies") {
            found.extend(inner.iter().map(|(key, dependency)| {
                let renamed = dependency.get("package").and_then(toml::Value::as_str);
                renamed.unwrap_or(key).to_owned()
            }));
        } else if name != "package" {
            // Dependencies of one platform lie deeper, under `target`.
            collect_dependencies(inner, found);
        }
    }
}

#[test]
fn arrows_between_crates_point_inwards() {
    // What each package may use of ours; a new package must be entered here.
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("quota-store", &[] as &[&str]),
        ("quota-layer", &["quota-store"]),
        ("quota-api", &["quota-layer", "quota-store"]),
        ("example-app", &["quota-api", "quota-layer", "quota-store"]),
        (
            "quota-tests",
            &["example-app", "quota-api", "quota-layer", "quota-store"],
        ),
    ]);
    let arrows = arrows();
    let ours: BTreeSet<&String> = arrows.keys().collect();
    let mut offenders = Vec::new();
    for (package, dependencies) in &arrows {
        let Some(allowed) = allowed.get(package.as_str()) else {
            offenders.push(format!("{package}: not entered in this rule"));
            continue;
        };
        let mut forbidden: BTreeSet<&String> = dependencies
            .iter()
            .filter(|name| ours.contains(name) && !allowed.contains(&name.as_str()))
            .collect();
        if !["quota-store", "quota-tests"].contains(&package.as_str()) {
            let drivers = dependencies.iter();
            forbidden.extend(drivers.filter(|name| DRIVERS.contains(&name.as_str())));
        }
        offenders.extend(forbidden.iter().map(|name| format!("{package} -> {name}")));
    }
    assert_eq!(
        arrows.len(),
        allowed.len(),
        "packages that were found: {ours:?}"
    );
    assert_none("dependencies that are not allowed", &offenders);
}

#[test]
fn modules_have_the_name_of_their_file() {
    let mut offenders = files();
    offenders.retain(|name| {
        Path::new(name)
            .file_name()
            .is_some_and(|file| file == "mod.rs")
    });
    assert_none("use `x.rs` and `x/` instead", &offenders);
}

#[test]
fn rust_files_are_at_most_400_lines() {
    const LIMIT: usize = 400;
    let long: Vec<String> = rust_files()
        .iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|&(_, count)| count > LIMIT)
        .map(|(name, count)| format!("{name}:{count}: longer than {LIMIT} lines"))
        .collect();
    assert_none("split by idea", &long);
}

#[test]
fn unfinished_work_names_its_issue() {
    let marks = [word(["TO", "DO"]), word(["FIX", "ME"])];
    let offenders = offending_lines(&files_ending(&TEXT), |line| {
        let rest = marks
            .iter()
            .find_map(|mark| line.split_once(mark.as_str()))?
            .1;
        let number = rest.split_once('#').map_or("", |(_, number)| number);
        let is_numbered = number.starts_with(|first: char| first.is_ascii_digit());
        (!is_numbered).then_some("unfinished work without `#number`")
    });
    assert_none("file an issue or finish it", &offenders);
}

#[test]
fn no_test_is_skipped_or_wants_any_panic() {
    let attributes = [word(["#[ign", "ore"]), word(["#[should", "_panic"])];
    let offenders = offending_lines(&rust_files(), |line| {
        let line = line.trim_start();
        let is_there = attributes
            .iter()
            .any(|attribute| line.starts_with(attribute));
        is_there.then_some("runs never, or passes for the wrong reason")
    });
    assert_none("remove the attribute, or assert what is meant", &offenders);
}

#[test]
fn tests_are_named_as_claims() {
    let offenders = offending_lines(&rust_files(), |line| {
        let line = line.trim_start().trim_start_matches("async ");
        line.starts_with("fn test_")
            .then_some("a test's name says what holds, without `test_`")
    });
    assert_none("rename", &offenders);
}

#[test]
fn text_files_are_clean() {
    let files = files_ending(&TEXT);
    let mut offenders = offending_lines(&files, |line| {
        if line.contains('\t') {
            return Some("a tab");
        }
        (line.trim_end() != line).then_some("spaces at the end")
    });
    let endless = files
        .iter()
        .filter(|(_, text)| !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")));
    offenders.extend(endless.map(|(name, text)| {
        let last = text.lines().count();
        format!("{name}:{last}: must end with one newline")
    }));
    assert_none("white space", &offenders);
}

#[test]
fn nothing_that_programs_leave_behind_is_committed() {
    let mut offenders = files();
    offenders.retain(|name| {
        has_ending(
            name,
            &[
                "profraw",
                "rdb",
                "aof",
                "sqlite",
                "sqlite3",
                "db",
                "sqlite-wal",
                "new",
            ],
        )
    });
    assert_none("remove it from git", &offenders);
}

/// The targets of all links and images in a Markdown text that point into the repository, with
/// their line, anchors cut off. What stands in a block of code is not a link.
fn local_links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    let mut is_code = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        let inline = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', ' ']).next());
        let reference = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "))
            .map(|(_, target)| target.trim());
        let targets = inline
            .chain(reference)
            .map(|target| target.split('#').next().unwrap_or(""));
        links.extend(
            targets
                .filter(|target| !target.is_empty() && !target.contains(':'))
                .map(|target| (number, target)),
        );
    }
    links
}

/// The file that a link in `page` points to.
fn destination(page: &str, target: &str) -> PathBuf {
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    let mut path = PathBuf::new();
    for part in folder.join(target).components() {
        match part {
            std::path::Component::ParentDir => {
                path.pop();
            }
            std::path::Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

#[test]
fn links_in_the_documentation_lead_somewhere() {
    let offenders: Vec<String> = files_ending(&["md"])
        .iter()
        .flat_map(|(page, text)| {
            let broken = local_links(text).into_iter();
            broken
                .filter(|(_, target)| !root().join(destination(page, target)).exists())
                .map(move |(number, target)| format!("{page}:{number}: {target}"))
        })
        .collect();
    assert_none("links to nothing", &offenders);
}

#[test]
fn every_page_is_linked_from_another() {
    let pages = files_ending(&["md"]);
    let linked: BTreeSet<PathBuf> = pages
        .iter()
        .flat_map(|(page, text)| {
            let links = local_links(text).into_iter();
            links
                .map(move |(_, target)| destination(page, target))
                .filter(move |to| to != Path::new(page))
        })
        .collect();
    let offenders: Vec<String> = pages
        .iter()
        .map(|(page, _)| page.clone())
        .filter(|page| page.starts_with("docs/") && !linked.contains(Path::new(page)))
        .collect();
    assert_none("pages that nobody finds", &offenders);
}

#[test]
fn links_are_found_in_markdown() {
    let text = "[a](x.md#y) ![b](../z.png \"t\") [c](https://example.com) [d](#e)\n\
                ```\n[f](g)\n```\n[h]: i.md\n";
    assert_eq!(
        local_links(text),
        [(1, "x.md"), (1, "../z.png"), (5, "i.md")]
    );
    assert_eq!(destination("docs/a.md", "../z.png"), Path::new("z.png"));
}

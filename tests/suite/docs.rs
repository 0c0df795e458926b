//! The examples of `docs/` are what the code takes and says.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use quota_layer::Config;
use tempfile::NamedTempFile;

/// A block between fences: its language, and its text.
struct Block {
    language: String,
    text: String,
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let mut text = String::new();
        for line in lines.by_ref().take_while(|line| !line.starts_with("```")) {
            writeln!(text, "{line}").unwrap();
        }
        blocks.push(Block {
            language: language.to_owned(),
            text,
        });
    }
    blocks
}

/// The text with every secret of the environment taken from this file.
fn with_secrets(text: &str, secret: &NamedTempFile) -> String {
    let path = format!("file:{}", secret.path().display());
    text.replace("env:QUOTA_JWT_SECRET", &path)
        .replace("env:REDIS_PASSWORD", &path)
}

#[test]
fn complete_examples_are_read_without_a_warning() {
    let mut secret = NamedTempFile::new().unwrap();
    secret.write_all(&[b'x'; 32]).unwrap();
    let page = page("configuration.md");
    let complete: Vec<Block> = blocks(&page)
        .into_iter()
        .filter(|block| block.language == "toml" && block.text.starts_with("# complete"))
        .collect();
    assert!(!complete.is_empty());
    for block in complete {
        let config = Config::from_toml(&with_secrets(&block.text, &secret))
            .unwrap_or_else(|errors| panic!("{errors}"));
        let warnings: Vec<&str> = config.warnings().collect();
        assert_eq!(warnings, [""; 0]);
    }
}

#[test]
fn wrong_examples_are_refused_in_the_words_of_the_page() {
    let page = page("configuration.md");
    let blocks = blocks(&page);
    let wrong: Vec<&[Block]> = blocks
        .windows(2)
        .filter(|pair| pair[0].language == "toml" && pair[0].text.starts_with("# wrong"))
        .collect();
    assert!(!wrong.is_empty());
    for pair in wrong {
        let errors = Config::from_toml(&pair[0].text).expect_err("it is wrong");
        assert_eq!(pair[1].text.trim_end(), errors.to_string(), "\n{errors}");
    }
}

/// Every Rust file below `folder`.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The names of all functions of the repository.
fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in [
        "tests/suite",
        "quota-store",
        "quota-layer/src",
        "quota-api/tests",
        "example-app/tests",
    ] {
        rust_files(&root.join(folder), &mut files);
    }
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| {
            let name = |line: &str| {
                let (_, rest) = line.split_once("fn ")?;
                rest.split_once('(').map(|(name, _)| name.to_owned())
            };
            text.lines().filter_map(name).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_tests_that_guarantees_name_are_there() {
    let functions = functions();
    let is_there = |name: &str| match name.strip_suffix('*') {
        Some(start) => functions.iter().any(|function| function.starts_with(start)),
        None => functions.contains(name),
    };
    let page = page("guarantees.md");
    let code = |cell: &'_ str| -> Vec<String> {
        let parts = cell.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect()
    };
    let cells = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    let names = cells
        .flat_map(code)
        .filter(|code| code.contains('_') && !code.contains(['.', '/', ' ']));
    let missing: Vec<String> = names.filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "no test has these names: {missing:#?}");
}

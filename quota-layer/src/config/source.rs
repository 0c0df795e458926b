//! What a configuration is read from.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use super::{
    errors::ConfigErrors, findings::Finding, findings::Problem, mask::Masked, node::Place,
};

/// A text, and what its references refer to.
pub(crate) struct Source {
    pub(crate) text: String,
    /// What messages call the text.
    pub(crate) name: String,
    /// Where relative paths begin.
    pub(crate) folder: PathBuf,
    /// Names and values.
    pub(crate) environment: Vec<(String, String)>,
}

impl Source {
    /// A text that is not in a file, with the environment of the process.
    pub(crate) fn of_text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            name: "quota.toml".to_owned(),
            folder: PathBuf::new(),
            environment: process_environment(),
        }
    }

    /// A file, with the environment of the process.
    pub(crate) fn of_file(path: &Path) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| unreadable(&name, &error))?;
        Ok(Self {
            text,
            name,
            folder: path.parent().map(Path::to_path_buf).unwrap_or_default(),
            environment: process_environment(),
        })
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Leaves out what is not UTF-8, which no reference and no key can be.
fn process_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn unreadable(name: &str, error: &io::Error) -> ConfigErrors {
    let finding = Finding {
        place: Place::Whole,
        see_also: None,
        problem: Problem::new(
            format!("the file cannot be read: {error}"),
            "check the path, and that this process may read the file",
        ),
    };
    ConfigErrors::render(vec![finding], name, &Masked::new("", None))
}

/// Something that is written elsewhere.
pub(super) enum Reference<'a> {
    Variable(&'a str),
    File(&'a str),
}

impl<'a> Reference<'a> {
    /// `None` where the text is a literal.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("env:") {
            Some(Self::Variable(name))
        } else {
            text.strip_prefix("file:").map(Self::File)
        }
    }

    /// What it refers to, without the line end after it.
    pub(super) fn resolve(&self, source: &Source) -> Result<SecretString, Problem> {
        let text = match self {
            Self::Variable(name) => source.variable(name).map(str::to_owned).ok_or_else(|| {
                Problem::new(
                    format!("the environment variable `{name}` is not set"),
                    format!("set {name}, or refer to another variable or to a file:PATH"),
                )
                .unresolved()
            })?,
            Self::File(path) => read(path, source)?,
        };
        let trimmed = text.strip_suffix('\n').unwrap_or(&text);
        let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
        if trimmed.is_empty() {
            return Err(match self {
                Self::Variable(name) => Problem::new(
                    format!("the environment variable `{name}` is empty"),
                    "give it a value",
                ),
                Self::File(path) => Problem::new(
                    format!("the file `{path}` is empty"),
                    "write a value into it",
                ),
            });
        }
        Ok(SecretString::from(trimmed))
    }
}

/// Reads a file that the configuration names.
pub(super) fn read(path: &str, source: &Source) -> Result<String, Problem> {
    fs::read_to_string(source.folder.join(path)).map_err(|error| {
        Problem::new(
            format!("the file `{path}` cannot be read: {error}"),
            "paths begin at the folder of this file; check that this process may read it",
        )
        .unresolved()
    })
}

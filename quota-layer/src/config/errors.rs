//! Errors that show the place.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::{
    findings::{Finding, reading_order},
    mask::Masked,
    node::Place,
};

/// All errors of a configuration, in the order of the file.
///
/// Its `Display` shows each with the line of the file, a caret under the place and a hint. Secret
/// values are masked. `Debug` shows the same, since that is what a `main` that returns it prints.
#[derive(Clone)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// Each error, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.errors.iter()
    }

    pub(super) fn render(mut findings: Vec<Finding>, name: &str, text: &Masked) -> Self {
        findings.sort_by_cached_key(|finding| reading_order(&finding.place));
        let errors = findings
            .into_iter()
            .map(|finding| ConfigError::render(finding, name, text))
            .collect();
        Self { errors }
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One error of a configuration.
#[derive(Clone, Debug)]
pub struct ConfigError {
    message: String,
    hint: String,
    position: Option<Position>,
    variable: Option<String>,
    rendered: String,
}

impl ConfigError {
    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How to mend it.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The line, from 1; `None` where the error has no place in the file.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.position.map(|position| position.line)
    }

    /// The column in characters, from 1; `None` where the error has no place in the file.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.position.map(|position| position.column)
    }

    /// The environment variable that holds the wrong value, if one does.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }

    fn render(finding: Finding, name: &str, text: &Masked) -> Self {
        let Finding {
            place,
            see_also,
            problem,
        } = finding;
        let title = Level::ERROR.primary_title(problem.message.as_str());
        let group = match &place {
            Place::Whole | Place::Body(_) => title.element(Origin::path(name)),
            Place::Variable(variable) => {
                title.element(Origin::path(format!("environment variable {variable}")))
            }
            Place::File(span) => {
                let primary = AnnotationKind::Primary.span(text.span(span));
                let mut snippet = Snippet::source(text.as_str())
                    .path(name)
                    .annotation(primary);
                if let Some((Place::File(span), label)) = &see_also {
                    let context = AnnotationKind::Context.span(text.span(span));
                    snippet = snippet.annotation(context.label(label.as_str()));
                }
                title.element(snippet)
            }
        };
        let group: Group<'_> = group.element(Level::HELP.message(problem.hint.as_str()));
        let rendered = Renderer::plain().render(&[group]);
        let position = match &place {
            Place::File(span) => Some(Position::of(text, span)),
            Place::Whole | Place::Variable(_) | Place::Body(_) => None,
        };
        let variable = match place {
            Place::Variable(variable) => Some(variable),
            Place::Whole | Place::File(_) | Place::Body(_) => None,
        };
        Self {
            message: problem.message,
            hint: problem.hint,
            position,
            variable,
            rendered,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered)
    }
}

impl std::error::Error for ConfigError {}

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Position {
    pub(super) fn of(text: &Masked, span: &Range<usize>) -> Self {
        let before = &text.as_str()[..text.span(span).start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

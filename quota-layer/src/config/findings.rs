//! What is wrong with a configuration, gathered while it is read.

use std::ops::Range;

use super::node::Place;

/// A message, and how to mend what it complains about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) hint: String,
    pub(super) kind: ProblemKind,
}

/// What kind of problem it is, where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProblemKind {
    /// The text is wrong, wherever it is read.
    Wrong,
    /// A reference leads nowhere on this machine.
    Unresolved,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
            kind: ProblemKind::Wrong,
        }
    }

    /// Says that a reference leads nowhere.
    pub(super) fn unresolved(self) -> Self {
        Self {
            kind: ProblemKind::Unresolved,
            ..self
        }
    }
}

/// A problem at a place.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) place: Place,
    /// Another place that has to do with it, and what it is.
    pub(super) see_also: Option<(Place, String)>,
    pub(super) problem: Problem,
}

/// Everything that was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<(Place, String)>,
}

impl Findings {
    pub(super) fn error(
        &mut self,
        place: &Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problem(place, Problem::new(message, hint));
    }

    pub(super) fn problem(&mut self, place: &Place, problem: Problem) {
        self.errors.push(Finding {
            place: place.clone(),
            see_also: None,
            problem,
        });
    }

    pub(super) fn error_with_other(
        &mut self,
        place: &Place,
        other: (&Place, &str),
        problem: Problem,
    ) {
        self.errors.push(Finding {
            place: place.clone(),
            see_also: Some((other.0.clone(), other.1.to_owned())),
            problem,
        });
    }

    pub(super) fn warning(&mut self, place: &Place, message: impl Into<String>) {
        self.warnings.push((place.clone(), message.into()));
    }

    /// Keeps the value, or notes the problem at the place.
    pub(super) fn keep<T>(&mut self, place: &Place, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problem(place, problem)).ok()
    }
}

/// Orders places as a reader meets them: the file as a whole, the file, the environment, a plan.
pub(super) fn reading_order(place: &Place) -> (u8, usize, String) {
    match place {
        Place::Whole => (0, 0, String::new()),
        Place::File(Range { start, .. }) => (1, *start, String::new()),
        Place::Variable(name) => (2, 0, name.clone()),
        Place::Body(path) => (3, 0, path.clone()),
    }
}

/// The one of `known` that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = match word.chars().count() {
        0..=2 => return None,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean", or else the words that would be right.
pub(super) fn suggestion<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    otherwise: &str,
) -> String {
    if let Some(nearest) = nearest(word, known.clone()) {
        return format!("did you mean `{nearest}`?");
    }
    let known: Vec<String> = known.into_iter().map(|word| format!("`{word}`")).collect();
    if known.is_empty() {
        otherwise.to_owned()
    } else {
        format!("{otherwise}: {}", known.join(", "))
    }
}

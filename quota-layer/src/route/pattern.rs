//! Path patterns in axum's syntax: `/a/{id}`, `/a/{*rest}`.

use std::{borrow::Cow, cmp::Ordering};

/// One part of a pattern between slashes, most specific first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Parameter,
    CatchAll,
}

impl Segment {
    fn parse(text: &str) -> Self {
        if text.starts_with("{*") && text.ends_with('}') {
            Self::CatchAll
        } else if text.starts_with('{') && !text.starts_with("{{") && text.ends_with('}') {
            Self::Parameter
        } else {
            Self::Literal(text.replace("{{", "{").replace("}}", "}"))
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::Parameter => 1,
            Self::CatchAll => 2,
        }
    }
}

/// A path pattern; parameter names do not count.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
    shape: String,
}

impl Pattern {
    pub(super) fn parse(path: &str) -> Self {
        let segments: Vec<Segment> = path
            .strip_prefix('/')
            .unwrap_or(path)
            .split('/')
            .map(Segment::parse)
            .collect();
        let shape = segments
            .iter()
            .enumerate()
            .map(|(place, segment)| match segment {
                Segment::Literal(text) => {
                    format!("/{}", text.replace('{', "{{").replace('}', "}}"))
                }
                Segment::Parameter => format!("/{{p{place}}}"),
                Segment::CatchAll => "/{*rest}".to_owned(),
            })
            .collect();
        Self { segments, shape }
    }

    /// The pattern with parameter names that depend on their place alone.
    pub(super) fn shape(&self) -> &str {
        &self.shape
    }

    /// Whether every path of `template` is one of this pattern.
    pub(super) fn covers(&self, template: &Self) -> bool {
        for (place, mine) in self.segments.iter().enumerate() {
            match (mine, template.segments.get(place)) {
                (Segment::CatchAll, Some(_)) => return true,
                (Segment::Parameter, Some(Segment::Parameter | Segment::Literal(_))) => {}
                (Segment::Literal(mine), Some(Segment::Literal(its))) if mine == its => {}
                _ => return false,
            }
        }
        self.segments.len() == template.segments.len()
    }

    /// Whether some path could be one of both.
    pub(super) fn overlaps(&self, template: &Self) -> bool {
        for (place, mine) in self.segments.iter().enumerate() {
            match (mine, template.segments.get(place)) {
                (Segment::CatchAll, Some(_)) | (_, Some(Segment::CatchAll)) => return true,
                (Segment::Literal(mine), Some(Segment::Literal(its))) if mine != its => {
                    return false;
                }
                (_, Some(_)) => {}
                (_, None) => return false,
            }
        }
        self.segments.len() == template.segments.len()
    }

    /// Whether a path, split and decoded, is one of this pattern.
    pub(super) fn matches(&self, path: &[Cow<'_, str>]) -> bool {
        for (place, mine) in self.segments.iter().enumerate() {
            match (mine, path.get(place)) {
                (Segment::CatchAll, Some(rest)) => {
                    return !(rest.is_empty() && place + 1 == path.len());
                }
                (Segment::Parameter, Some(_)) => {}
                (Segment::Literal(mine), Some(its)) if mine == its => {}
                _ => return false,
            }
        }
        self.segments.len() == path.len()
    }

    /// Most specific first: the first part that differs in kind decides, left to right; patterns
    /// of one shape are equal.
    pub(super) fn by_specificity(&self, other: &Self) -> Ordering {
        let kinds =
            |pattern: &Self| -> Vec<u8> { pattern.segments.iter().map(Segment::rank).collect() };
        // Among equals in kind the longer one and the texts only make the order total.
        kinds(self)
            .cmp(&kinds(other))
            .then_with(|| self.segments.cmp(&other.segments))
    }
}

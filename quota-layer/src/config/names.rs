//! Names that one part of the file gives and another refers to.

use std::{borrow::Borrow, fmt::Display, str::FromStr};

use super::{
    findings::{Findings, suggestion},
    node::Place,
    reader::{Item, Keys},
};

/// The quotas or the plans there are.
#[derive(Clone)]
pub(super) struct Names<N> {
    /// What they name.
    what: &'static str,
    known: Vec<N>,
}

impl<N> Names<N>
where
    N: Clone + Borrow<str> + FromStr,
    N::Err: Display,
{
    /// Takes the keys of a table as names, and complains about those that are none.
    pub(super) fn declared(
        what: &'static str,
        section: Option<&Keys<'_>>,
        findings: &mut Findings,
    ) -> Self {
        let items = section.map(Keys::items).unwrap_or_default();
        let mut known = Vec::new();
        for (key, item) in items {
            match key.parse() {
                Ok(name) => known.push(name),
                Err(error) => findings.error(
                    item.key_place,
                    format!("`{key}` cannot be the name of a {what}"),
                    N::Err::to_string(&error),
                ),
            }
        }
        Self { what, known }
    }

    /// Takes names that were checked.
    pub(super) const fn given(what: &'static str, known: Vec<N>) -> Self {
        Self { what, known }
    }

    pub(super) fn known(&self) -> &[N] {
        &self.known
    }

    /// The name that a text refers to.
    pub(super) fn find(&self, text: &str, place: &Place, findings: &mut Findings) -> Option<N> {
        let found = self.known.iter().find(|name| (*name).borrow() == text);
        if found.is_none() {
            let what = self.what;
            findings.error(
                place,
                format!("there is no {what} `{text}`"),
                suggestion(
                    text,
                    self.known.iter().map(Borrow::borrow),
                    &if self.known.is_empty() {
                        format!("add [{what}s.{text}]")
                    } else {
                        format!("add [{what}s.{text}], or use one of")
                    },
                ),
            );
        }
        found.cloned()
    }

    /// The name that a value refers to.
    pub(super) fn resolve(&self, item: &Item<'_>, findings: &mut Findings) -> Option<N> {
        let text = item.text(&format!("{} = \"NAME\"", item.key()), findings)?;
        self.find(text, item.place(), findings)
    }
}

//! Which rule a request falls under.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use http::{Extensions, Method};

use self::{
    path::{EscapedSlash, decoded_segments},
    pattern::Pattern,
};
use crate::{config::Methods, request};

mod path;
mod pattern;

/// How many router templates are remembered; beyond it the rules are compared each time.
const MAX_TEMPLATES: usize = 10_000;

/// What a request is looked up by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) method: &'a Method,
    /// What the router matched, with the prefix of its nests.
    pub(crate) template: Option<&'a str>,
    /// The path as this service sees it.
    pub(crate) path: &'a str,
    /// Where the original path is, which a covered template does not need.
    pub(crate) extensions: &'a Extensions,
}

impl<'a> Target<'a> {
    /// The path as the client sent it.
    pub(crate) fn original_path(self) -> &'a str {
        request::original_path(self.path, self.extensions)
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The rule with this index.
    Rule(usize),
    /// No rule names it.
    Unmatched,
    /// The path is a spelling of one that a charged rule names, and would slip past it.
    Misspelled,
}

/// One pattern of one rule.
#[derive(Debug)]
struct Entry {
    pattern: Pattern,
    methods: Methods,
    rule: usize,
}

/// All rules, most specific first.
#[derive(Debug)]
pub(crate) struct RouteTable {
    entries: Vec<Entry>,
    charged: Vec<bool>,
    by_method: HashMap<Method, PathIndex>,
    other_methods: PathIndex,
    /// Of the templates that rules repeat word by word, as most do.
    repeated: Templates,
    /// Of those that were met.
    met: ArcSwap<Templates>,
}

/// What may apply to each of the router's templates. They come from the application itself, so a
/// fast hash does.
type Templates = HashMap<Arc<str>, Arc<[Candidate]>, foldhash::fast::RandomState>;

/// An entry that may apply to a router's template.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    entry: usize,
    test: Test,
}

/// What is left to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    /// The entry covers all of the template.
    Covered,
    /// It covers part of it: the path decides.
    Path,
}

/// How well an entry's methods name a method, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum MethodMatch {
    Named,
    HeadAsGet,
    Any,
}

impl Methods {
    fn matching(&self, method: &Method) -> Option<MethodMatch> {
        match self {
            Self::Any => Some(MethodMatch::Any),
            Self::Some(named) if named.contains(method) => Some(MethodMatch::Named),
            Self::Some(named) if *method == Method::HEAD && named.contains(&Method::GET) => {
                Some(MethodMatch::HeadAsGet)
            }
            Self::Some(_) => None,
        }
    }
}

impl RouteTable {
    /// Makes a table of `(methods, path, rule)`; `charged` says of each rule whether it charges.
    pub(crate) fn new<'a>(
        patterns: impl Iterator<Item = (&'a Methods, &'a str, usize)>,
        charged: Vec<bool>,
    ) -> Self {
        let patterns: Vec<(&Methods, &str, usize)> = patterns.collect();
        let mut entries: Vec<Entry> = patterns
            .iter()
            .map(|(methods, path, rule)| Entry {
                pattern: Pattern::parse(path),
                methods: Methods::clone(methods),
                rule: *rule,
            })
            .collect();
        entries.sort_by(|a, b| a.pattern.by_specificity(&b.pattern));
        let mut named: Vec<Method> = vec![Method::HEAD];
        for entry in &entries {
            if let Methods::Some(methods) = &entry.methods {
                named.extend(methods.iter().cloned());
            }
        }
        let by_method = named
            .into_iter()
            .map(|method| {
                let index = PathIndex::new(&entries, |methods| methods.matching(&method));
                (method, index)
            })
            .collect();
        let other_methods = PathIndex::new(&entries, |methods| {
            matches!(methods, Methods::Any).then_some(MethodMatch::Any)
        });
        let repeated = patterns
            .iter()
            .map(|(_, path, _)| (Arc::from(*path), candidates(&entries, path)))
            .collect();
        Self {
            entries,
            charged,
            by_method,
            other_methods,
            repeated,
            met: ArcSwap::default(),
        }
    }

    /// The rule that a request falls under.
    pub(crate) fn find(&self, target: Target<'_>) -> Found {
        match target.template {
            Some(template) => self.find_by_template(template, target),
            None => self.find_by_path(target),
        }
    }

    fn find_by_template(&self, template: &str, target: Target<'_>) -> Found {
        if let Some(candidates) = self.repeated.get(template) {
            return self.first_that_applies(candidates, template, target);
        }
        let met = self.met.load();
        if let Some(candidates) = met.get(template) {
            return self.first_that_applies(candidates, template, target);
        }
        let candidates = candidates(&self.entries, template);
        if met.len() < MAX_TEMPLATES {
            self.met.rcu(|met| {
                let mut met = HashMap::clone(met);
                met.insert(template.into(), Arc::clone(&candidates));
                met
            });
        }
        self.first_that_applies(&candidates, template, target)
    }

    /// The most specific candidate, and of those of one shape the one that names the method best.
    fn first_that_applies(
        &self,
        candidates: &[Candidate],
        template: &str,
        target: Target<'_>,
    ) -> Found {
        let mut segments: Option<Vec<Cow<'_, str>>> = None;
        let mut best: Option<(MethodMatch, &Entry)> = None;
        for candidate in candidates {
            let entry = &self.entries[candidate.entry];
            if best.is_some_and(|(_, best)| best.pattern.shape() != entry.pattern.shape()) {
                break;
            }
            let Some(method) = entry.methods.matching(target.method) else {
                continue;
            };
            let applies = candidate.test == Test::Covered
                || entry.pattern.matches(
                    segments.get_or_insert_with(|| routed(template, target.original_path())),
                );
            if applies && best.is_none_or(|(best, _)| method < best) {
                best = Some((method, entry));
            }
        }
        best.map_or(Found::Unmatched, |(_, entry)| Found::Rule(entry.rule))
    }

    fn find_by_path(&self, target: Target<'_>) -> Found {
        let index = self
            .by_method
            .get(target.method)
            .unwrap_or(&self.other_methods);
        let path = target.original_path();
        let found = index.find(path);
        // Servers differ in what they take an escaped slash for, so both count.
        let slips_past = |escaped_slash| {
            path::normalized(path, escaped_slash)
                .and_then(|normal| index.find(&normal))
                .map(|meant| self.entries[meant].rule)
                .is_some_and(|meant| {
                    self.charged[meant]
                        && found.is_none_or(|found| self.entries[found].rule != meant)
                })
        };
        if slips_past(EscapedSlash::Separates) || slips_past(EscapedSlash::Stays) {
            return Found::Misspelled;
        }
        found.map_or(Found::Unmatched, |entry| {
            Found::Rule(self.entries[entry].rule)
        })
    }
}

/// The entries that may apply to a router's template.
fn candidates(entries: &[Entry], template: &str) -> Arc<[Candidate]> {
    let template = Pattern::parse(template);
    let test = |pattern: &Pattern| {
        if pattern.covers(&template) {
            Some(Test::Covered)
        } else {
            pattern.overlaps(&template).then_some(Test::Path)
        }
    };
    entries
        .iter()
        .enumerate()
        .filter_map(|(entry, Entry { pattern, .. })| {
            test(pattern).map(|test| Candidate { entry, test })
        })
        .collect()
}

/// The parts of a path as a router that matched `template` saw them.
///
/// A nested service swallows a slash that the original path keeps, so a path that is not one of
/// the template is taken in its normal form.
fn routed<'a>(template: &str, path: &'a str) -> Vec<Cow<'a, str>> {
    let segments = decoded_segments(path);
    match path::normalized(path, EscapedSlash::Stays) {
        Some(normal) if !Pattern::parse(template).matches(&segments) => decoded_segments(&normal)
            .into_iter()
            .map(|segment| Cow::Owned(segment.into_owned()))
            .collect(),
        _ => segments,
    }
}

/// Entries by raw path, for one method.
///
/// One `matchit` router does not take a parameter and a catch-all in the same place, so what
/// conflicts goes into a further one; the most specific answer of all wins.
#[derive(Debug, Default)]
struct PathIndex {
    routers: Vec<matchit::Router<usize>>,
}

impl PathIndex {
    fn new(entries: &[Entry], rank: impl Fn(&Methods) -> Option<MethodMatch>) -> Self {
        let mut of_shape: HashMap<&str, (MethodMatch, usize)> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let Some(method) = rank(&entry.methods) else {
                continue;
            };
            let shape = entry.pattern.shape();
            if of_shape.get(shape).is_none_or(|(best, _)| method < *best) {
                of_shape.insert(shape, (method, index));
            }
        }
        let mut indexes: Vec<usize> = of_shape.into_values().map(|(_, index)| index).collect();
        indexes.sort_unstable();
        let mut routers: Vec<matchit::Router<usize>> = Vec::new();
        for index in indexes {
            let shape = entries[index].pattern.shape();
            let taken = routers
                .iter_mut()
                .any(|router| router.insert(shape, index).is_ok());
            if !taken {
                let mut router = matchit::Router::new();
                // A path that no router takes can't be asked for either; configuration refuses it.
                if router.insert(shape, index).is_ok() {
                    routers.push(router);
                }
            }
        }
        Self { routers }
    }

    fn find(&self, path: &str) -> Option<usize> {
        self.routers
            .iter()
            .filter_map(|router| router.at(path).ok().map(|found| *found.value))
            .min()
    }
}

#[cfg(test)]
mod tests;

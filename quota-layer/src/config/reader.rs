//! Reading tables key by key, so that no key is forgotten.

use std::ops::RangeInclusive;

use toml::de::DeTable;

use super::{
    findings::{Findings, Problem, nearest, suggestion},
    node::{Entry, Node, Origin, Place, Table, Value},
};

/// A value, and the path of keys that leads to it.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) path: String,
    pub(super) key_place: &'a Place,
    pub(super) node: &'a Node,
}

impl<'a> Item<'a> {
    pub(super) fn place(&self) -> &'a Place {
        &self.node.place
    }

    /// The last key of the path.
    pub(super) fn key(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// Notes that the value is not what it has to be.
    pub(super) fn refuse_kind(&self, what: &str, example: &str, findings: &mut Findings) {
        findings.error(
            self.place(),
            format!("`{}` is {what}, not {}", self.path, self.node.kind()),
            format!("write it like {example}"),
        );
    }

    pub(super) fn text(&self, example: &str, findings: &mut Findings) -> Option<&'a str> {
        if let Value::String(text) = &self.node.value {
            return Some(text);
        }
        self.refuse_kind("a text", &format!("`{example}`"), findings);
        None
    }

    /// A text with something in it.
    pub(super) fn words(&self, example: &str, findings: &mut Findings) -> Option<&'a str> {
        let text = self.text(example, findings)?;
        if text.trim().is_empty() {
            findings.error(
                self.place(),
                format!("`{}` is empty", self.path),
                format!("write it like `{example}`, or leave the key out"),
            );
            return None;
        }
        Some(text)
    }

    pub(super) fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        if let Value::Boolean(boolean) = self.node.value {
            return Some(boolean);
        }
        self.refuse_kind(
            "true or false",
            &format!("`{} = true`", self.key()),
            findings,
        );
        None
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        words: &[(&'static str, T)],
        findings: &mut Findings,
    ) -> Option<T> {
        let first = words.first().map_or("", |(word, _)| word);
        let text = self.text(&format!("{} = \"{first}\"", self.key()), findings)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        findings.error(
            self.place(),
            format!("`{}` cannot be `{text}`", self.path),
            suggestion(text, words.iter().map(|(word, _)| *word), "it is one of"),
        );
        None
    }

    /// A whole number in a range.
    pub(super) fn whole(&self, range: RangeInclusive<u64>, findings: &mut Findings) -> Option<u64> {
        let Value::Integer(integer) = self.node.value else {
            let example = format!("`{} = {}`", self.key(), range.start());
            self.refuse_kind("a whole number", &example, findings);
            return None;
        };
        let number = u64::try_from(integer).ok().filter(|n| range.contains(n));
        if number.is_none() {
            findings.error(
                self.place(),
                format!("`{}` is out of range", self.path),
                format!("it goes from {} to {}", range.start(), range.end()),
            );
        }
        number
    }

    /// A value that is written as text and has a grammar of its own.
    pub(super) fn parsed<T>(
        &self,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
        findings: &mut Findings,
    ) -> Option<T> {
        let text = self.text(&format!("{} = \"{example}\"", self.key()), findings)?;
        let result = parse(text).map_err(|problem| problem.at(&self.path));
        findings.keep(self.place(), result)
    }

    pub(super) fn list(&self, example: &str, findings: &mut Findings) -> Option<Vec<Self>> {
        let Value::List(nodes) = &self.node.value else {
            self.refuse_kind("a list", &format!("`{} = {example}`", self.key()), findings);
            return None;
        };
        Some(self.items_of(nodes))
    }

    /// A list, or a single value that stands for a list of one.
    pub(super) fn one_or_more(&self) -> Vec<Self> {
        match &self.node.value {
            Value::List(nodes) => self.items_of(nodes),
            _ => vec![self.clone()],
        }
    }

    fn items_of(&self, nodes: &'a [Node]) -> Vec<Self> {
        nodes
            .iter()
            .map(|node| Item {
                path: self.path.clone(),
                key_place: &node.place,
                node,
            })
            .collect()
    }

    pub(super) fn table(&self, findings: &mut Findings) -> Option<Keys<'a>> {
        let Value::Table(table) = &self.node.value else {
            let example = format!("`[{}]` and its keys below", self.path);
            self.refuse_kind("a table", &example, findings);
            return None;
        };
        Some(Keys::new(self.path.clone(), self.key_place, table))
    }
}

/// The keys of one table; those that nobody takes are unknown.
pub(super) struct Keys<'a> {
    pub(super) path: String,
    /// The table's own key.
    pub(super) place: &'a Place,
    table: &'a Table,
    known: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    pub(super) const fn new(path: String, place: &'a Place, table: &'a Table) -> Self {
        Self {
            path,
            place,
            table,
            known: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.push(key);
        self.table.get(key).map(|entry| self.item(entry))
    }

    /// Takes a key that only later versions know; nothing but its default is accepted.
    pub(super) fn later(
        &mut self,
        key: &'static str,
        default: Option<&str>,
        findings: &mut Findings,
    ) {
        let Some(item) = self.take(key) else {
            return;
        };
        let asks_for_nothing = default.is_some_and(|default| {
            literal(default).is_some_and(|default| default.says_the_same(item.node))
        });
        if !asks_for_nothing {
            let hint = default
                .filter(|default| !matches!(*default, "[]" | "{}"))
                .map_or_else(
                    || "leave it out".to_owned(),
                    |default| format!("leave it out, or write {key} = {default}"),
                );
            not_supported(&item, hint, findings);
        }
    }

    /// Every key with its value, for tables whose keys people choose.
    pub(super) fn items(&self) -> Vec<(&'a str, Item<'a>)> {
        self.table
            .entries
            .iter()
            .map(|entry| (entry.key.as_str(), self.item(entry)))
            .collect()
    }

    /// Complains about the keys that were not taken.
    pub(super) fn finish(self, findings: &mut Findings) {
        for entry in &self.table.entries {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            let place = if self.path.is_empty() {
                "at the top level".to_owned()
            } else {
                format!("in `{}`", self.path)
            };
            findings.error(
                &entry.key_place,
                format!("there is no key `{}` {place}", entry.key),
                self.hint_for(&entry.key),
            );
        }
    }

    fn hint_for(&self, key: &str) -> String {
        const TOP: [&str; 2] = ["unmatched", "enforcement"];
        let known = self.known.iter().copied();
        if nearest(key, known.clone()).is_none() && TOP.contains(&key) {
            return format!("`{key}` belongs above the first `[table]` of the file");
        }
        suggestion(key, known, "the keys here are")
    }

    fn item(&self, entry: &'a Entry) -> Item<'a> {
        let key = if is_bare(&entry.key) {
            entry.key.clone()
        } else {
            format!("{:?}", entry.key)
        };
        let path = if self.path.is_empty() {
            key
        } else {
            format!("{}.{key}", self.path)
        };
        Item {
            path,
            key_place: &entry.key_place,
            node: &entry.node,
        }
    }
}

impl Problem {
    /// Says which key it is about.
    pub(super) fn at(self, path: &str) -> Self {
        Self {
            message: format!("`{path}`: {}", self.message),
            ..self
        }
    }
}

/// Complains about something that only later versions know.
pub(super) fn not_supported(item: &Item<'_>, hint: impl Into<String>, findings: &mut Findings) {
    findings.error(
        item.key_place,
        format!("`{}` is not supported yet", item.path),
        hint,
    );
}

fn is_bare(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn literal(value: &str) -> Option<Node> {
    let text = format!("default = {value}");
    let document = DeTable::parse(&text).ok()?;
    let table = Table::from_toml(document.get_ref(), Origin::File);
    table.get("default").map(|entry| entry.node.clone())
}

//! What a handler says of a charge besides its amounts.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};

use super::QuotaHandle;
use crate::metrics;

/// The names that tags may have.
const NAMES: [&str; 6] = ["goal", "task", "conversation", "model", "intent", "tools"];

/// How long a tag may be, in characters.
const MAX_LENGTH: usize = 64;

/// How much metadata one charge may have.
const MAX_METADATA: usize = 16;
const MAX_METADATA_BYTES: usize = 4_096;

/// How deep a value may be nested. What is much deeper JSON readers refuse to read.
const MAX_DEPTH: usize = 32;

/// What the ledger keeps of them.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) metadata: Map<String, Value>,
}

impl QuotaHandle {
    /// Attaches a tag to the charge, by which usage can be told apart later; said again, the last
    /// value counts.
    ///
    /// Names are `goal`, `task`, `conversation`, `model`, `intent` and `tools`, values have at most
    /// 64 characters. Others change nothing: each is an error in the log and a metric.
    pub fn tag(&self, name: &str, value: impl fmt::Display) {
        let value = value.to_string();
        let problem = if !NAMES.contains(&name) {
            "no tag has this name"
        } else if value.chars().count() > MAX_LENGTH {
            "the value is longer than 64 characters"
        } else {
            return self.remark(|remarks| drop(remarks.tags.insert(name.to_owned(), value)));
        };
        tracing::error!(target: "quota::report", name, problem, "a handler's tag is left out");
        metrics::report_ignored("tag");
    }

    /// Attaches something to the record of the charge, as JSON; said again, the last value counts.
    ///
    /// A charge has at most 16 of them, of 4 KiB together, and none is nested deeper than 32 levels.
    /// More change nothing: each is an error in the log and a metric.
    pub fn metadata(&self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        if is_deeper(&value, MAX_DEPTH) {
            tracing::error!(
                target: "quota::report",
                name,
                "a handler's metadata is left out: it is nested deeper than 32 levels"
            );
            return metrics::report_ignored("metadata");
        }
        self.remark(|remarks| {
            let before = remarks.metadata.insert(name.to_owned(), value);
            let is_too_much = remarks.metadata.len() > MAX_METADATA
                || Value::Object(remarks.metadata.clone()).to_string().len() > MAX_METADATA_BYTES;
            if is_too_much {
                match before {
                    Some(before) => drop(remarks.metadata.insert(name.to_owned(), before)),
                    None => drop(remarks.metadata.remove(name)),
                }
                tracing::error!(
                    target: "quota::report",
                    name,
                    "a handler's metadata is left out: a charge has at most 16 values of 4 KiB \
                     together"
                );
                metrics::report_ignored("metadata");
            }
        });
    }

    /// Takes what was remarked so far.
    pub(crate) fn take_remarks(&self) -> Remarks {
        let taken = self.reports().remarks.take();
        taken.map_or_else(Remarks::default, |remarks| *remarks)
    }

    fn remark(&self, change: impl FnOnce(&mut Remarks)) {
        let mut reports = self.reports();
        if reports.is_closed {
            drop(reports);
            tracing::warn!(
                target: "quota::report",
                "a handler tagged its charge after it had answered; nothing is recorded of it"
            );
            return metrics::report_ignored("late");
        }
        change(reports.remarks.get_or_insert_default());
    }
}

/// Whether lists and objects are nested deeper than this.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let inside = |value| is_deeper(value, levels.saturating_sub(1));
    match value {
        Value::Array(values) => levels == 0 || values.iter().any(inside),
        Value::Object(fields) => levels == 0 || fields.values().any(inside),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_nested_as_deep_as_said() {
        for (levels, deeper) in [(0, false), (1, false), (32, false), (33, true), (500, true)] {
            let nest = |value, level: usize| match level % 2 {
                0 => serde_json::json!([value]),
                _ => serde_json::json!({ "in": value }),
            };
            let value = (0..levels).fold(Value::from(1), nest);
            assert_eq!(is_deeper(&value, MAX_DEPTH), deeper, "{levels}");
        }
    }
}

//! Keys and tables that only later versions know: accepted where they ask for nothing.

use super::{
    findings::Findings,
    node::Value,
    reader::{Keys, not_supported},
};

/// Takes them from the top level.
pub(super) fn read(root: &mut Keys<'_>, findings: &mut Findings) {
    root.later("enforcement", Some("\"on\""), findings);
    section(
        root,
        "tags",
        &[
            (
                "names",
                "[\"goal\", \"task\", \"conversation\", \"model\", \"intent\", \"tools\"]",
            ),
            ("max_length", "64"),
        ],
        findings,
    );
    prices(root, findings);
    section(root, "log", &[("user", "\"hash\"")], findings);
}

fn section(
    root: &mut Keys<'_>,
    name: &'static str,
    defaults: &[(&'static str, &str)],
    findings: &mut Findings,
) {
    let Some(mut keys) = root.take(name).and_then(|item| item.table(findings)) else {
        return;
    };
    for (key, default) in defaults {
        keys.later(key, Some(default), findings);
    }
    keys.finish(findings);
}

fn prices(root: &mut Keys<'_>, findings: &mut Findings) {
    let Some(mut keys) = root.take("prices").and_then(|item| item.table(findings)) else {
        return;
    };
    keys.later("currency", Some("\"USD\""), findings);
    let mut models = false;
    for (_, item) in keys.items() {
        if matches!(item.node.value, Value::Table(_)) {
            not_supported(&item, "leave it out", findings);
            models = true;
        }
    }
    if !models {
        keys.finish(findings);
    }
}

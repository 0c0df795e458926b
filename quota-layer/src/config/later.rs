//! Keys and tables that only later versions know: accepted where they ask for nothing.

use super::{
    findings::Findings,
    node::Value,
    reader::{Keys, not_supported},
};

/// Takes them from the top level.
pub(super) fn read(root: &mut Keys<'_>, findings: &mut Findings) {
    root.later("enforcement", Some("\"on\""), findings);
    ledger(root, findings);
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

fn ledger(root: &mut Keys<'_>, findings: &mut Findings) {
    let Some(item) = root.take("ledger") else {
        return;
    };
    let Some(mut keys) = item.table(findings) else {
        return;
    };
    if keys.take("url").is_none() {
        let hint = "leave it out, or write url = \"none\": counters are in the store only";
        not_supported(&item, hint, findings);
    }
    let defaults = [
        ("url", "\"none\""),
        ("durability", "\"process\""),
        ("record", "\"each\""),
        ("denials", "\"sampled\""),
        ("retention", "\"400d\""),
        ("backlog", "1000000"),
        ("on_backlog_full", "\"deny\""),
        ("client_ip", "false"),
        ("user_agent", "false"),
    ];
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

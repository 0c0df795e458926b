//! `[[routes]]`.

use std::ops::RangeInclusive;

use quota_store::QuotaName;

use super::{
    charges::{self, NamedCharges},
    findings::{Findings, Problem},
    identity::refuse_empty,
    names::Names,
    node::{Place, Value},
    pattern,
    reader::{Item, Keys, not_supported},
    settings::{Rule, RuleAction, RulePattern, Success},
    store,
};

/// What rules refer to.
pub(super) struct Defaults<'a> {
    pub(super) quotas: &'a Names<QuotaName>,
    pub(super) charges: &'a NamedCharges<'a>,
}

/// Reads every rule.
pub(super) fn read(
    root: &mut Keys<'_>,
    defaults: &Defaults<'_>,
    findings: &mut Findings,
) -> Vec<Rule> {
    let Some(item) = root.take("routes") else {
        return Vec::new();
    };
    if !matches!(item.node.value, Value::List(_)) {
        findings.error(
            item.key_place,
            format!("`routes` is a list of tables, not {}", item.node.kind()),
            "begin each rule with [[routes]], in two brackets",
        );
        return Vec::new();
    }
    let mut seen: Vec<(RulePattern, Place)> = Vec::new();
    item.one_or_more()
        .iter()
        .filter_map(|item| read_rule(item, defaults, &mut seen, findings))
        .collect()
}

fn read_rule(
    item: &Item<'_>,
    defaults: &Defaults<'_>,
    seen: &mut Vec<(RulePattern, Place)>,
    findings: &mut Findings,
) -> Option<Rule> {
    let mut keys = item.table(findings)?;
    let patterns = if let Some(item) = keys.take("match") {
        patterns(&item, seen, findings)
    } else {
        findings.error(
            item.place(),
            "the rule does not say what it matches",
            "add match = \"POST /api/v1/chat\"",
        );
        Vec::new()
    };
    let action = action(&mut keys, item.place(), defaults, findings);
    let success_item = keys.take("success");
    let exempt = matches!(action, Some(RuleAction::Exempt));
    let success = success_item
        .as_ref()
        .and_then(|item| success(item, findings));
    let settle = store::settle(&mut keys, findings);
    let on_failure = store::on_failure(&mut keys, findings);
    keys.later("tags", Some("{}"), findings);
    keys.later("feature", None, findings);
    keys.later("per", None, findings);
    keys.later("idempotency", Some("\"off\""), findings);
    keys.later("shadow", Some("false"), findings);
    keys.finish(findings);
    if exempt && (success.is_some() || settle.is_some() || on_failure.is_some()) {
        findings.warning(
            item.place(),
            "an exempt rule does not use `success`, `settle` and `on_failure`",
        );
    }
    Some(Rule {
        patterns,
        action: action?,
        success: success.unwrap_or_default(),
        settle,
        on_failure,
    })
}

fn patterns(
    item: &Item<'_>,
    seen: &mut Vec<(RulePattern, Place)>,
    findings: &mut Findings,
) -> Vec<RulePattern> {
    refuse_empty(item, "write match = \"POST /api/v1/chat\"", findings);
    let mut patterns = Vec::new();
    for entry in item.one_or_more() {
        let Some(text) = entry.text("match = \"POST /api/v1/chat\"", findings) else {
            continue;
        };
        let Some(pattern) = findings.keep(entry.place(), pattern::parse(text)) else {
            continue;
        };
        let other = seen
            .iter()
            .find(|(other, _)| pattern::collide(&pattern, other));
        if let Some((other, place)) = other {
            findings.error_with_other(
                entry.place(),
                (place, "the other rule"),
                Problem::new(
                    format!("`{text}` matches the same requests as `{}`", other.path),
                    "keep one of them: names of parameters do not tell rules apart",
                ),
            );
        }
        seen.push((pattern.clone(), entry.place().clone()));
        patterns.push(pattern);
    }
    patterns
}

fn action(
    keys: &mut Keys<'_>,
    place: &Place,
    defaults: &Defaults<'_>,
    findings: &mut Findings,
) -> Option<RuleAction> {
    let charge = keys.take("charge");
    let exempt_item = keys.take("exempt");
    let exempt = exempt_item
        .as_ref()
        .map_or(Some(false), |item| item.boolean(findings))?;
    if let (true, Some(charge), Some(exempt)) = (exempt, &charge, &exempt_item) {
        findings.error_with_other(
            exempt.key_place,
            (charge.key_place, "the charge"),
            Problem::new(
                "the rule is exempt and charges",
                "leave out exempt, or the charge",
            ),
        );
    }
    let Some(charge) = charge else {
        if exempt {
            return Some(RuleAction::Exempt);
        }
        findings.error(
            place,
            "the rule neither charges nor is exempt",
            "add charge = { messages = 1 } or so, or exempt = true",
        );
        return None;
    };
    let items = charges::read(&charge, defaults.charges, defaults.quotas, findings);
    Some(RuleAction::Charge(items))
}

fn success(item: &Item<'_>, findings: &mut Findings) -> Option<Success> {
    const EXAMPLE: &str = "[\"2xx\"]";
    refuse_empty(
        item,
        "a rule that is never a success would never charge: write [\"2xx\"]",
        findings,
    );
    let mut ranges = Vec::new();
    for entry in item.list(EXAMPLE, findings)? {
        let Some(text) = entry.text(EXAMPLE, findings) else {
            continue;
        };
        if text == "grpc" {
            let named = Item {
                path: "success = \"grpc\"".to_owned(),
                key_place: entry.place(),
                node: entry.node,
            };
            not_supported(
                &named,
                "name statuses, such as \"2xx\" or \"304\"",
                findings,
            );
            continue;
        }
        if let Some(range) = statuses(text) {
            ranges.push(range);
        } else {
            findings.error(
                entry.place(),
                format!("`{text}` is not a status"),
                "write \"2xx\", \"304\" or \"200-299\"; statuses go from 100 to 599",
            );
        }
    }
    Some(Success { ranges })
}

fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let status = |text: &str| {
        (text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<u16>().ok())
            .flatten()
            .filter(|status| (100..=599).contains(status))
    };
    if let Some(class) = text.strip_suffix("xx") {
        let first = status(&format!("{class}00"))?;
        return Some(first..=first + 99);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then_some(first..=last)
}

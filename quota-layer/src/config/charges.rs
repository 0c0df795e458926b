//! Charges: those with a name in `[charges]`, and those that a rule writes itself.

use std::cell::Cell;

use quota_store::{Amount, QuotaName};

use super::{
    amount::{amount, parse_amount},
    findings::{Findings, Problem, suggestion},
    names::Names,
    node::{Place, Value},
    reader::{Item, Keys, not_supported},
    settings::{Actual, ChargeItem},
};

const EXAMPLE: &str = "charge = { messages = 1 }";

/// The charges that have a name.
pub(super) struct NamedCharges<'a>(Vec<NamedCharge<'a>>);

struct NamedCharge<'a> {
    name: &'a str,
    place: &'a Place,
    items: Vec<ChargeItem>,
    used: Cell<bool>,
}

impl<'a> NamedCharges<'a> {
    pub(super) fn read(
        section: Option<&Keys<'a>>,
        quotas: &Names<QuotaName>,
        findings: &mut Findings,
    ) -> Self {
        let items = section.map(Keys::items).unwrap_or_default();
        let charges = items
            .into_iter()
            .map(|(name, item)| NamedCharge {
                name,
                place: item.key_place,
                items: read_items(&item, quotas, findings),
                used: Cell::new(false),
            })
            .collect();
        Self(charges)
    }

    fn find(&self, name: &str, place: &Place, findings: &mut Findings) -> Vec<ChargeItem> {
        if let Some(charge) = self.0.iter().find(|charge| charge.name == name) {
            charge.used.set(true);
            return charge.items.clone();
        }
        let otherwise = if self.0.is_empty() {
            format!("add [charges.{name}], or write {EXAMPLE}")
        } else {
            "the charges with a name are".to_owned()
        };
        findings.error(
            place,
            format!("there is no charge `{name}`"),
            suggestion(name, self.0.iter().map(|charge| charge.name), &otherwise),
        );
        Vec::new()
    }

    pub(super) fn warn_unused(&self, findings: &mut Findings) {
        for charge in self.0.iter().filter(|charge| !charge.used.get()) {
            findings.warning(
                charge.place,
                format!("no rule uses the charge `{}`", charge.name),
            );
        }
    }
}

/// Reads the `charge` of a rule: a name, or what it costs.
pub(super) fn read(
    item: &Item<'_>,
    named: &NamedCharges<'_>,
    quotas: &Names<QuotaName>,
    findings: &mut Findings,
) -> Vec<ChargeItem> {
    match &item.node.value {
        Value::String(name) => named.find(name, item.place(), findings),
        Value::Table(_) => read_items(item, quotas, findings),
        _ => {
            let what = "the name of a charge, or a table";
            item.refuse_kind(what, &format!("`{EXAMPLE}`"), findings);
            Vec::new()
        }
    }
}

fn read_items(
    item: &Item<'_>,
    quotas: &Names<QuotaName>,
    findings: &mut Findings,
) -> Vec<ChargeItem> {
    let Some(keys) = item.table(findings) else {
        return Vec::new();
    };
    let items = keys.items();
    if items.is_empty() {
        findings.error(
            item.place(),
            format!("`{}` charges nothing", item.path),
            format!("write {EXAMPLE}; a rule that charges nothing says exempt = true"),
        );
    }
    items
        .into_iter()
        .filter_map(|(key, item)| {
            let quota = quotas.find(key, item.key_place, findings);
            let cost = Cost::read(&item, findings);
            let (quota, cost) = (quota?, cost?);
            Some(ChargeItem {
                quota,
                reserve: cost.reserve,
                max: cost.max,
                actual: cost.actual,
            })
        })
        .collect()
}

/// What a request costs of a quota.
struct Cost {
    reserve: Amount,
    max: Option<Amount>,
    actual: Actual,
}

impl Cost {
    fn read(item: &Item<'_>, findings: &mut Findings) -> Option<Self> {
        if !matches!(item.node.value, Value::Table(_)) {
            return Some(Self {
                reserve: amount(item, findings)?,
                max: None,
                actual: Actual::Reserved,
            });
        }
        let mut keys = item.table(findings)?;
        let reserve_item = keys.take("reserve");
        if reserve_item.is_none() {
            findings.error(
                item.place(),
                format!("`{}` does not say how much to reserve", item.path),
                "add it: { reserve = 500, ... }",
            );
        }
        let reserve = reserve_item.as_ref().map(|item| reserve(item, findings));
        let max = match keys.take("max") {
            Some(item) => Some(amount(&item, findings)?),
            None => None,
        };
        let actual = keys
            .take("actual")
            .map_or(Some(Actual::Reserved), |item| actual(&item, findings));
        keys.later("extend", None, findings);
        keys.later("at_limit", Some("\"cut\""), findings);
        keys.finish(findings);
        let reserve = reserve??;
        if let (Some(max), Some(item)) = (max, reserve_item)
            && reserve > max
        {
            findings.error(
                item.place(),
                format!("`{}` is more than `max`", item.path),
                "every request would be cut off: raise max, or reserve less",
            );
        }
        Some(Self {
            reserve,
            max,
            actual: actual?,
        })
    }
}

fn reserve(item: &Item<'_>, findings: &mut Findings) -> Option<Amount> {
    let Value::String(text) = &item.node.value else {
        return amount(item, findings);
    };
    if text.starts_with("content-length") || is_place(text) {
        refuse_later(item, text, "write a number of units", findings);
        return None;
    }
    let result = parse_amount(text).map_err(|problem| problem.at(&item.path));
    findings.keep(item.place(), result)
}

fn actual(item: &Item<'_>, findings: &mut Findings) -> Option<Actual> {
    let hint = "write \"reserved\", or \"handler\" and let the handler report it";
    match &item.node.value {
        Value::String(text) => match text.as_str() {
            "reserved" => Some(Actual::Reserved),
            "handler" => Some(Actual::Handler),
            "request-bytes" | "response-bytes" => {
                refuse_later(item, text, hint, findings);
                None
            }
            place if is_place(place) => {
                refuse_later(item, text, hint, findings);
                None
            }
            _ => {
                let problem = Problem::new(
                    format!("`{}` cannot be `{text}`", item.path),
                    suggestion(text, ["reserved", "handler"], hint),
                );
                findings.problem(item.place(), problem);
                None
            }
        },
        Value::List(_) => {
            findings.error(
                item.place(),
                format!("a list in `{}` is not supported yet", item.path),
                hint,
            );
            None
        }
        _ => {
            item.refuse_kind("a text", "`actual = \"handler\"`", findings);
            None
        }
    }
}

/// Whether it is a place in a request or an answer, which only later versions look at.
fn is_place(text: &str) -> bool {
    text.starts_with("header:") || text.starts_with("json:")
}

fn refuse_later(item: &Item<'_>, value: &str, hint: &str, findings: &mut Findings) {
    let named = Item {
        path: format!("{} = {value:?}", item.key()),
        key_place: item.place(),
        node: item.node,
    };
    not_supported(&named, hint, findings);
}

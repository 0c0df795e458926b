//! `[quotas]`.

use std::collections::BTreeMap;

use quota_store::{QuotaName, Text};

use super::{
    findings::Findings,
    ledger,
    reader::{Item, Keys},
    settings::{QuotaConfig, Record, UnitForms},
    text,
};

/// Reads every quota whose name is one.
pub(super) fn read(section: Option<&Keys<'_>>, findings: &mut Findings) -> Vec<QuotaConfig> {
    let items = section.map(Keys::items).unwrap_or_default();
    items
        .into_iter()
        .filter_map(|(key, item)| {
            let quota = read_quota(&item, findings);
            Some((QuotaName::new(key).ok()?, quota?))
        })
        .map(|(name, quota)| quota.named(name))
        .collect()
}

/// What the file says of a quota, defaults still open.
struct QuotaText {
    units: Option<BTreeMap<String, UnitForms>>,
    title: Option<Text>,
    record: Option<Record>,
}

fn read_quota(item: &Item<'_>, findings: &mut Findings) -> Option<QuotaText> {
    let mut keys = item.table(findings)?;
    let units = keys
        .take("unit")
        .and_then(|item| text::unit(&item, findings));
    let title = keys
        .take("title")
        .and_then(|item| text::text(&item, findings));
    keys.later("kind", Some("\"flow\""), findings);
    keys.later("mode", Some("\"exact\""), findings);
    let record = ledger::record(&mut keys, findings);
    keys.finish(findings);
    Some(QuotaText {
        units,
        title,
        record,
    })
}

impl QuotaText {
    fn named(self, name: QuotaName) -> QuotaConfig {
        let units = self.units.unwrap_or_default();
        let english = ["en", ""]
            .iter()
            .find_map(|language| units.get(*language))
            .or_else(|| units.values().next());
        let (unit_one, unit_other) = english.map_or_else(
            || ("unit".to_owned(), "units".to_owned()),
            |forms| (forms.one.clone(), forms.other.clone()),
        );
        let title = self
            .title
            .unwrap_or_else(|| Text(BTreeMap::from([(String::new(), spoken(name.as_str()))])));
        QuotaConfig {
            name,
            unit_one,
            unit_other,
            units,
            title,
            record: self.record,
        }
    }
}

/// `output_tokens` as people read it: "Output tokens".
fn spoken(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + letters.as_str()
    })
}

//! One plan, as the file writes it.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use quota_store::{
    Amount, Availability, Orphans, Percent, Periods, PlanDisplay, PlanName, Price, QuotaName,
    Unlisted, Visible,
};

use super::{
    amount::amount,
    findings::{Findings, Problem, nearest},
    limits::{self, WrittenLimits},
    names::Names,
    node::{Place, Value},
    reader::{Item, Keys},
    store, text,
};

/// A plan without what it inherits.
pub(super) struct WrittenPlan {
    pub(super) name: PlanName,
    /// Where it says that it is the default.
    pub(super) default: Option<Place>,
    pub(super) extends: Option<(PlanName, Place)>,
    pub(super) limits: Vec<WrittenLimits>,
    pub(super) tenant_limits: Vec<WrittenLimits>,
    pub(super) reserve: BTreeMap<QuotaName, Amount>,
    pub(super) grace: Option<Percent>,
    pub(super) warn_at: Option<Vec<Percent>>,
    pub(super) timezone: Option<TimeZone>,
    pub(super) unlisted: Option<Unlisted>,
    pub(super) standing: WrittenStanding,
    pub(super) display: PlanDisplay,
}

/// What a plan says besides its limits; nothing but the features is inherited.
pub(super) struct WrittenStanding {
    pub(super) periods: Periods,
    pub(super) orphans: Option<Orphans>,
    pub(super) features: Option<Vec<String>>,
    /// With the place where it says that it is disabled.
    pub(super) disabled: Option<Place>,
}

impl WrittenStanding {
    pub(super) const fn availability(&self) -> Availability {
        match self.disabled {
            Some(_) => Availability::Disabled,
            None => Availability::Enabled,
        }
    }
}

/// What plans refer to.
pub(super) struct PlanNamesAndQuotas<'a> {
    pub(super) plans: &'a Names<PlanName>,
    pub(super) quotas: &'a Names<QuotaName>,
}

/// Reads every plan whose name is one.
pub(super) fn read(
    section: Option<&Keys<'_>>,
    known: &PlanNamesAndQuotas<'_>,
    findings: &mut Findings,
) -> Vec<WrittenPlan> {
    let items = section.map(Keys::items).unwrap_or_default();
    items
        .into_iter()
        .filter_map(|(key, item)| {
            let name = PlanName::new(key).ok();
            let mut keys = item.table(findings)?;
            let plan = read_plan(&mut keys, name, known, findings);
            keys.finish(findings);
            plan
        })
        .collect()
}

fn read_plan(
    keys: &mut Keys<'_>,
    name: Option<PlanName>,
    known: &PlanNamesAndQuotas<'_>,
    findings: &mut Findings,
) -> Option<WrittenPlan> {
    keys.later("rates", Some("{}"), findings);
    let default = keys
        .take("default")
        .and_then(|item| item.boolean(findings)?.then(|| item.key_place.clone()));
    let extends = keys.take("extends").and_then(|item| {
        let parent = known.plans.resolve(&item, findings)?;
        Some((parent, item.place().clone()))
    });
    let mut limits = |key| {
        keys.take(key)
            .map(|item| limits::read(&item, known.quotas, findings))
            .unwrap_or_default()
    };
    let (limits, tenant_limits) = (limits("limits"), limits("tenant_limits"));
    let reserve = keys
        .take("reserve")
        .map(|item| reserve(&item, known.quotas, findings));
    let grace = keys
        .take("grace")
        .and_then(|item| limits::grace(&item, findings));
    let warn_at = keys
        .take("warn_at")
        .and_then(|item| limits::warn_at(&item, findings));
    let timezone = keys
        .take("timezone")
        .and_then(|item| timezone(&item, findings));
    let unlisted = keys.take("unlisted").and_then(|item| {
        let words = [("deny", Unlisted::Deny), ("unlimited", Unlisted::Unlimited)];
        item.choice(&words, findings)
    });
    let standing = standing(keys, findings);
    let display = display(keys, findings);
    Some(WrittenPlan {
        name: name?,
        default,
        extends,
        limits,
        tenant_limits,
        reserve: reserve.unwrap_or_default(),
        grace,
        warn_at,
        timezone,
        unlisted,
        standing,
        display,
    })
}

fn standing(keys: &mut Keys<'_>, findings: &mut Findings) -> WrittenStanding {
    WrittenStanding {
        periods: keys
            .take("anchor")
            .and_then(|item| {
                let words = [
                    ("calendar", Periods::Calendar),
                    ("subscription", Periods::Subscription),
                ];
                item.choice(&words, findings)
            })
            .unwrap_or_default(),
        orphans: keys
            .take("orphans")
            .and_then(|item| store::orphans(&item, findings)),
        features: keys
            .take("features")
            .and_then(|item| features(&item, findings)),
        disabled: keys.take("enabled").and_then(|item| {
            let enabled = item.boolean(findings)?;
            (!enabled).then(|| item.key_place.clone())
        }),
    }
}

fn features(item: &Item<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    const EXAMPLE: &str = "[\"document_sourcing\"]";
    let mut features: Vec<String> = Vec::new();
    for entry in item.list(EXAMPLE, findings)? {
        let Some(feature) = entry.words(&format!("features = {EXAMPLE}"), findings) else {
            continue;
        };
        if features.iter().any(|known| known == feature) {
            findings.error(
                entry.place(),
                format!("`{}` names `{feature}` twice", item.path),
                "leave one out",
            );
        } else {
            features.push(feature.to_owned());
        }
    }
    Some(features)
}

fn reserve(
    item: &Item<'_>,
    quotas: &Names<QuotaName>,
    findings: &mut Findings,
) -> BTreeMap<QuotaName, Amount> {
    let Some(keys) = item.table(findings) else {
        return BTreeMap::new();
    };
    keys.items()
        .into_iter()
        .filter_map(|(key, item)| {
            let quota = quotas.find(key, item.key_place, findings);
            let amount = amount(&item, findings);
            Some((quota?, amount?))
        })
        .collect()
}

fn timezone(item: &Item<'_>, findings: &mut Findings) -> Option<TimeZone> {
    item.parsed(
        "Europe/Paris",
        |name| {
            TimeZone::get(name).map_err(|_| {
                let known: Vec<String> = jiff::tz::db()
                    .available()
                    .map(|name| name.as_str().to_owned())
                    .collect();
                let hint = nearest(name, known.iter().map(String::as_str)).map_or_else(
                    || "write a name of the IANA database, such as \"Africa/Douala\"".to_owned(),
                    |nearest| format!("did you mean `{nearest}`?"),
                );
                Problem::new(format!("there is no time zone `{name}`"), hint)
            })
        },
        findings,
    )
}

fn display(keys: &mut Keys<'_>, findings: &mut Findings) -> PlanDisplay {
    PlanDisplay {
        title: keys
            .take("title")
            .and_then(|item| text::text(&item, findings)),
        description: keys
            .take("description")
            .and_then(|item| text::text(&item, findings)),
        price: keys.take("price").and_then(|item| price(&item, findings)),
        order: keys
            .take("order")
            .and_then(|item| order(&item, findings))
            .unwrap_or_default(),
        visible: match keys.take("visible").and_then(|item| item.boolean(findings)) {
            Some(false) => Visible::Hidden,
            Some(true) | None => Visible::Shown,
        },
    }
}

fn order(item: &Item<'_>, findings: &mut Findings) -> Option<i64> {
    let Value::Integer(integer) = item.node.value else {
        item.refuse_kind("a whole number", "`order = 1`", findings);
        return None;
    };
    let order = i64::try_from(integer).ok();
    if order.is_none() {
        findings.error(
            item.place(),
            format!("`{}` is out of range", item.path),
            "small numbers such as 1, 2 and 3 are enough",
        );
    }
    order
}

fn price(item: &Item<'_>, findings: &mut Findings) -> Option<Price> {
    const EXAMPLE: &str = "price = { amount = \"9.90\", currency = \"EUR\", per = \"month\" }";
    let mut keys = item.table(findings)?;
    let mut word = |key, fits: fn(&str) -> bool, hint: &str| {
        let Some(part) = keys.take(key) else {
            findings.error(
                item.place(),
                format!("`{}` has no `{key}`", item.path),
                format!("write it like {EXAMPLE}"),
            );
            return None;
        };
        let text = part.words(EXAMPLE, findings)?;
        if !fits(text) {
            findings.error(
                part.place(),
                format!("`{}` cannot be `{text}`", part.path),
                hint,
            );
        }
        Some(text.to_owned())
    };
    let amount = word(
        "amount",
        is_decimal,
        "write a decimal number such as \"9.90\"",
    );
    let currency = word(
        "currency",
        is_currency,
        "write an ISO 4217 code such as \"EUR\"",
    );
    let per = word("per", |_| true, "");
    keys.finish(findings);
    Some(Price {
        amount: amount?,
        currency: currency?,
        per: per?,
    })
}

fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    [whole, fraction]
        .iter()
        .all(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

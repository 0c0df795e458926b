//! Limits, as a plan writes them.

use quota_store::{Amount, Percent, QuotaName, Window};

use super::{
    amount::{parse_amount, percent},
    findings::{Findings, Problem},
    names::Names,
    node::Value,
    reader::{Item, Keys},
};

/// A limit whose windows, grace and warnings may still be open.
#[derive(Clone, Debug)]
pub(super) struct WrittenLimit {
    pub(super) bound: WrittenBound,
    pub(super) grace: Option<Percent>,
    pub(super) warn_at: Option<Vec<Percent>>,
}

/// What stands in a limit's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrittenBound {
    AtMost(Amount, Window),
    /// In every window that any plan gives the quota.
    Unlimited,
    /// `0` without a window.
    NotIncluded,
}

/// All limits on one quota.
pub(super) type WrittenLimits = (QuotaName, Vec<WrittenLimit>);

const EXAMPLES: &str =
    "write \"5/day\", \"50K/month\", \"100/15m\", \"5/lifetime\", \"unlimited\" or 0";

/// Reads `limits` or `tenant_limits` of a plan.
pub(super) fn read(
    item: &Item<'_>,
    quotas: &Names<QuotaName>,
    findings: &mut Findings,
) -> Vec<WrittenLimits> {
    let Some(keys) = item.table(findings) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (key, item) in keys.items() {
        if swallowed_section(&keys, key, &item, findings) {
            continue;
        }
        let quota = quotas.find(key, item.key_place, findings);
        let limits = read_quota(&item, findings);
        if let Some(quota) = quota {
            all.push((quota, limits));
        }
    }
    all
}

/// A table of the plan that TOML put under its limits, because it has no header of its own.
fn swallowed_section(
    limits: &Keys<'_>,
    key: &str,
    item: &Item<'_>,
    findings: &mut Findings,
) -> bool {
    const SECTIONS: [&str; 4] = ["rates", "reserve", "tenant_limits", "limits"];
    const OF_A_LIMIT: [&str; 4] = ["limit", "grace", "warn_at", "shadow"];
    let Value::Table(table) = &item.node.value else {
        return false;
    };
    let holds_quotas = !table
        .entries
        .iter()
        .any(|entry| OF_A_LIMIT.contains(&entry.key.as_str()));
    if !SECTIONS.contains(&key) || !holds_quotas {
        return false;
    }
    let plan = limits
        .path
        .rsplit_once('.')
        .map_or(limits.path.as_str(), |(plan, _)| plan);
    findings.error(
        item.key_place,
        format!("TOML puts `{key}` under `{}` here", limits.path),
        format!("give it a header of its own: [{plan}.{key}]"),
    );
    true
}

fn read_quota(item: &Item<'_>, findings: &mut Findings) -> Vec<WrittenLimit> {
    let entries = item.one_or_more();
    let listed = matches!(item.node.value, Value::List(_));
    if entries.is_empty() {
        findings.error(
            item.place(),
            format!("`{}` is an empty list", item.path),
            EXAMPLES,
        );
    }
    let mut limits: Vec<WrittenLimit> = Vec::new();
    for entry in &entries {
        if listed && matches!(entry.node.value, Value::List(_)) {
            findings.error(
                entry.place(),
                format!("`{}` is a list in a list", item.path),
                "write it like [\"5/day\", \"150/month\"]",
            );
            continue;
        }
        let Some(limit) = read_limit(entry, findings) else {
            continue;
        };
        if let Some(problem) = contradiction(&limits, &limit, entries.len()) {
            findings.problem(entry.place(), problem.at(&item.path));
        } else {
            limits.push(limit);
        }
    }
    limits
}

/// Why a limit cannot stand beside the others of its list.
fn contradiction(others: &[WrittenLimit], limit: &WrittenLimit, count: usize) -> Option<Problem> {
    match limit.bound {
        WrittenBound::Unlimited | WrittenBound::NotIncluded if count > 1 => Some(Problem::new(
            "\"unlimited\" and 0 stand alone",
            "leave the others out, or give each window an amount",
        )),
        WrittenBound::Unlimited | WrittenBound::NotIncluded => None,
        WrittenBound::AtMost(_, window) => {
            let twice = others.iter().any(
                |other| matches!(other.bound, WrittenBound::AtMost(_, known) if known == window),
            );
            twice.then(|| {
                Problem::new(
                    format!("the window `{window}` is limited twice"),
                    "keep one limit for each window",
                )
            })
        }
    }
}

fn read_limit(item: &Item<'_>, findings: &mut Findings) -> Option<WrittenLimit> {
    if !matches!(item.node.value, Value::Table(_)) {
        return Some(WrittenLimit {
            bound: read_bound(item, findings)?,
            grace: None,
            warn_at: None,
        });
    }
    let mut keys = item.table(findings)?;
    let limit = keys.take("limit");
    if limit.is_none() {
        findings.error(
            item.place(),
            format!("`{}` does not say the limit", item.path),
            "add it: { limit = \"5/day\", ... }",
        );
    }
    let limit = limit.and_then(|item| read_bound(&item, findings));
    let grace = keys.take("grace").and_then(|item| grace(&item, findings));
    let warn_at = keys
        .take("warn_at")
        .and_then(|item| warn_at(&item, findings));
    keys.later("shadow", Some("false"), findings);
    keys.finish(findings);
    Some(WrittenLimit {
        bound: limit?,
        grace,
        warn_at,
    })
}

/// Reads how far beyond a limit requests still pass.
pub(super) fn grace(item: &Item<'_>, findings: &mut Findings) -> Option<Percent> {
    percent(item, &(0..=1000), findings)
}

/// Reads from which parts of a limit on people are warned; lowest first, none twice.
pub(super) fn warn_at(item: &Item<'_>, findings: &mut Findings) -> Option<Vec<Percent>> {
    let mut percents: Vec<Percent> = item
        .list("[\"80%\"]", findings)?
        .iter()
        .filter_map(|entry| percent(entry, &(1..=100), findings))
        .collect();
    percents.sort_unstable();
    percents.dedup();
    Some(percents)
}

fn read_bound(item: &Item<'_>, findings: &mut Findings) -> Option<WrittenBound> {
    let result = match &item.node.value {
        Value::Integer(0) => Ok(WrittenBound::NotIncluded),
        Value::String(text) => parse_bound(text).map_err(|problem| problem.at(&item.path)),
        Value::Integer(number) if *number > 0 => Err(Problem::new(
            format!("`{}` does not say in which window", item.path),
            window_hint(&number.to_string()),
        )),
        Value::Integer(_) => Err(Problem::new(
            format!("`{}` is negative", item.path),
            EXAMPLES,
        )),
        Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::List(_)
        | Value::Table(_) => Err(Problem::new(
            format!("`{}` is a limit, not {}", item.path, item.node.kind()),
            EXAMPLES,
        )),
    };
    findings.keep(item.place(), result)
}

fn parse_bound(text: &str) -> Result<WrittenBound, Problem> {
    match text {
        "unlimited" => return Ok(WrittenBound::Unlimited),
        "0" => return Ok(WrittenBound::NotIncluded),
        _ => {}
    }
    let Some((amount, window)) = text.split_once('/') else {
        return Err(match parse_amount(text) {
            Ok(_) => Problem::new(
                format!("`{text}` does not say in which window"),
                window_hint(text),
            ),
            Err(Problem { hint, .. }) if hint.starts_with("write ") => {
                Problem::new(format!("`{text}` is not a limit"), hint)
            }
            Err(_) => Problem::new(format!("`{text}` is not a limit"), EXAMPLES),
        });
    };
    let amount = parse_amount(amount)?;
    if window.is_empty() {
        return Err(Problem::new(
            format!("`{text}` does not say in which window"),
            format!("write \"{text}day\", \"{text}month\" or so"),
        ));
    }
    let window = window.parse::<Window>().map_err(|error| {
        Problem::new(
            format!("`{window}` is not a window"),
            better_window(window).unwrap_or_else(|| error.to_string()),
        )
    })?;
    Ok(WrittenBound::AtMost(amount, window))
}

fn window_hint(amount: &str) -> String {
    format!(
        "write \"{amount}/day\", \"{amount}/month\" or so; limits of stocks, which have no window, \
         are not supported yet"
    )
}

fn better_window(text: &str) -> Option<String> {
    const WORDS: [&str; 8] = [
        "second", "minute", "hour", "day", "week", "month", "year", "lifetime",
    ];
    let lower = text.trim().to_ascii_lowercase();
    let meant = match lower.as_str() {
        "daily" => "day",
        "monthly" => "month",
        "forever" | "total" | "ever" => "lifetime",
        _ => super::findings::nearest(&lower, WORDS)?,
    };
    Some(format!("did you mean `{meant}`?"))
}

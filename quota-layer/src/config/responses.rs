//! `[responses]`.

use super::{
    findings::Findings,
    identity::refuse_empty,
    node::Value,
    reader::{Item, Keys},
    secret::web_url,
    settings::ResponsesConfig,
    source::Source,
};

impl Default for ResponsesConfig {
    fn default() -> Self {
        Self {
            denied_status: 429,
            x_quota: true,
            ratelimit: true,
            tenant_headers: true,
            upgrade_url: None,
        }
    }
}

/// Reads the section, or its defaults.
pub(super) fn read(
    root: &mut Keys<'_>,
    source: &Source,
    findings: &mut Findings,
) -> ResponsesConfig {
    let mut config = ResponsesConfig::default();
    let Some(mut keys) = root.take("responses").and_then(|item| item.table(findings)) else {
        return config;
    };
    if let Some(status) = keys
        .take("denied_status")
        .and_then(|item| denied_status(&item, findings))
    {
        config.denied_status = status;
    }
    if let Some(item) = keys.take("headers") {
        (config.x_quota, config.ratelimit) = headers(&item, findings);
    }
    if let Some(shown) = keys
        .take("tenant_headers")
        .and_then(|item| item.boolean(findings))
    {
        config.tenant_headers = shown;
    }
    config.upgrade_url = keys.take("upgrade_url").and_then(|item| {
        let example = "https://example.com/pricing";
        web_url(&item, example, |_| true, source, findings)
    });
    if let Some(item) = keys.take("locales") {
        locales(&item, findings);
    }
    keys.later("degrade_header", None, findings);
    keys.finish(findings);
    config
}

fn denied_status(item: &Item<'_>, findings: &mut Findings) -> Option<u16> {
    match item.node.value {
        Value::Integer(429) => Some(429),
        Value::Integer(402) => Some(402),
        Value::Integer(number) => {
            findings.error(
                item.place(),
                format!("`{}` cannot be {number}", item.path),
                "it is 429 (Too Many Requests) or 402 (Payment Required)",
            );
            None
        }
        _ => {
            item.refuse_kind("a status", "`denied_status = 429`", findings);
            None
        }
    }
}

fn headers(item: &Item<'_>, findings: &mut Findings) -> (bool, bool) {
    #[derive(Clone, Copy, PartialEq)]
    enum Family {
        XQuota,
        RateLimit,
    }
    let words = [
        ("x-quota", Family::XQuota),
        ("ratelimit", Family::RateLimit),
    ];
    let families: Vec<Family> = item
        .list("[\"x-quota\", \"ratelimit\"]", findings)
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| entry.choice(&words, findings))
        .collect();
    (
        families.contains(&Family::XQuota),
        families.contains(&Family::RateLimit),
    )
}

fn locales(item: &Item<'_>, findings: &mut Findings) {
    refuse_empty(item, "write locales = [\"en\"]", findings);
    for entry in item.list("[\"en\"]", findings).unwrap_or_default() {
        let Some(text) = entry.text("[\"en\"]", findings) else {
            continue;
        };
        if text != "en" {
            findings.error(
                entry.place(),
                format!("the locale `{text}` is not supported yet"),
                "write locales = [\"en\"]",
            );
        }
    }
}

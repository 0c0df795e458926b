//! `[identity]`.

use quota_store::PlanName;

use super::{
    findings::{Findings, ProblemKind},
    ip_range::IpRange,
    jwt,
    names::Names,
    node::{Place, Value},
    reader::{Item, Keys},
    settings::{Anonymous, IdentityConfig, IdentityFrom, PlanFrom, TokenFrom, UnknownPlan},
    source::Source,
};
use crate::identity::JwtSettings;

#[derive(Clone, Copy, PartialEq)]
enum From {
    Jwt,
    Application,
}

/// Reads the section; `None` where nothing useful can be made of it.
pub(super) fn read(
    root: &mut Keys<'_>,
    plans: &Names<PlanName>,
    source: &Source,
    findings: &mut Findings,
) -> Option<IdentityConfig> {
    let section = root.take("identity");
    let mut keys = match &section {
        Some(item) => Some(item.table(findings)?),
        None => None,
    };
    let from = take(&mut keys, "from")
        .map_or(Some(From::Jwt), |item| {
            item.choice(
                &[("jwt", From::Jwt), ("application", From::Application)],
                findings,
            )
        })
        .unwrap_or(From::Jwt);
    let jwt = read_jwt(&mut keys, from, source, findings);
    let config = IdentityConfig {
        from: match from {
            // The error about it is noted; nobody sees this value.
            From::Jwt => jwt.map_or(IdentityFrom::Application, IdentityFrom::Jwt),
            From::Application => IdentityFrom::Application,
        },
        token_from: take(&mut keys, "token_from").map_or_else(
            || vec![TokenFrom::Authorization],
            |item| token_from(&item, findings),
        ),
        anonymous: take(&mut keys, "anonymous")
            .and_then(|item| anonymous(&item, plans, findings))
            .unwrap_or(Anonymous::Reject),
        trusted_proxies: take(&mut keys, "trusted_proxies")
            .map(|item| trusted_proxies(&item, findings))
            .unwrap_or_default(),
        require_tenant: take(&mut keys, "require_tenant")
            .and_then(|item| item.boolean(findings))
            .unwrap_or(false),
        plan_from: take(&mut keys, "plan_from").map_or_else(
            || vec![PlanFrom::Assignment, PlanFrom::Claim, PlanFrom::Default],
            |item| plan_from(&item, findings),
        ),
        unknown_plan: take(&mut keys, "unknown_plan")
            .and_then(|item| {
                item.choice(
                    &[
                        ("default", UnknownPlan::Default),
                        ("deny", UnknownPlan::Deny),
                    ],
                    findings,
                )
            })
            .unwrap_or_default(),
        max_id_bytes: take(&mut keys, "max_id_bytes")
            .and_then(|item| item.whole(1..=1_024, findings))
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(256),
    };
    if let Some(keys) = keys {
        keys.finish(findings);
    }
    Some(config)
}

fn take<'a>(keys: &mut Option<Keys<'a>>, key: &'static str) -> Option<Item<'a>> {
    keys.as_mut().and_then(|keys| keys.take(key))
}

fn read_jwt(
    keys: &mut Option<Keys<'_>>,
    from: From,
    source: &Source,
    findings: &mut Findings,
) -> Option<JwtSettings> {
    let section = take(keys, "jwt");
    match (from, &section) {
        (From::Application, None) => return None,
        (From::Application, Some(item)) => findings.warning(
            item.key_place,
            "`identity.jwt` is not used while `identity.from` is \"application\"",
        ),
        (From::Jwt, _) => {}
    }
    let place = keys
        .as_ref()
        .map_or(Place::Whole, |keys| keys.place.clone());
    match &section {
        Some(item) if from == From::Application => {
            // It has to be right, but nothing has to be there for it.
            let mut own = Findings::default();
            jwt::read(Some(item.table(findings)?), &place, source, &mut own);
            own.errors
                .retain(|error| error.problem.kind == ProblemKind::Wrong);
            findings.errors.append(&mut own.errors);
            None
        }
        Some(item) => jwt::read(Some(item.table(findings)?), &place, source, findings),
        None => jwt::read(None, &place, source, findings),
    }
}

fn token_from(item: &Item<'_>, findings: &mut Findings) -> Vec<TokenFrom> {
    const HINT: &str =
        "the places are \"authorization\", \"cookie:NAME\" and \"websocket-protocol\"";
    let mut places = Vec::new();
    for entry in item
        .list("[\"authorization\"]", findings)
        .unwrap_or_default()
    {
        let Some(text) = entry.text("[\"authorization\"]", findings) else {
            continue;
        };
        let place = match (text, text.strip_prefix("cookie:")) {
            ("authorization", _) => TokenFrom::Authorization,
            ("websocket-protocol", _) => TokenFrom::WebSocketProtocol,
            (_, Some(name)) if is_cookie_name(name) => TokenFrom::Cookie(name.to_owned()),
            _ => {
                findings.error(
                    entry.place(),
                    format!("`{}` cannot be `{text}`", item.path),
                    HINT,
                );
                continue;
            }
        };
        if places.contains(&place) {
            findings.error(
                entry.place(),
                format!("`{}` names `{text}` twice", item.path),
                "leave one out",
            );
        } else {
            places.push(place);
        }
    }
    refuse_empty(item, HINT, findings);
    places
}

/// A token in the sense of RFC 9110, section 5.6.2.
fn is_cookie_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Notes that a list has nothing in it.
pub(super) fn refuse_empty(item: &Item<'_>, hint: &str, findings: &mut Findings) {
    if matches!(&item.node.value, Value::List(items) if items.is_empty()) {
        findings.error(item.place(), format!("`{}` is empty", item.path), hint);
    }
}

fn anonymous(
    item: &Item<'_>,
    plans: &Names<PlanName>,
    findings: &mut Findings,
) -> Option<Anonymous> {
    if matches!(item.node.value, Value::String(_)) {
        let text = item.text("anonymous = \"reject\"", findings)?;
        if text != "reject" {
            findings.error(
                item.place(),
                format!("`{}` cannot be `{text}`", item.path),
                "it is \"reject\", or { plan = \"NAME\" }",
            );
        }
        return Some(Anonymous::Reject);
    }
    if !matches!(item.node.value, Value::Table(_)) {
        item.refuse_kind(
            "\"reject\" or a table",
            "`anonymous = { plan = \"anonymous\" }`",
            findings,
        );
        return None;
    }
    let mut keys = item.table(findings)?;
    let plan = keys.take("plan");
    if plan.is_none() {
        findings.error(
            item.place(),
            format!("`{}` does not say which plan", item.path),
            "write it like `anonymous = { plan = \"anonymous\" }`",
        );
    }
    keys.finish(findings);
    let plan: PlanName = plans.resolve(&plan?, findings)?;
    Some(Anonymous::Plan(plan))
}

fn trusted_proxies(item: &Item<'_>, findings: &mut Findings) -> Vec<IpRange> {
    const EXAMPLE: &str = "[\"127.0.0.1/32\"]";
    let entries = item.list(EXAMPLE, findings).unwrap_or_default();
    let mut ranges = Vec::new();
    for entry in entries {
        let Some(text) = entry.text(EXAMPLE, findings) else {
            continue;
        };
        if let Ok(range) = text.parse() {
            ranges.push(range);
        } else {
            findings.error(
                entry.place(),
                format!("`{text}` is not a range of addresses"),
                "write an address, or a network such as \"10.0.0.0/8\" or \"fd00::/8\"",
            );
        }
    }
    ranges
}

fn plan_from(item: &Item<'_>, findings: &mut Findings) -> Vec<PlanFrom> {
    let mut places = Vec::new();
    for entry in item
        .list("[\"claim\", \"default\"]", findings)
        .unwrap_or_default()
    {
        let words = [
            ("assignment", PlanFrom::Assignment),
            ("claim", PlanFrom::Claim),
            ("default", PlanFrom::Default),
        ];
        let Some(place) = entry.choice(&words, findings) else {
            continue;
        };
        if places.contains(&place) {
            findings.error(
                entry.place(),
                format!("`{}` names one place twice", item.path),
                "leave one out",
            );
        } else {
            places.push(place);
        }
    }
    refuse_empty(
        item,
        "name at least one of \"assignment\", \"claim\" and \"default\"",
        findings,
    );
    places
}

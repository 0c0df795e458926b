//! From a text to a configuration, with everything that is wrong with it.

use std::sync::Arc;

use quota_store::{PlanName, QuotaName};
use toml::de::DeTable;

use super::{
    admin,
    charges::NamedCharges,
    environment,
    errors::{ConfigErrors, Position},
    findings::Findings,
    identity, later, ledger,
    mask::Masked,
    names::Names,
    node::{Origin, Place, Table},
    plan_text::{self, PlanNamesAndQuotas},
    plans::{self, Surroundings},
    quotas,
    reader::{Item, Keys},
    responses,
    revision::revision,
    routes::{self, Defaults},
    settings::{Config, Unmatched},
    source::Source,
    store,
    stored::FilePlans,
};

/// Reads, checks and resolves.
pub(super) fn load(source: &Source) -> Result<Config, ConfigErrors> {
    let mut findings = Findings::default();
    let (parsed, syntax_errors) = DeTable::parse_recoverable(&source.text);
    if !syntax_errors.is_empty() {
        for (index, error) in syntax_errors.iter().enumerate() {
            // The parser can say the same thing twice.
            if !syntax_errors[..index].contains(error) {
                note_syntax_error(error, &mut findings);
            }
        }
        let masked = Masked::new(&source.text, None);
        return Err(ConfigErrors::render(findings.errors, &source.name, &masked));
    }
    let mut document = Table::from_toml(parsed.get_ref(), Origin::File);
    let masked = Masked::new(&source.text, Some(&document));
    environment::apply(source, &mut document, &mut findings);
    let config = read(&document, source, &mut findings);
    match config {
        Some(config) if findings.errors.is_empty() => Ok(Config {
            warnings: warnings(&findings, &source.name, &masked),
            ..config
        }),
        _ => Err(ConfigErrors::render(findings.errors, &source.name, &masked)),
    }
}

fn note_syntax_error(error: &toml::de::Error, findings: &mut Findings) {
    let place = error.span().map_or(Place::Whole, Place::File);
    let hint = if error.message().contains("duplicate") {
        "keep one of them: a key or a [table] stands once"
    } else {
        "texts stand in quotes, lists in [ ], tables in { } or below a [header]"
    };
    findings.error(
        &place,
        format!("this is not TOML: {}", error.message()),
        hint,
    );
}

fn warnings(findings: &Findings, name: &str, masked: &Masked) -> Vec<String> {
    let mut warnings: Vec<_> = findings.warnings.iter().collect();
    warnings.sort_by_cached_key(|(place, _)| super::findings::reading_order(place));
    warnings
        .into_iter()
        .map(|(place, message)| match place {
            Place::Whole | Place::Body(_) => format!("{name}: {message}"),
            Place::Variable(variable) => format!("environment variable {variable}: {message}"),
            Place::File(span) => {
                let Position { line, column } = Position::of(masked, span);
                format!("{name}:{line}:{column}: {message}")
            }
        })
        .collect()
}

/// Reads every section; `None` only with an error noted.
fn read(document: &Table, source: &Source, findings: &mut Findings) -> Option<Config> {
    let mut root = Keys::new(String::new(), &Place::Whole, document);
    let unmatched = root
        .take("unmatched")
        .and_then(|item| unmatched(&item, findings))
        .unwrap_or_default();
    let mut named_table = |key| {
        root.take(key)
            .map(|item| (item.key_place, item.table(findings)))
    };
    let quota_section = named_table("quotas").and_then(|(_, keys)| keys);
    let charge_section = named_table("charges").and_then(|(_, keys)| keys);
    let (plans_place, plan_section) = named_table("plans").unwrap_or((&Place::Whole, None));

    let quota_names = Names::<QuotaName>::declared("quota", quota_section.as_ref(), findings);
    let plan_names = Names::<PlanName>::declared("plan", plan_section.as_ref(), findings);
    let identity = identity::read(&mut root, &plan_names, source, findings);
    let store = store::read(&mut root, source, findings);
    let ledger = ledger::read(&mut root, source, findings);
    let responses = responses::read(&mut root, source, findings);
    let admin = admin::read(&mut root, source, findings);
    later::read(&mut root, findings);
    let quotas = quotas::read(quota_section.as_ref(), findings);
    let names = PlanNamesAndQuotas {
        plans: &plan_names,
        quotas: &quota_names,
    };
    let written = plan_text::read(plan_section.as_ref(), &names, findings);
    let surroundings = Surroundings {
        quotas: quota_names.known(),
        place: plans_place,
    };
    let plans = plans::resolve(&written, &surroundings, findings);
    let file = FilePlans::new(plan_section.as_ref(), &quota_names);
    let charges = NamedCharges::read(charge_section.as_ref(), &quota_names, findings);
    let defaults = Defaults {
        quotas: &quota_names,
        charges: &charges,
    };
    let rules = routes::read(&mut root, &defaults, findings);
    charges.warn_unused(findings);
    root.finish(findings);
    let config = Config {
        unmatched,
        identity: identity?,
        store,
        ledger,
        responses,
        admin,
        quotas,
        plans: plans.all,
        default_plan: plans.default?,
        windows: plans.windows,
        file: Arc::new(file),
        rules,
        warnings: Vec::new(),
        revision: String::new(),
    };
    Some(Config {
        revision: revision(&config),
        ..config
    })
}

fn unmatched(item: &Item<'_>, findings: &mut Findings) -> Option<Unmatched> {
    let words = [
        ("pass", Unmatched::Pass),
        ("warn", Unmatched::Warn),
        ("deny", Unmatched::Deny),
    ];
    item.choice(&words, findings)
}

//! Plans that a database keeps, beside those of the file.
//!
//! They are read by what reads the file's, and extend plans of both.

use std::{fmt, sync::Arc};

use quota_store::{
    PlanName, QuotaName,
    directory::{StoredPlan, StoredPlans},
};

use super::{
    findings::{Findings, reading_order},
    names::Names,
    node::{Entry, Node, Place, Table, Value},
    plan_text::{self, PlanNamesAndQuotas},
    plans::{self, Surroundings},
    reader::Keys,
    revision::revision,
    settings::Config,
};

/// What plans of the database are read with: the plans of the file as it writes them, and its
/// quotas.
pub(crate) struct FilePlans {
    section: Table,
    quotas: Names<QuotaName>,
}

impl fmt::Debug for FilePlans {
    // The revision is made of what is effective, which this is not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilePlans")
    }
}

impl FilePlans {
    pub(super) fn new(section: Option<&Keys<'_>>, quotas: &Names<QuotaName>) -> Self {
        let items = section.map(Keys::items).unwrap_or_default();
        let entries = items.into_iter().map(|(key, item)| Entry {
            key: key.to_owned(),
            key_place: item.key_place.clone(),
            node: item.node.clone(),
        });
        Self {
            section: Table {
                entries: entries.collect(),
            },
            quotas: quotas.clone(),
        }
    }

    /// Whether the file has a plan of that name.
    pub(crate) fn has(&self, plan: &PlanName) -> bool {
        self.section.get(plan.as_str()).is_some()
    }
}

/// A plan of the database that is not in force, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) plan: PlanName,
    /// The key at fault within the plan; empty where it is the plan as a whole.
    pub(crate) field: String,
    pub(crate) problem: String,
}

/// The configuration of the file with the plans of the database, and those that are left out.
pub(crate) fn merged(config: &Config, stored: &StoredPlans) -> (Config, Vec<Rejected>) {
    if stored.plans.is_empty() && stored.default.is_none() {
        return (config.clone(), Vec::new());
    }
    let mut rejected = Vec::new();
    let mut kept: Vec<&StoredPlan> = Vec::new();
    for plan in &stored.plans {
        if config.file.has(&plan.name) {
            rejected.push(Rejected {
                plan: plan.name.clone(),
                field: String::new(),
                problem: "the configuration file has a plan of the same name, which wins; rename \
                          one of them"
                    .to_owned(),
            });
        } else {
            kept.push(plan);
        }
    }
    // A plan that is left out may be the one that another extends, which then goes too.
    loop {
        let read = read(config, &kept);
        match read {
            Ok(plans) => return (with_plans(config, plans, stored), rejected),
            Err(wrong) => {
                let before = kept.len();
                kept.retain(|plan| wrong.iter().all(|wrong| wrong.plan != plan.name));
                rejected.extend(wrong);
                if kept.len() == before {
                    // Errors that name no plan of the database: none of it can be used.
                    return (config.clone(), rejected);
                }
            }
        }
    }
}

fn with_plans(config: &Config, plans: plans::Plans, stored: &StoredPlans) -> Config {
    let named = stored.default.as_ref();
    let default_plan = named
        .and_then(|name| plans.all.iter().find(|plan| plan.name == *name).cloned())
        .or(plans.default)
        .unwrap_or_else(|| Arc::clone(&config.default_plan));
    let merged = Config {
        plans: plans.all,
        default_plan,
        windows: plans.windows,
        warnings: Vec::new(),
        revision: String::new(),
        ..config.clone()
    };
    Config {
        revision: revision(&merged),
        warnings: config.warnings.clone(),
        ..merged
    }
}

/// All plans resolved, or what is wrong with those of the database.
fn read(config: &Config, stored: &[&StoredPlan]) -> Result<plans::Plans, Vec<Rejected>> {
    let mut findings = Findings::default();
    let mut section = config.file.section.clone();
    let mut names: Vec<PlanName> = section
        .entries
        .iter()
        .filter_map(|entry| PlanName::new(&entry.key).ok())
        .collect();
    for plan in stored {
        names.push(plan.name.clone());
        let mut node = Node::from_json(&plan.body, plan.name.as_str());
        refuse_default(&mut node, &mut findings);
        section.entries.push(Entry {
            key: plan.name.as_str().to_owned(),
            key_place: Place::Body(plan.name.as_str().to_owned()),
            node,
        });
    }
    let names = Names::given("plan", names);
    let keys = Keys::new("plans".to_owned(), &Place::Whole, &section);
    let known = PlanNamesAndQuotas {
        plans: &names,
        quotas: &config.file.quotas,
    };
    let written = plan_text::read(Some(&keys), &known, &mut findings);
    let surroundings = Surroundings {
        quotas: config.file.quotas.known(),
        place: &Place::Whole,
    };
    let resolved = plans::resolve(&written, &surroundings, &mut findings);
    if findings.errors.is_empty() {
        return Ok(resolved);
    }
    Err(rejections(findings, stored))
}

fn refuse_default(plan: &mut Node, findings: &mut Findings) {
    let Value::Table(table) = &mut plan.value else {
        return;
    };
    if let Some(default) = table.get("default") {
        findings.error(
            &default.key_place,
            "`default` is not said in the plan itself",
            "leave it out, and name the default plan by itself",
        );
    }
    table.entries.retain(|entry| entry.key != "default");
}

fn rejections(mut findings: Findings, stored: &[&StoredPlan]) -> Vec<Rejected> {
    findings
        .errors
        .sort_by_cached_key(|finding| reading_order(&finding.place));
    let rejected = findings.errors.into_iter().filter_map(|finding| {
        let Place::Body(path) = &finding.place else {
            return None;
        };
        let (name, field) = path.split_once('.').unwrap_or((path, ""));
        let plan = stored.iter().find(|plan| plan.name.as_str() == name)?;
        Some(Rejected {
            plan: plan.name.clone(),
            field: field.to_owned(),
            problem: format!("{}; {}", finding.problem.message, finding.problem.hint),
        })
    });
    rejected.collect()
}

//! Which plan is the default.

use quota_store::{
    Availability, PlanName,
    directory::{PlansEdit, StoredPlans},
    ledger::Target,
};
use serde_json::json;

use super::{Edited, no_plan};
use crate::{
    administration::AdminError,
    config::{Config, merged},
};

/// The plan that the database names.
pub(super) fn set_default(
    file: &Config,
    stored: &StoredPlans,
    plan: &PlanName,
) -> Result<Edited, AdminError> {
    let (config, _) = merged(file, stored);
    let found = config.plans.iter().find(|known| known.name == *plan);
    let found = found.ok_or_else(|| no_plan(plan))?;
    if found.availability == Availability::Disabled {
        return Err(AdminError::Conflict(format!(
            "the plan `{plan}` is disabled, so it can't be the default"
        )));
    }
    Ok(Edited {
        edit: PlansEdit::Default(Some(plan.clone())),
        plans: StoredPlans {
            default: Some(plan.clone()),
            ..stored.clone()
        },
        target: Target::Installation,
        action: "default_plan",
        before: json!(config.default_plan.name.as_str()),
        after: json!(plan.as_str()),
    })
}

/// The plan of the file again.
pub(super) fn restore_default(file: &Config, stored: &StoredPlans) -> Edited {
    let (config, _) = merged(file, stored);
    Edited {
        edit: PlansEdit::Default(None),
        plans: StoredPlans {
            default: None,
            ..stored.clone()
        },
        target: Target::Installation,
        action: "default_plan",
        before: json!(config.default_plan.name.as_str()),
        after: json!(file.default_plan.name.as_str()),
    }
}

//! The plan that those get whose plan is removed.

use quota_store::{Availability, PlanName};

use crate::{administration::AdminError, config::Config};

/// Whether another plan can take the place of one that is removed.
pub(super) fn check_successor(
    config: &Config,
    plan: &PlanName,
    other: &PlanName,
) -> Result<(), AdminError> {
    let invalid = |problem: String| {
        Err(AdminError::Invalid {
            field: "reassign_to".to_owned(),
            problem,
        })
    };
    if plan == other {
        return invalid(format!(
            "`{plan}` is the plan that is removed; name another"
        ));
    }
    let found = config.plans.iter().find(|known| known.name == *other);
    match found.map(|found| found.availability) {
        None => invalid(format!("there is no plan `{other}`")),
        Some(Availability::Disabled) => invalid(format!(
            "the plan `{other}` is disabled, so nobody gets it any more"
        )),
        Some(_) => Ok(()),
    }
}

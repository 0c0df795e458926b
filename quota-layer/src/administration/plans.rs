//! Plans that the database keeps.

mod defaults;
mod successor;

use std::sync::Arc;

use quota_store::{
    Availability, PlanName, Subject, UnixMillis,
    directory::{PlansChange, PlansEdit, Replaced, StoredPlan, StoredPlans},
    ledger::{Audit, Target},
};
use serde_json::Value;

use self::{
    defaults::{restore_default, set_default},
    successor::check_successor,
};
use super::{
    AdminError, Administration, Doing, PlanView, PutPlan,
    change::{MAX_CONFLICTS, derived, too_many_conflicts},
};
use crate::{
    config::{Config, Rejected, merged},
    runtime::Runtime,
};

/// One change of the plans, and what they are after it.
struct Edited {
    edit: PlansEdit,
    plans: StoredPlans,
    /// How the audit says it.
    target: Target,
    action: &'static str,
    before: Value,
    after: Value,
}

impl Administration {
    /// Every plan, in the order that people are shown them.
    #[must_use]
    pub fn plans(&self) -> Vec<PlanView> {
        let runtime = self.shared.runtime.load_full();
        let mut views: Vec<PlanView> = runtime
            .config
            .plans
            .iter()
            .map(|plan| view(&runtime, &plan.name))
            .collect::<Option<_>>()
            .unwrap_or_default();
        views.sort_by_key(|view| view.plan.display.order);
        views
    }

    /// Adds a plan to the database, or changes one of it. The body is what the file would say in
    /// `[plans.NAME]`, as JSON.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for a body that does not read, with the key at fault;
    /// [`AdminError::Conflict`] for a plan of the file, and for one that is there already where it
    /// must be new; [`AdminError::NotFound`]; [`AdminError::NoLedger`], [`AdminError::Store`] and
    /// [`AdminError::Ledger`].
    pub async fn put_plan(
        &self,
        plan: &PlanName,
        body: &Value,
        how: PutPlan,
        doing: &Doing,
    ) -> Result<PlanView, AdminError> {
        let work_out =
            |file: &Config, stored: &StoredPlans, now| put(file, stored, (plan, body, how), now);
        self.edit_plans(doing, work_out).await?;
        self.plan_view(plan)
    }

    /// Removes a plan from the database. Where users have it they are given another one first.
    ///
    /// # Errors
    ///
    /// [`AdminError::Conflict`] for a plan of the file, the default plan, one that others extend,
    /// and one that somebody has, where no other is named; [`AdminError::NotFound`];
    /// [`AdminError::NoLedger`], [`AdminError::Store`] and [`AdminError::Ledger`].
    pub async fn remove_plan(
        &self,
        plan: &PlanName,
        reassign_to: Option<&PlanName>,
        doing: &Doing,
    ) -> Result<(), AdminError> {
        let runtime = self.shared.runtime.load_full();
        let stored = self.stored_plans().await?;
        remove(&runtime.file, &stored, plan)?;
        if let Some(other) = reassign_to {
            check_successor(&merged(&runtime.file, &stored).0, plan, other)?;
        }
        let subjects = self.with_plan(plan, None).await?;
        if let (Some(first), None) = (subjects.first(), reassign_to) {
            let kind = match first {
                Subject::User { .. } => "users",
                Subject::Tenant(_) => "tenants",
            };
            return Err(AdminError::Conflict(format!(
                "{kind} have the plan `{plan}`: {} in all; name another one with reassign_to",
                subjects.len()
            )));
        }
        if let Some(other) = reassign_to {
            self.rename_each(&subjects, (plan, other), doing).await?;
        }
        let work_out = |file: &Config, stored: &StoredPlans, _| remove(file, stored, plan);
        self.edit_plans(doing, work_out).await?;
        // Who was given it meanwhile: nobody can be any more.
        let late = self.with_plan(plan, None).await?;
        if let Some(other) = reassign_to {
            return self.rename_each(&late, (plan, other), &again(doing)).await;
        }
        if !late.is_empty() {
            tracing::warn!(
                target: "quota::plan",
                plan = plan.as_str(),
                subjects = late.len(),
                "somebody was given a plan while it was removed; they have the default plan"
            );
        }
        Ok(())
    }

    async fn rename_each(
        &self,
        subjects: &[Subject],
        plans: (&PlanName, &PlanName),
        doing: &Doing,
    ) -> Result<(), AdminError> {
        for subject in subjects {
            self.rename_one(subject, plans, doing).await?;
        }
        Ok(())
    }

    /// Names the default plan.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`], [`AdminError::Conflict`] for a plan that is disabled,
    /// [`AdminError::NoLedger`], [`AdminError::Store`] and [`AdminError::Ledger`].
    pub async fn set_default_plan(
        &self,
        plan: &PlanName,
        doing: &Doing,
    ) -> Result<PlanView, AdminError> {
        let work_out = |file: &Config, stored: &StoredPlans, _| set_default(file, stored, plan);
        self.edit_plans(doing, work_out).await?;
        self.plan_view(plan)
    }

    /// Lets the default plan be the file's again.
    ///
    /// # Errors
    ///
    /// [`AdminError::NoLedger`], [`AdminError::Store`] and [`AdminError::Ledger`].
    pub async fn restore_default_plan(&self, doing: &Doing) -> Result<PlanView, AdminError> {
        let work_out = |file: &Config, stored: &StoredPlans, _| Ok(restore_default(file, stored));
        self.edit_plans(doing, work_out).await?;
        let plan = self.shared.runtime.load().file.default_plan.name.clone();
        self.plan_view(&plan)
    }

    async fn edit_plans(
        &self,
        doing: &Doing,
        work_out: impl Fn(&Config, &StoredPlans, UnixMillis) -> Result<Edited, AdminError> + Send,
    ) -> Result<(), AdminError> {
        for _ in 0..MAX_CONFLICTS {
            let stored = self.stored_plans().await?;
            let now = self.shared.store.now();
            let runtime = self.shared.runtime.load_full();
            let edited = work_out(&runtime.file, &stored, now)?;
            let change = PlansChange {
                generation: stored.generation,
                edit: edited.edit,
                audit: Audit {
                    id: doing.id,
                    at: now,
                    actor: doing.actor.clone(),
                    tenant: None,
                    target: edited.target,
                    action: edited.action.to_owned(),
                    before: edited.before,
                    after: edited.after,
                    reason: doing.reason.clone(),
                    idempotency_key: doing.idempotency_key.clone(),
                },
            };
            let replaced = self.directory()?.change_plans(&change).await;
            match replaced.map_err(AdminError::Ledger)? {
                Replaced::Outdated(_) => {}
                Replaced::Done(generation) => {
                    let plans = StoredPlans {
                        generation,
                        ..edited.plans
                    };
                    self.shared.replace_plans(plans);
                    return self.advance_plans(generation).await;
                }
            }
        }
        Err(too_many_conflicts())
    }

    async fn stored_plans(&self) -> Result<StoredPlans, AdminError> {
        self.directory()?.plans().await.map_err(AdminError::Ledger)
    }

    fn plan_view(&self, plan: &PlanName) -> Result<PlanView, AdminError> {
        let runtime = self.shared.runtime.load_full();
        view(&runtime, plan).ok_or_else(|| no_plan(plan))
    }
}

fn view(runtime: &Runtime, name: &PlanName) -> Option<PlanView> {
    let config = &runtime.config;
    let plan = config.plans.iter().find(|plan| plan.name == *name)?;
    let is_from_file = runtime.file.file.has(name);
    let stored = runtime.stored.iter().flat_map(|stored| &stored.plans);
    let mut stored = stored.filter(|stored| !is_from_file && stored.name == *name);
    Some(PlanView {
        plan: Arc::clone(plan),
        is_default: config.default_plan.name == *name,
        is_from_file,
        written: stored.next().map(|stored| stored.body.clone()),
    })
}

/// The same act once more, for those who were missed.
fn again(doing: &Doing) -> Doing {
    Doing {
        id: derived(doing.id, "again"),
        ..doing.clone()
    }
}

fn no_plan(plan: &PlanName) -> AdminError {
    AdminError::NotFound {
        what: format!("plan `{plan}`"),
    }
}

fn refuse_of_file(file: &Config, plan: &PlanName) -> Result<(), AdminError> {
    if file.file.has(plan) {
        return Err(AdminError::Conflict(format!(
            "the plan `{plan}` stands in the configuration file; change it there"
        )));
    }
    Ok(())
}

fn put(
    file: &Config,
    stored: &StoredPlans,
    (plan, body, how): (&PlanName, &Value, PutPlan),
    now: UnixMillis,
) -> Result<Edited, AdminError> {
    refuse_of_file(file, plan)?;
    let before = stored.plans.iter().find(|stored| stored.name == *plan);
    match (how, before) {
        (PutPlan::Create, Some(_)) => {
            return Err(AdminError::Conflict(format!(
                "there is a plan `{plan}` already"
            )));
        }
        (PutPlan::Replace, None) => return Err(no_plan(plan)),
        (PutPlan::Create, None) | (PutPlan::Replace, Some(_)) => {}
    }
    let new = StoredPlan {
        name: plan.clone(),
        body: body.clone(),
        changed_at: now,
    };
    let mut plans = stored.clone();
    plans.plans.retain(|stored| stored.name != *plan);
    plans.plans.push(new.clone());
    plans.plans.sort_by(|one, other| one.name.cmp(&other.name));
    let config = check_plans(file, (stored, &plans))?;
    let is_default = config.default_plan.name == *plan;
    if is_default && config.default_plan.availability == Availability::Disabled {
        return Err(AdminError::Conflict(format!(
            "`{plan}` is the default plan; name another one before it is disabled"
        )));
    }
    Ok(Edited {
        edit: PlansEdit::Put(new),
        plans,
        target: Target::Plan(plan.clone()),
        action: match how {
            PutPlan::Create => "create_plan",
            PutPlan::Replace => "change_plan",
        },
        before: before.map_or(Value::Null, |before| before.body.clone()),
        after: body.clone(),
    })
}

fn remove(file: &Config, stored: &StoredPlans, plan: &PlanName) -> Result<Edited, AdminError> {
    refuse_of_file(file, plan)?;
    let before = stored.plans.iter().find(|stored| stored.name == *plan);
    let before = before.ok_or_else(|| no_plan(plan))?;
    if stored.default.as_ref() == Some(plan) {
        return Err(AdminError::Conflict(format!(
            "`{plan}` is the default plan; name another one before it is removed"
        )));
    }
    let mut plans = stored.clone();
    plans.plans.retain(|stored| stored.name != *plan);
    check_plans(file, (stored, &plans))
        .map_err(|_| AdminError::Conflict(format!("other plans extend `{plan}`")))?;
    Ok(Edited {
        edit: PlansEdit::Remove(plan.clone()),
        target: Target::Plan(plan.clone()),
        action: "remove_plan",
        before: before.body.clone(),
        after: Value::Null,
        plans,
    })
}

/// That the plans read, as far as they did before.
fn check_plans(
    file: &Config,
    (before, after): (&StoredPlans, &StoredPlans),
) -> Result<Config, AdminError> {
    let (_, known) = merged(file, before);
    let (config, rejected) = merged(file, after);
    let was_wrong = |one: &Rejected| {
        let is_unchanged = |stored: &&StoredPlan| stored.name == one.plan;
        let before = before.plans.iter().find(is_unchanged);
        known.contains(one) && before == after.plans.iter().find(is_unchanged)
    };
    match rejected.into_iter().find(|one| !was_wrong(one)) {
        None => Ok(config),
        Some(Rejected { field, problem, .. }) => Err(AdminError::Invalid {
            field: if field.is_empty() {
                "body".to_owned()
            } else {
                field
            },
            problem,
        }),
    }
}

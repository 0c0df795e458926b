//! The plans that the database keeps.

use super::{
    super::{Operation, encode as columns, text},
    Bind, LedgerError, Session, Statement, integer, made, next,
};
use crate::{
    Generation, PlanName,
    directory::{PlansChange, PlansEdit, Replaced, StoredPlan, StoredPlans},
};

/// All plans.
pub(super) struct All;

impl Operation for All {
    type Answer = StoredPlans;

    /// In one statement, so that plans and generation belong together.
    async fn run<S: Session>(&self, session: &mut S) -> Result<StoredPlans, LedgerError> {
        let statement = Statement::new(
            "SELECT s.generation, s.default_plan, p.name, p.body, p.changed_at \
             FROM plan_set s LEFT JOIN plans p ON TRUE ORDER BY p.name",
            Vec::new(),
        );
        let rows = session.rows(&statement, |row| {
            let plan = match row.optional_text(2)? {
                Some(name) => Some(StoredPlan {
                    name: columns::parse(&name)?,
                    body: text::from_json(&row.text(3)?)?,
                    changed_at: columns::at(row, 4)?,
                }),
                None => None,
            };
            let default = row.text(1)?;
            let default = (!default.is_empty()).then(|| columns::parse(&default));
            Ok((row.count(0)?, default.transpose()?, plan))
        });
        let mut all = StoredPlans::default();
        for (generation, default, plan) in rows.await? {
            all.generation = Generation(generation);
            all.default = default;
            all.plans.extend(plan);
        }
        Ok(all)
    }
}

impl Operation for PlansChange {
    type Answer = Replaced;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Replaced, LedgerError> {
        if let Some(generation) = made(session, &self.audit).await? {
            return Ok(Replaced::Done(generation));
        }
        let before = integer(self.generation)?;
        let after = next(before)?;
        let raise = Statement::new(
            "UPDATE plan_set SET generation = ?1 WHERE generation = ?2",
            vec![Bind::Integer(after), Bind::Integer(before)],
        );
        if session.execute(&raise).await? == 1 {
            session.execute(&edit(&self.edit)?).await?;
            super::audit(session, &self.audit, after).await?;
            return Ok(Replaced::Done(Generation(after.unsigned_abs())));
        }
        // It may have waited for itself.
        if let Some(generation) = made(session, &self.audit).await? {
            return Ok(Replaced::Done(generation));
        }
        Ok(Replaced::Outdated(generation(session).await?))
    }
}

async fn generation<S: Session>(session: &mut S) -> Result<Generation, LedgerError> {
    let statement = Statement::new("SELECT generation FROM plan_set", Vec::new());
    let found = session.rows(&statement, |row| row.count(0)).await?;
    Ok(Generation(found.first().copied().unwrap_or_default()))
}

fn edit(edit: &PlansEdit) -> Result<Statement<'_>, LedgerError> {
    Ok(match edit {
        PlansEdit::Put(StoredPlan {
            name,
            body,
            changed_at,
        }) => Statement::new(
            "INSERT INTO plans (name, body, changed_at) VALUES (?1, ?2, ?3) \
             ON CONFLICT (name) DO UPDATE \
             SET body = excluded.body, changed_at = excluded.changed_at",
            vec![
                text::bind(name.as_str()),
                text::json(body)?,
                columns::millis(*changed_at)?,
            ],
        ),
        PlansEdit::Remove(name) => Statement::new(
            "DELETE FROM plans WHERE name = ?1",
            vec![text::bind(name.as_str())],
        ),
        PlansEdit::Default(plan) => Statement::new(
            "UPDATE plan_set SET default_plan = ?1",
            vec![text::bind_or_empty(plan.as_ref().map(PlanName::as_str))],
        ),
    })
}

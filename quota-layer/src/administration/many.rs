//! Changes of many users at once, and forgetting one.

use quota_store::{
    PlanName, Requester, Subject, TenantId, UserId,
    directory::{AssignedQuery, Entries},
    ledger::{Batch, Target},
};
use serde_json::json;

use super::{
    AdminError, Administration, Doing, PlanChange, Whom,
    change::{Change, MAX_CONFLICTS, derived, too_many_conflicts},
    position::{Position, entry_of, scope_of, with_entry},
    switch::check,
};

/// How many users are read from the database at once.
const PAGE: u32 = 500;

/// How the names begin that those have who were forgotten.
const FORGOTTEN_PREFIX: &str = "forgotten-";

/// Whether a user is one who was forgotten.
pub(super) fn is_forgotten(user: &UserId) -> bool {
    let name = user.as_str().strip_prefix(FORGOTTEN_PREFIX);
    name.is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// How many records one step of forgetting changes.
const FORGOTTEN_AT_ONCE: u32 = 1_000;

impl Administration {
    /// Gives many users of a tenant another plan. It answers how many have it now that did not
    /// before; with `dry_run` how many would.
    ///
    /// Each user is a change of its own with an audit of its own. Where it fails half-way, the same
    /// again goes on with the others.
    ///
    /// # Errors
    ///
    /// As [`assign`](Self::assign).
    #[expect(
        clippy::too_many_arguments,
        reason = "whose, whom, what, how, and who does it"
    )]
    pub async fn assign_many(
        &self,
        tenant: Option<&TenantId>,
        whom: &Whom,
        change: &PlanChange,
        dry_run: bool,
        doing: &Doing,
    ) -> Result<u64, AdminError> {
        let mut count = 0;
        match whom {
            Whom::Users(users) => {
                for user in users {
                    let subject = user_of(tenant, user);
                    count += self.assign_one(&subject, change, dry_run, doing).await?;
                }
            }
            Whom::WithPlan(plan) => {
                let subjects = self.with_plan(plan, tenant).await?;
                for subject in subjects
                    .iter()
                    .filter(|subject| is_user_of(subject, tenant))
                {
                    if self.has_now(subject, plan).await? {
                        count += self.assign_one(subject, change, dry_run, doing).await?;
                    }
                }
            }
            Whom::Everyone => {
                let mut after: Option<UserId> = None;
                loop {
                    let page = self.ledger()?.seen(tenant, after.as_ref(), PAGE).await;
                    let page = page.map_err(AdminError::Ledger)?;
                    for user in page.rows.iter().filter(|user| is_person(user)) {
                        let subject = user_of(tenant, user);
                        count += self.assign_one(&subject, change, dry_run, doing).await?;
                    }
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(count)
    }

    /// Everybody who has a plan, or will. They are gathered first: assigning them another one would
    /// move the pages.
    pub(super) async fn with_plan(
        &self,
        plan: &PlanName,
        tenant: Option<&TenantId>,
    ) -> Result<Vec<Subject>, AdminError> {
        let mut query = AssignedQuery {
            plan: plan.clone(),
            tenant: tenant.cloned(),
            now: self.shared.store.now(),
            after: None,
            limit: PAGE,
        };
        let mut subjects = Vec::new();
        loop {
            let page = self.directory()?.assigned(&query).await;
            let page = page.map_err(AdminError::Ledger)?;
            subjects.extend(page.rows);
            query.after = page.next;
            if query.after.is_none() {
                return Ok(subjects);
            }
        }
    }

    async fn has_now(&self, subject: &Subject, plan: &PlanName) -> Result<bool, AdminError> {
        let entries = self.entries(subject).await?;
        let entry = entry_of(&entries, scope_of(subject));
        let present = entry.assignment_at(self.shared.store.now());
        Ok(present.is_some_and(|one| one.plan == *plan))
    }

    /// Puts one plan in the place of another wherever a subject was assigned it, now or later: from
    /// when on, until when and everything else stay.
    pub(super) async fn rename_one(
        &self,
        subject: &Subject,
        (old, new): (&PlanName, &PlanName),
        doing: &Doing,
    ) -> Result<(), AdminError> {
        let doing = Doing {
            id: derived(doing.id, &subject_label(subject)),
            ..doing.clone()
        };
        let change = Change {
            subject,
            action: "plan",
            doing: &doing,
        };
        let scope = scope_of(subject);
        for _ in 0..MAX_CONFLICTS {
            let entries = self.entries(subject).await?;
            let before = entry_of(&entries, scope);
            let mut after = before.clone();
            for one in after.assignments.iter_mut().filter(|one| one.plan == *old) {
                one.plan = new.clone();
            }
            if after == before {
                // Done before, and maybe nobody was told.
                return self.advance(change, before.generation).await;
            }
            let claim = self.claim_of(subject).await?;
            let runtime = self.shared.runtime.load_full();
            let now = self.shared.store.now();
            let position =
                |entries: &Entries| Position::by_entries(&runtime, subject, (entries, &claim), now);
            let others = with_entry(&entries, scope, after.clone());
            self.seed(change, &position(&entries), &position(&others))
                .await?;
            if let Some(generation) = self.replace(change, &before, after).await? {
                return self.advance(change, generation).await;
            }
        }
        Err(too_many_conflicts())
    }

    /// 1 where it changed something.
    pub(super) async fn assign_one(
        &self,
        subject: &Subject,
        change: &PlanChange,
        dry_run: bool,
        doing: &Doing,
    ) -> Result<u64, AdminError> {
        let entries = self.entries(subject).await?;
        let claim = self.claim_of(subject).await?;
        let runtime = self.shared.runtime.load_full();
        let now = self.shared.store.now();
        let position = Position::by_entries(&runtime, subject, (&entries, &claim), now);
        check(change, &position)?;
        let has_it = position.holding.terms(position.scope).plan() == Some(&change.plan);
        if dry_run {
            return Ok(u64::from(!has_it));
        }
        let doing = Doing {
            id: derived(doing.id, &subject_label(subject)),
            ..doing.clone()
        };
        if has_it {
            // Maybe this was done before, and nobody could be told.
            let generation = entry_of(&entries, scope_of(subject)).generation;
            let change = Change {
                subject,
                action: "plan",
                doing: &doing,
            };
            self.advance(change, generation).await?;
            return Ok(0);
        }
        self.switch(subject, change, &doing).await?;
        Ok(1)
    }

    /// Forgets a person: records are pseudonymised, sums stay, what it was assigned goes. It answers
    /// how many records were changed.
    ///
    /// Counters whose windows are open keep the person's id until these end: limits hold on.
    ///
    /// # Errors
    ///
    /// [`AdminError::NoLedger`], [`AdminError::Store`] and [`AdminError::Ledger`].
    pub async fn forget(&self, requester: &Requester, doing: &Doing) -> Result<u64, AdminError> {
        let ledger = self.ledger()?;
        let pseudonym = format!(
            "{FORGOTTEN_PREFIX}{}",
            derived(doing.id, "pseudonym").simple()
        );
        let Ok(pseudonym) = UserId::new(&pseudonym) else {
            unreachable!("a pseudonym is not empty");
        };
        let mut changed = 0;
        loop {
            let step = ledger
                .forget(requester, &pseudonym, FORGOTTEN_AT_ONCE)
                .await;
            match step.map_err(AdminError::Ledger)? {
                0 => break,
                rows => changed += rows,
            }
        }
        let subject = user_of(requester.tenant.as_ref(), &requester.user);
        let change = Change {
            subject: &subject,
            action: "forget",
            doing,
        };
        // The audit of it must not name the person again.
        let mut audit = change.audit(
            self.shared.store.now(),
            serde_json::Value::Null,
            json!({ "records": changed }),
        );
        audit.target = Target::User(pseudonym);
        self.append(Batch {
            audits: vec![audit],
            ..Batch::default()
        })
        .await?;
        let entries = self.entries(&subject).await?;
        self.advance(change, entries.user.generation).await?;
        Ok(changed)
    }
}

/// Whether a user can be given something.
fn is_person(user: &UserId) -> bool {
    !user.is_anonymous() && !is_forgotten(user)
}

fn user_of(tenant: Option<&TenantId>, user: &UserId) -> Subject {
    Subject::User {
        tenant: tenant.cloned(),
        user: user.clone(),
    }
}

fn is_user_of(subject: &Subject, of: Option<&TenantId>) -> bool {
    matches!(subject, Subject::User { tenant, .. } if tenant.as_ref() == of)
}

/// Tells subjects apart where ids are made of them; no id holds a NUL.
fn subject_label(subject: &Subject) -> String {
    match subject {
        Subject::User { tenant, user } => {
            let tenant = tenant.as_ref().map_or("", TenantId::as_str);
            format!("user\0{tenant}\0{}", user.as_str())
        }
        Subject::Tenant(tenant) => format!("tenant\0{}", tenant.as_str()),
    }
}

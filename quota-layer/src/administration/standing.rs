//! How users and tenants stand.

use std::sync::Arc;

use quota_store::{CounterValues, Requester, Scope, Subject, TenantId, directory::Status};

use super::{
    AdminError, Administration, PlanStanding, QuotaStanding, Standing, position::Position,
    users::claimed,
};
use crate::{
    QuotaIdentity, headers,
    plans::{Lookup, billing_anchor},
    status::{CounterView, Snapshot, closest},
};

impl Administration {
    /// How a user stands, by what it was assigned or the default plan; with a token, by what the
    /// token claims too, and without its tenant's counters where members do not see them.
    ///
    /// # Errors
    ///
    /// [`AdminError::Store`] and [`AdminError::Ledger`].
    pub async fn user(
        &self,
        requester: &Requester,
        identity: Option<&QuotaIdentity>,
    ) -> Result<Standing, AdminError> {
        let subject = Subject::User {
            tenant: requester.tenant.clone(),
            user: requester.user.clone(),
        };
        // Users are not told when they were there; so they can do without the ledger.
        let seen = match identity {
            Some(_) => None,
            None => self.last_seen(&subject).await?,
        };
        let last = claimed(seen.as_ref());
        let claim = match identity {
            Some(identity) => identity.plan(),
            None => last.as_deref(),
        };
        let position = self.position(&subject, claim).await;
        let responses = &position.config().responses;
        let hides_tenant = identity.is_some() && headers::is_hidden(responses, Scope::Tenant);
        let shows = |scope| scope == Scope::User || !hides_tenant;
        let mut standing = self.standing(&position, shows).await?;
        standing.last_seen_at = seen.map(|seen| seen.at);
        Ok(standing)
    }

    /// How a tenant as a whole stands.
    ///
    /// # Errors
    ///
    /// [`AdminError::Store`] and [`AdminError::Ledger`].
    pub async fn tenant(&self, tenant: &TenantId) -> Result<Standing, AdminError> {
        self.standing_of(&Subject::Tenant(tenant.clone())).await
    }

    /// How a subject stands, for administrators.
    pub(super) async fn standing_of(&self, subject: &Subject) -> Result<Standing, AdminError> {
        let seen = self.last_seen(subject).await?;
        let claim = claimed(seen.as_ref());
        let position = self.position(subject, claim.as_deref()).await;
        let shows = |scope| scope == position.scope || scope == Scope::Tenant;
        let mut standing = self.standing(&position, shows).await?;
        standing.last_seen_at = seen.map(|seen| seen.at);
        Ok(standing)
    }

    /// Where a subject stands now; the last that is known, where the database does not answer.
    async fn position(&self, subject: &Subject, claim: Option<&str>) -> Position {
        let now = self.shared.store.now();
        let requester = super::position::requester_of(subject);
        let assignments = &self.shared.assignments;
        let looked = assignments.look(&requester, now, Lookup::Fresh).await;
        let runtime = self.shared.runtime.load_full();
        Position::of(&runtime, subject, (looked, claim), now)
    }

    async fn standing(
        &self,
        position: &Position,
        shows: impl Fn(Scope) -> bool,
    ) -> Result<Standing, AdminError> {
        let values = self.values(position).await?;
        let snapshot = Snapshot {
            windows: Arc::clone(&position.windows),
            values,
        };
        let quotas = &position.config().quotas;
        let standings = quotas.iter().enumerate().filter_map(|(item, quota)| {
            let views = snapshot.views();
            let of_item = |view: &CounterView<'_>| view.rule.item == item && shows(view.rule.scope);
            let views: Vec<CounterView<'_>> = views.filter(of_item).collect();
            quota_standing(quota.name.clone(), &views)
        });
        Ok(Standing {
            plan: plan_standing(position),
            overrides: position.holding.terms(position.scope).overrides.clone(),
            quotas: standings.collect(),
            last_seen_at: None,
        })
    }

    /// What all counters of a position say.
    pub(super) async fn values(&self, position: &Position) -> Result<CounterValues, AdminError> {
        self.seed_young(position).await;
        let keys = position.keys();
        let values = self.shared.store.read(&position.requester, &keys).await;
        values.map(CounterValues::from).map_err(AdminError::Store)
    }
}

fn quota_standing(
    quota: quota_store::QuotaName,
    views: &[CounterView<'_>],
) -> Option<QuotaStanding> {
    let about = closest(views.iter().copied())?;
    let admits_one = |view: &CounterView<'_>| {
        let total = view.value.used.get() + view.value.reserved.get() + 1;
        view.rule.hard.admits(total)
    };
    let remaining = views.iter().filter_map(CounterView::remaining).min();
    Some(QuotaStanding {
        title: about.rule.labels.title.clone(),
        unit: about.rule.labels.unit.clone(),
        kind: "flow",
        state: about.state(),
        allowed: views.iter().all(admits_one),
        remaining: remaining.map(quota_store::Amount::get),
        counters: views.iter().map(CounterView::status).collect(),
        quota,
    })
}

fn plan_standing(position: &Position) -> PlanStanding {
    let plan = Arc::clone(position.plan());
    let assignment = match position.scope {
        Scope::User => position.holding.assignment(),
        Scope::Tenant => position.holding.tenant.assignment.as_ref(),
    };
    let assignment = assignment.filter(|one| one.plan == plan.name);
    PlanStanding {
        source: position.source(),
        status: assignment.map_or(Status::Active, |one| one.status),
        since: assignment.map(|one| one.since),
        until: assignment.and_then(|one| one.until),
        anchor: assignment.map(billing_anchor),
        next: position.next().to_vec(),
        timezone: position.timezone_name(),
        plan,
    }
}

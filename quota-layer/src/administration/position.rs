//! One subject as it stands: its plan, and the counters that are open for it.

use std::sync::Arc;

use quota_store::{
    Bound, CounterKey, KnownGeneration, Plan, QuotaName, Requester, Scope, Subject, UnixMillis,
    UserId, Window, WindowSpan,
    directory::{Entries, Entry},
    ledger::PlanSource,
};

use super::AdminError;
use crate::{
    charge::{CounterRule, TableMaker, Windows, all_quotas},
    config::Config,
    plans::{self, Holding, Looked, Resolved},
    runtime::RequestRuntime,
};

/// A subject under the plans and limits that hold for it.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) runtime: RequestRuntime,
    pub(super) requester: Requester,
    pub(super) scope: Scope,
    pub(super) holding: Arc<Holding>,
    pub(super) resolved: Resolved,
    pub(super) now: UnixMillis,
    /// Of the user and its tenant, all quotas.
    pub(super) windows: Arc<Windows>,
}

/// Whose counters a requester finds.
pub(crate) fn requester_of(subject: &Subject) -> Requester {
    match subject {
        Subject::User { tenant, user } => Requester {
            tenant: tenant.clone(),
            user: user.clone(),
        },
        // Which user asks for a tenant's counters does not matter.
        Subject::Tenant(tenant) => Requester {
            tenant: Some(tenant.clone()),
            user: UserId::new("-").expect("this text is not empty"),
        },
    }
}

pub(super) const fn scope_of(subject: &Subject) -> Scope {
    match subject {
        Subject::User { .. } => Scope::User,
        Subject::Tenant(_) => Scope::Tenant,
    }
}

/// What is known of the subject itself.
pub(super) fn entry_of(entries: &Entries, scope: Scope) -> Entry {
    match scope {
        Scope::User => entries.user.clone(),
        Scope::Tenant => entries.tenant.clone().unwrap_or_default(),
    }
}

/// The same with another entry of the subject itself.
pub(super) fn with_entry(entries: &Entries, scope: Scope, entry: Entry) -> Entries {
    let mut entries = entries.clone();
    match scope {
        Scope::User => entries.user = entry,
        Scope::Tenant => entries.tenant = Some(entry),
    }
    entries
}

impl Position {
    /// The position by what is known of a subject and its tenant.
    pub(super) fn by_entries(
        runtime: &RequestRuntime,
        subject: &Subject,
        entries: &Entries,
        now: UnixMillis,
    ) -> Self {
        let looked = Looked {
            holding: Some(Holding::at(entries, now).into()),
            user_generation: KnownGeneration::Untracked,
            tenant_generation: KnownGeneration::Untracked,
        };
        Self::of(runtime, subject, (looked, None), now)
    }

    /// The position by what was looked up, and by what a token claims.
    pub(super) fn of(
        runtime: &RequestRuntime,
        subject: &Subject,
        (looked, claim): (Looked, Option<&str>),
        now: UnixMillis,
    ) -> Self {
        let config = &runtime.config;
        let requester = requester_of(subject);
        let holding = looked.holding.clone().unwrap_or_default();
        let resolved = plans::resolve(config, claim, &requester, looked.clone())
            .unwrap_or_else(|_| plans::resolve_default(config, &requester, looked));
        let items = all_quotas(config);
        let table = TableMaker::of_quotas(config, &items, &resolved).table();
        let windows = Windows::at(now, Arc::new(table), None);
        Self {
            runtime: Arc::clone(runtime),
            scope: scope_of(subject),
            windows: Arc::new(windows),
            requester,
            holding,
            resolved,
            now,
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.runtime.config
    }

    /// The plan of the subject itself.
    pub(super) fn plan(&self) -> &Arc<Plan> {
        let index = match self.scope {
            Scope::User => self.resolved.user,
            Scope::Tenant => self.resolved.tenant.unwrap_or(self.resolved.user),
        };
        &self.config().plans[index.0]
    }

    /// Where that plan comes from.
    pub(super) fn source(&self) -> PlanSource {
        match self.scope {
            Scope::User => self.resolved.source,
            Scope::Tenant if self.holding.tenant.plan() == Some(&self.plan().name) => {
                PlanSource::Assignment
            }
            Scope::Tenant => PlanSource::Default,
        }
    }

    /// The counters of the subject itself.
    pub(super) fn own_counters(&self) -> impl Iterator<Item = (&CounterRule, &CounterKey)> {
        self.counters().filter(|(rule, _)| rule.scope == self.scope)
    }

    /// Its counters, and those of its tenant.
    pub(super) fn counters(&self) -> impl Iterator<Item = (&CounterRule, &CounterKey)> {
        let counters = self.windows.table.counters.iter();
        let keys = self.windows.holds.iter().map(|hold| &*hold.counter);
        counters.zip(keys)
    }

    pub(super) fn keys(&self) -> Vec<CounterKey> {
        self.counters().map(|(_, key)| key.clone()).collect()
    }

    /// The subject's own limit in force.
    pub(super) fn limit(&self, quota: &QuotaName, window: Window) -> Option<Bound> {
        self.own_counters()
            .find(|(rule, _)| rule.quota == *quota && rule.limit.window == window)
            .map(|(rule, _)| rule.limit.bound)
    }

    /// The window of a kind that is open, whether anything limits it or not.
    pub(super) fn span(&self, window: Window) -> WindowSpan {
        let plan = self.plan();
        let zone = self.holding.timezone(self.scope, plan);
        window.span_at(self.now, &zone, self.holding.anchor(self.scope, plan))
    }

    /// The billing period that is open: a month of the calendar, or from the billing day.
    pub(super) fn billing_period(&self) -> WindowSpan {
        self.span(Window::Month)
    }

    /// The present counter of a quota in a window.
    pub(super) fn key(&self, quota: &QuotaName, window: Window) -> CounterKey {
        CounterKey {
            scope: self.scope,
            quota: quota.clone(),
            window,
            span: self.span(window),
        }
    }

    /// That there is such a quota.
    pub(super) fn check_quota(&self, quota: &QuotaName) -> Result<(), AdminError> {
        let is_it = |known: &crate::config::QuotaConfig| known.name == *quota;
        if self.config().quotas.iter().any(is_it) {
            return Ok(());
        }
        Err(AdminError::Invalid {
            field: "quota".to_owned(),
            problem: format!("there is no quota `{quota}`"),
        })
    }

    /// The name of the calendar that its windows follow.
    pub(super) fn timezone_name(&self) -> String {
        let zone = self.holding.timezone(self.scope, self.plan());
        zone.iana_name().unwrap_or("UTC").to_owned()
    }
}

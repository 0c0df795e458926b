//! One subject as it stands: its plan, and the counters that are open for it.

use std::sync::Arc;

use quota_store::{
    Bound, CounterKey, CounterValue, KnownGeneration, Plan, PlanName, QuotaName, Requester, Scope,
    Subject, UnixMillis, UserId, Window, WindowSpan,
    directory::{Assignment, Entries, Entry},
    ledger::PlanSource,
};

use super::AdminError;
use crate::{
    QuotaState, QuotaStatus,
    charge::{CounterRule, TableMaker, Windows, all_quotas},
    config::Config,
    plans::{self, Holding, Looked, Resolved},
    runtime::RequestRuntime,
    status::rfc3339,
};

/// The plan that the token of a subject claims, as far as its last attempt tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim(pub(super) Option<PlanName>);

impl Claim {
    pub(super) fn as_deref(&self) -> Option<&str> {
        self.0.as_ref().map(PlanName::as_str)
    }
}

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
    /// The position by what is known of a subject and its tenant, and by what its token claims.
    pub(super) fn by_entries(
        runtime: &RequestRuntime,
        subject: &Subject,
        (entries, claim): (&Entries, &Claim),
        now: UnixMillis,
    ) -> Self {
        let looked = Looked {
            holding: Some(Holding::at(entries, now).into()),
            user_generation: KnownGeneration::Untracked,
            tenant_generation: KnownGeneration::Untracked,
        };
        Self::of(runtime, subject, (looked, claim.as_deref()), now)
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

    /// How a window stands that nothing limits; `None` where there is no such quota.
    pub(super) fn without_limit(
        &self,
        quota: &QuotaName,
        window: Window,
        value: CounterValue,
    ) -> Option<QuotaStatus> {
        let mut quotas = self.config().quotas.iter();
        let known = quotas.find(|known| known.name == *quota)?;
        Some(QuotaStatus {
            quota: quota.as_str().to_owned(),
            title: known.title.get("en").to_owned(),
            unit: known.unit_one.clone(),
            scope: self.scope.as_str(),
            window: window.to_string(),
            limit: None,
            hard_limit: None,
            used: value.used.get(),
            reserved: value.reserved.get(),
            remaining: None,
            percent_used: None,
            state: QuotaState::Unlimited,
            warning_level: None,
            in_grace: false,
            resets_at: self.span(window).end().and_then(rfc3339),
        })
    }

    /// That something is counted in a window of a quota.
    pub(super) fn check_window(&self, quota: &QuotaName, window: Window) -> Result<(), AdminError> {
        if self.limit(quota, window).is_some() {
            return Ok(());
        }
        let of_quota = self.own_counters().filter(|(rule, _)| rule.quota == *quota);
        let windows: Vec<String> = of_quota
            .map(|(rule, _)| rule.limit.window.to_string())
            .collect();
        Err(AdminError::Invalid {
            field: "window".to_owned(),
            problem: format!(
                "nothing of `{quota}` is counted in the window `{window}`; it is counted in: {}",
                if windows.is_empty() {
                    "none".to_owned()
                } else {
                    windows.join(", ")
                }
            ),
        })
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

    /// What is assigned for later: to the subject, else to its tenant.
    pub(super) fn next(&self) -> &[Assignment] {
        let own = &self.holding.terms(self.scope).next;
        if own.is_empty() && self.holding.terms(self.scope).assignment.is_none() {
            return &self.holding.tenant.next;
        }
        own
    }

    /// The name of the calendar that its windows follow.
    pub(super) fn timezone_name(&self) -> String {
        let zone = self.holding.timezone(self.scope, self.plan());
        zone.iana_name().unwrap_or("UTC").to_owned()
    }
}

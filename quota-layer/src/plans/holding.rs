//! What a requester and its tenant were given, for one stretch of time.

use std::sync::{LazyLock, Mutex, PoisonError};

use jiff::tz::TimeZone;
use quota_store::{
    Anchor, Periods, Plan, PlanName, Scope, UnixMillis,
    directory::{Assignment, Entries, Entry, Override},
};

use crate::charge::OwnTable;

/// How many charge tables of its own a requester may have before the oldest go.
const MAX_TABLES: usize = 64;

static NOTHING: LazyLock<Holding> = LazyLock::new(Holding::default);

/// What holds for a requester, worked out for one stretch of time.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    pub(crate) user: Terms,
    pub(crate) tenant: Terms,
    /// Charge tables of these subjects alone. Held for a look-up, never across an await.
    tables: Mutex<Vec<OwnTable>>,
}

/// What holds for one subject.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) assignment: Option<Assignment>,
    /// What is assigned for later, the earliest first.
    pub(crate) next: Vec<Assignment>,
    /// The time zone of the assignment.
    timezone: Option<TimeZone>,
    pub(crate) overrides: Vec<Override>,
}

impl Holding {
    /// That nothing was given to anybody.
    pub(crate) fn nothing() -> &'static Self {
        &NOTHING
    }

    /// Only plans.
    pub(crate) fn of_plans(user: Option<PlanName>, tenant: Option<PlanName>) -> Self {
        let terms = |plan: Option<PlanName>| Terms {
            assignment: plan.map(|plan| Assignment {
                plan,
                since: UnixMillis::new(0),
                until: None,
                anchor: None,
                timezone: None,
                status: quota_store::directory::Status::Active,
            }),
            ..Terms::default()
        };
        Self {
            user: terms(user),
            tenant: terms(tenant),
            tables: Mutex::default(),
        }
    }

    /// What holds at an instant.
    pub(crate) fn at(entries: &Entries, now: UnixMillis) -> Self {
        let tenant = entries.tenant.as_ref();
        Self {
            user: Terms::at(&entries.user, now),
            tenant: tenant
                .map(|entry| Terms::at(entry, now))
                .unwrap_or_default(),
            tables: Mutex::default(),
        }
    }

    /// The plan that is assigned to the user, else to its tenant.
    pub(crate) fn plan(&self) -> Option<&PlanName> {
        self.user.plan().or(self.tenant.plan())
    }

    /// The assignment that the user's plan comes from.
    pub(crate) fn assignment(&self) -> Option<&Assignment> {
        let user = self.user.assignment.as_ref();
        user.or(self.tenant.assignment.as_ref())
    }

    /// Whether nothing but plans was given.
    pub(crate) fn is_plain(&self) -> bool {
        self.user.is_plain() && self.tenant.is_plain()
    }

    /// Whether billing periods have a beginning.
    pub(crate) fn has_anchor(&self) -> bool {
        self.user.assignment.is_some() || self.tenant.assignment.is_some()
    }

    pub(crate) fn terms(&self, scope: Scope) -> &Terms {
        match scope {
            Scope::User => &self.user,
            Scope::Tenant => &self.tenant,
        }
    }

    /// Whose calendar the windows of one scope follow: the subject's own, else its tenant's, else
    /// its plan's.
    pub(crate) fn timezone(&self, scope: Scope, plan: &Plan) -> TimeZone {
        let own = self.terms(scope).timezone.as_ref();
        let zone = own.or(self.tenant.timezone.as_ref());
        zone.unwrap_or(&plan.timezone).clone()
    }

    /// Where the windows of one scope begin.
    pub(crate) fn anchor(&self, scope: Scope, plan: &Plan) -> Anchor {
        if plan.periods == Periods::Calendar {
            return Anchor::Calendar;
        }
        let own = self.terms(scope).assignment.as_ref();
        let assignment = own.or(self.tenant.assignment.as_ref());
        assignment.map_or(Anchor::Calendar, |assignment| {
            Anchor::Subscription(billing_anchor(assignment))
        })
    }

    /// Looks at the charge tables of these subjects alone, and changes them.
    pub(crate) fn with_tables<T>(&self, use_them: impl FnOnce(&mut Vec<OwnTable>) -> T) -> T {
        // A panic elsewhere leaves whole tables behind: every change is one step.
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() > MAX_TABLES {
            tables.remove(0);
        }
        use_them(&mut tables)
    }
}

/// Where the billing periods of an assignment begin.
pub(crate) fn billing_anchor(assignment: &Assignment) -> UnixMillis {
    assignment.anchor.unwrap_or(assignment.since)
}

impl Terms {
    fn at(entry: &Entry, now: UnixMillis) -> Self {
        let assignment = entry.assignment_at(now).cloned();
        let timezone = assignment.as_ref().and_then(|one| one.timezone.as_deref());
        Self {
            timezone: timezone.and_then(known_zone),
            next: entry
                .assignments
                .iter()
                .filter(|one| one.since > now)
                .cloned()
                .collect(),
            assignment,
            overrides: entry.overrides_at(now).cloned().collect(),
        }
    }

    pub(crate) fn plan(&self) -> Option<&PlanName> {
        self.assignment.as_ref().map(|assignment| &assignment.plan)
    }

    fn is_plain(&self) -> bool {
        self.timezone.is_none() && self.overrides.is_empty()
    }
}

fn known_zone(name: &str) -> Option<TimeZone> {
    let zone = TimeZone::get(name);
    if zone.is_err() {
        tracing::warn!(
            target: "quota::plan",
            timezone = name,
            "an assignment names a time zone that this machine does not know; its plan's is used"
        );
    }
    zone.ok()
}

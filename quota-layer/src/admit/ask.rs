//! Asking the store once, from what is known of plans and windows.

use std::{sync::Arc, time::Duration};

use quota_store::{
    Abort, Admission, Allowed, CounterValues, Decision, OnStoreFailure, Requester, ReservationId,
    Reserve, Stale, Unavailable, UnixMillis,
};

use super::{Knowledge, Passage};
use crate::{
    charge::Windows,
    config::OnFailure,
    guard::Guard,
    identity::QuotaIdentity,
    logs,
    metrics::Outcome,
    plans::{self, Lookup, Resolved},
    record::{Draft, Origin},
    refusal::{Denial, Refusal},
    runtime::{Runtime, rule_name},
    shared::Shared,
    status::Snapshot,
};

/// The ledger is behind: it may have caught up in a second.
const BACKLOG_FULL: Refusal = Refusal::Unavailable {
    retry_after_seconds: 1,
};

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) runtime: &'a Runtime,
    pub(crate) rule: usize,
    pub(crate) identity: &'a QuotaIdentity,
    pub(crate) requester: &'a Requester,
    pub(super) origin: Option<&'a Origin>,
}

/// What a request that may run has.
pub(super) struct Held {
    pub(super) snapshot: Snapshot,
    pub(super) passage: Passage,
    pub(super) draft: Option<Box<Draft>>,
}

/// One answer on the way to a decision.
pub(super) enum Answer {
    Admitted(Held),
    Refused(Refusal, Option<Box<Draft>>),
    /// Ask again, since this is out of date, or else the reserve came too late.
    Again(Option<Stale>),
}

impl Ask<'_> {
    /// Reserves everything the request costs, or says why not, or what is out of date.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point, what was or will be held is given back.
    pub(super) async fn once(
        &self,
        attempt: ReservationId,
        now: UnixMillis,
        knowledge: &Knowledge,
    ) -> Answer {
        match self.resolve(now, knowledge).await {
            Ok(plans) => {
                let windows = self.windows(now, &plans, knowledge).await;
                self.reserve((attempt, now), &plans, windows).await
            }
            Err(refusal) => Answer::Refused(refusal, self.draft(attempt, now)),
        }
    }

    async fn resolve(&self, now: UnixMillis, knowledge: &Knowledge) -> Result<Resolved, Refusal> {
        let assignments = &self.shared.assignments;
        let known = match knowledge.lookup {
            Lookup::Cached => assignments.now(self.requester, now),
            Lookup::Fresh => None,
        };
        let looked = if let Some(looked) = known {
            looked
        } else {
            knowledge.patience.wait().await;
            let looking = assignments.look(self.requester, now, knowledge.lookup);
            // Seldom needed, and large: kept out of the future of every request.
            Box::pin(looking).await
        };
        let config = &self.runtime.config;
        let claim = self.identity.plan();
        let mut plans = plans::resolve(config, claim, self.requester, looked)?;
        plans.plans_generation = self
            .shared
            .plans_generation(self.runtime, knowledge.has_fresh_plans);
        plans.accept_older(&knowledge.floor);
        Ok(plans)
    }

    /// The windows that are open, with counters that began with them or with the ledger.
    async fn windows(
        &self,
        now: UnixMillis,
        plans: &Resolved,
        knowledge: &Knowledge,
    ) -> Arc<Windows> {
        let charges = &self.runtime.charges;
        let windows = charges.windows(&self.runtime.config, self.rule, plans, now);
        let who = (self.requester, plans);
        if self.shared.must_seed(self.runtime, who, &windows) {
            knowledge.patience.wait().await;
            // Seldom needed, and large: kept out of the future of every request.
            Box::pin(self.shared.seed(self.runtime, who, &windows)).await;
        }
        windows
    }

    async fn reserve(
        &self,
        (attempt, now): (ReservationId, UnixMillis),
        plans: &Resolved,
        windows: Arc<Windows>,
    ) -> Answer {
        let config = &self.runtime.config;
        let request = Arc::new(self.request(attempt, now, plans, &windows));
        let mut draft = self.draft(attempt, now);
        if let Some(draft) = &mut draft {
            draft.asks(plans.at_the_time(config), windows.table.charged(None));
        }
        let snapshot = |values| Snapshot { windows, values };
        if self.is_backlog_full() {
            let uncounted = snapshot(CounterValues::new());
            uncounted.table().count(Outcome::Unavailable, None);
            return Answer::Refused(BACKLOG_FULL, draft);
        }
        let mut guard = Guard::new(self.shared, &request);
        match self.shared.store.reserve(&request, self.on_failure()).await {
            Admission::Decided(Decision::Allowed(Allowed {
                reservation,
                counters,
            })) => {
                if let Some(draft) = &mut draft {
                    draft.held(reservation.reserved_at);
                }
                guard.held(reservation);
                Answer::Admitted(Held {
                    snapshot: snapshot(counters),
                    passage: Passage::Held(guard),
                    draft,
                })
            }
            Admission::Decided(decision) => {
                guard.nothing_held();
                self.not_held(&request, decision, snapshot, draft)
            }
            Admission::LetThrough(through) => {
                drop_unless_unknown(guard, through.abort);
                logs::let_through(self, through.kind);
                let uncounted = snapshot(CounterValues::new());
                uncounted.table().count(Outcome::FailOpen, None);
                if let Some(draft) = &mut draft {
                    draft.let_through();
                }
                Answer::Admitted(Held {
                    snapshot: uncounted,
                    passage: Passage::LetThrough(through),
                    draft,
                })
            }
            Admission::Unavailable(unavailable) => {
                drop_unless_unknown(guard, unavailable.abort);
                snapshot(CounterValues::new())
                    .table()
                    .count(Outcome::Unavailable, None);
                Answer::Refused(self.unavailable(unavailable), draft)
            }
        }
    }

    fn on_failure(&self) -> OnStoreFailure {
        match self.runtime.config.on_failure(self.rule) {
            OnFailure::Deny => OnStoreFailure::Deny,
            OnFailure::Allow => OnStoreFailure::Allow,
            OnFailure::Local => OnStoreFailure::Local,
        }
    }

    fn request(
        &self,
        id: ReservationId,
        now: UnixMillis,
        plans: &Resolved,
        windows: &Windows,
    ) -> Reserve {
        let store = &self.runtime.config.store;
        // Twice the time-out bears with a clock that is known only as well as the last reply.
        let latest = store
            .reservation_ttl
            .saturating_sub(Duration::from_millis(1));
        let patience = (store.timeout * 2).min(latest);
        Reserve {
            id,
            requester: self.requester.clone(),
            not_after: now.saturating_add(patience),
            ttl: store.reservation_ttl,
            user_generation: plans.user_generation,
            tenant_generation: plans.tenant_generation,
            plans_generation: plans.plans_generation,
            max_in_flight: store.max_in_flight,
            orphans: self.runtime.config.plans[plans.user.0]
                .orphans
                .unwrap_or(store.orphans),
            holds: windows.holds.clone(),
        }
    }

    fn not_held(
        &self,
        request: &Reserve,
        decision: Decision,
        snapshot: impl FnOnce(CounterValues) -> Snapshot,
        draft: Option<Box<Draft>>,
    ) -> Answer {
        let stale = match decision {
            Decision::Denied(denied) => {
                let snapshot = snapshot(denied.counters.clone());
                snapshot.table().count(Outcome::Denied, None);
                let denial = Denial::new(snapshot, &denied, request.max_in_flight);
                logs::denied(self, request.id, &denial);
                return Answer::Refused(Refusal::Denied(Box::new(denial)), draft);
            }
            Decision::Stale(stale) => Some(stale),
            // Windows and `not_after` are computed anew.
            Decision::Void | Decision::Allowed(_) => None,
        };
        if let Some(draft) = draft {
            draft.forget();
        }
        Answer::Again(stale)
    }

    /// What the ledger is to say of it; `None` without one.
    fn draft(&self, attempt: ReservationId, now: UnixMillis) -> Option<Box<Draft>> {
        let records = self.shared.records.as_ref()?;
        let config = &self.runtime.config;
        let draft = Draft::new(records, attempt, now)
            .under(config.revision(), self.origin)
            .of(self.requester)
            .under_rule(rule_name(config, self.rule));
        Some(Box::new(draft))
    }

    /// Whether nothing more may be charged until the ledger has taken what waits for it.
    fn is_backlog_full(&self) -> bool {
        let records = self.shared.records.as_ref();
        records.is_some_and(|records| records.refuse(&self.shared.store))
    }

    fn unavailable(&self, unavailable: Unavailable) -> Refusal {
        logs::unavailable(self, unavailable.kind);
        let wait = unavailable.retry_after.as_millis().div_ceil(1000).max(1);
        Refusal::Unavailable {
            retry_after_seconds: u64::try_from(wait).unwrap_or(u64::MAX),
        }
    }
}

/// Lets the guard abort a reserve only where the store may have run it, or still may.
fn drop_unless_unknown(guard: Guard, abort: Abort) {
    match abort {
        Abort::Required => drop(guard),
        Abort::NotNeeded => guard.nothing_held(),
    }
}

//! Reserves what a request costs, before the handler runs.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use quota_store::{
    Abort, Admission, Allowed, CounterValues, Decision, LetThrough, OnStoreFailure, Requester,
    ReservationId, Reserve, Stale, Unavailable, UnixMillis,
};

use crate::{
    charge::Windows,
    config::{IdentityConfig, OnFailure},
    future::Turned,
    guard::Guard,
    identify::Identified,
    identity::{QuotaIdentity, Unauthenticated},
    logs,
    metrics::Outcome,
    plans::{self, Floor, Lookup, Resolved},
    record::{Draft, Origin},
    refusal::{Denial, Refusal},
    runtime::{RequestRuntime, Runtime, rule_name},
    settle::Charge,
    shared::Shared,
    status::Snapshot,
};

/// How often a reserve is asked anew because something it was computed from had changed.
const MAX_ASKS: usize = 5;

/// The ledger is behind: it may have caught up in a second.
const BACKLOG_FULL: Refusal = Refusal::Unavailable {
    retry_after_seconds: 1,
};

/// A request that is not admitted yet.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) shared: Arc<Shared>,
    pub(crate) runtime: RequestRuntime,
    pub(crate) rule: usize,
    pub(crate) identified: Identified,
    /// `None` without a ledger.
    pub(crate) origin: Option<Box<Origin>>,
}

/// A request that may run.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) identity: QuotaIdentity,
    /// Without values where it passes uncounted.
    pub(crate) snapshot: Snapshot,
    pub(crate) passage: Passage,
    /// What the ledger is to say of it; `None` without one.
    pub(crate) draft: Option<Box<Draft>>,
    /// What decided, where plans changed since the request began.
    pub(crate) newer: Option<RequestRuntime>,
}

/// On what ground it may run.
#[derive(Debug)]
pub(crate) enum Passage {
    /// Its units are held.
    Held(Guard),
    /// The store could not be asked, and the rule lets it through.
    LetThrough(LetThrough),
}

/// Why a request may not run.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) attempt: ReservationId,
    pub(crate) refusal: Refusal,
    /// What decided, where plans changed since the request began.
    pub(crate) newer: Option<RequestRuntime>,
}

/// Whether a database may be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// No: then the future never ends, and is to be dropped.
    None,
    Some,
}

impl Patience {
    /// Stands before everything that is waited for.
    async fn wait(self) {
        if self == Self::None {
            std::future::pending::<()>().await;
        }
    }
}

impl Incoming {
    /// The answer where nothing is waited for; asked in place, its future is never moved.
    pub(crate) fn admit_now(&self) -> Option<Result<Admitted, Refused>> {
        if !self.shared.store.never_waits() || self.identified.waits() {
            return None;
        }
        self.admit(Patience::None).now_or_never()
    }

    /// Finds out who makes the request, and reserves what it costs.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point, what was or will be held is given back.
    async fn admit(&self, patience: Patience) -> Result<Admitted, Refused> {
        let _stopwatch = self.shared.metrics.stopwatch();
        let mut now = self.shared.store.now();
        let mut newer: Option<RequestRuntime> = None;
        let refuse = |refusal| Refused {
            attempt: ReservationId::generate(now),
            refusal,
            newer: None,
        };
        let identity = self.identified.known().await.map_err(refuse)?;
        let config = &self.runtime.config.identity;
        let requester = countable(config, &identity).map_err(refuse)?;
        let mut knowledge = Knowledge::new(patience);
        let mut attempt = ReservationId::generate(now);
        for _ in 0..MAX_ASKS {
            let ask = Ask {
                shared: &self.shared,
                runtime: newer.as_ref().unwrap_or(&self.runtime),
                rule: self.rule,
                identity: &identity,
                requester,
                origin: self.origin.as_deref(),
            };
            match ask.once(attempt, now, &knowledge).await {
                Answer::Admitted(held) => {
                    let Held {
                        snapshot,
                        passage,
                        draft,
                    } = held;
                    return Ok(Admitted {
                        identity,
                        snapshot,
                        passage,
                        draft,
                        newer,
                    });
                }
                Answer::Refused(refusal, draft) => {
                    if let Some(draft) = draft {
                        let status = refusal.status(&ask.runtime.config.responses);
                        draft.refused(&refusal, status.as_u16());
                    }
                    return Err(Refused {
                        attempt,
                        refusal,
                        newer,
                    });
                }
                Answer::Again(stale) => {
                    if knowledge.note(stale.as_ref()) {
                        patience.wait().await;
                        let runtime = newer.as_ref().unwrap_or(&self.runtime);
                        let (runtime, is_fresh) = self.shared.newer_runtime(runtime).await;
                        (newer, knowledge.has_fresh_plans) = (Some(runtime), is_fresh);
                    }
                }
            }
            now = self.shared.store.now();
            attempt = ReservationId::generate(now);
        }
        Err(Refused {
            attempt,
            refusal: never_decided(),
            newer,
        })
    }

    /// The same for a future that owns it.
    pub(crate) async fn admission(self) -> Result<Box<Charge>, Turned> {
        let answer = self.admit(Patience::Some).await;
        self.concluded(answer)
    }

    /// What follows from the answer.
    pub(crate) fn concluded(
        self,
        answer: Result<Admitted, Refused>,
    ) -> Result<Box<Charge>, Turned> {
        match answer {
            Ok(mut admitted) => {
                let runtime = admitted.newer.take().unwrap_or(self.runtime);
                let charge = Charge::new(self.shared, runtime, self.rule, admitted);
                // It is moved through several states of a request, so a pointer is moved instead.
                Ok(Box::new(charge))
            }
            Err(mut refused) => {
                let runtime = refused.newer.take().unwrap_or(self.runtime);
                Err(Turned { refused, runtime })
            }
        }
    }
}

fn never_decided() -> Refusal {
    tracing::error!(
        target: "quota::store",
        asks = MAX_ASKS,
        "the counter store called every reserve of a request out of date"
    );
    Refusal::Unavailable {
        retry_after_seconds: 1,
    }
}

/// What a request knows of plans, and how current that is.
#[derive(Debug)]
struct Knowledge {
    patience: Patience,
    lookup: Lookup,
    floor: Floor,
    has_fresh_plans: bool,
}

impl Knowledge {
    fn new(patience: Patience) -> Self {
        Self {
            patience,
            lookup: Lookup::Cached,
            floor: Floor::default(),
            has_fresh_plans: false,
        }
    }

    /// Takes what the store called out of date; whether that is the plans themselves.
    fn note(&mut self, stale: Option<&Stale>) -> bool {
        if let Some(stale @ (Stale::Plan { .. } | Stale::Plans { .. })) = stale {
            self.floor.note(stale);
            self.lookup = Lookup::Fresh;
        }
        matches!(stale, Some(Stale::Plans { .. }))
    }
}

/// The ids that the counters are found by, where they can be.
fn countable<'a>(
    config: &IdentityConfig,
    identity: &'a QuotaIdentity,
) -> Result<&'a Requester, Refusal> {
    let requester = identity
        .check(config.max_id_bytes)
        .map_err(|invalid| Refusal::Unauthenticated(Unauthenticated::Invalid(invalid.as_str())))?;
    if config.require_tenant && requester.tenant.is_none() && !requester.user.is_anonymous() {
        return Err(Refusal::TenantRequired);
    }
    Ok(requester)
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) runtime: &'a Runtime,
    pub(crate) rule: usize,
    pub(crate) identity: &'a QuotaIdentity,
    pub(crate) requester: &'a Requester,
    origin: Option<&'a Origin>,
}

/// What a request that may run has.
struct Held {
    snapshot: Snapshot,
    passage: Passage,
    draft: Option<Box<Draft>>,
}

/// One answer on the way to a decision.
enum Answer {
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
    async fn once(&self, attempt: ReservationId, now: UnixMillis, knowledge: &Knowledge) -> Answer {
        match self.resolve(now, knowledge).await {
            Ok(plans) => self.reserve(attempt, now, &plans).await,
            Err(refusal) => Answer::Refused(refusal, self.draft(attempt, now)),
        }
    }

    async fn resolve(&self, now: UnixMillis, knowledge: &Knowledge) -> Result<Resolved, Refusal> {
        let assignments = &self.shared.assignments;
        let known = match knowledge.lookup {
            Lookup::Cached => assignments.now(self.requester, now),
            Lookup::Fresh => None,
        };
        let looked = match known {
            Some(looked) => looked,
            None => {
                knowledge.patience.wait().await;
                let looking = assignments.look(self.requester, now, knowledge.lookup);
                // Seldom needed, and large: kept out of the future of every request.
                Box::pin(looking).await
            }
        };
        let config = &self.runtime.config;
        let claim = self.identity.plan();
        let mut plans = plans::resolve(config, claim, self.requester, looked)?;
        plans.accept_older(&knowledge.floor);
        plans.plans_generation = self
            .shared
            .plans_generation(self.runtime, knowledge.has_fresh_plans);
        Ok(plans)
    }

    async fn reserve(&self, attempt: ReservationId, now: UnixMillis, plans: &Resolved) -> Answer {
        let config = &self.runtime.config;
        let charges = &self.runtime.charges;
        let windows = charges.windows(config, self.rule, plans, now);
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
            .by(self.requester, rule_name(config, self.rule));
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

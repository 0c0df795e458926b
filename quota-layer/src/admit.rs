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
    refusal::{Denial, Refusal},
    runtime::{RequestRuntime, Runtime},
    settle::Charge,
    shared::Shared,
    status::Snapshot,
};

/// How often a reserve is asked anew because something it was computed from had changed.
const MAX_ASKS: usize = 5;

/// A request that is not admitted yet.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) shared: Arc<Shared>,
    pub(crate) runtime: RequestRuntime,
    pub(crate) rule: usize,
    pub(crate) identified: Identified,
}

/// A request that may run.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) identity: QuotaIdentity,
    /// Without values where it passes uncounted.
    pub(crate) snapshot: Snapshot,
    pub(crate) passage: Passage,
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
            };
            match ask.once(attempt, now, &knowledge).await {
                Answer::Admitted(snapshot, passage) => {
                    return Ok(Admitted {
                        identity,
                        snapshot,
                        passage,
                        newer,
                    });
                }
                Answer::Refused(refusal) => {
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
}

/// One answer on the way to a decision.
enum Answer {
    Admitted(Snapshot, Passage),
    Refused(Refusal),
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
            Err(refusal) => Answer::Refused(refusal),
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
        let snapshot = |values| Snapshot { windows, values };
        let mut guard = Guard::new(self.shared, &request);
        let on_failure = match config.on_failure(self.rule) {
            OnFailure::Deny => OnStoreFailure::Deny,
            OnFailure::Allow => OnStoreFailure::Allow,
            OnFailure::Local => OnStoreFailure::Local,
        };
        match self.shared.store.reserve(&request, on_failure).await {
            Admission::Decided(Decision::Allowed(Allowed {
                reservation,
                counters,
            })) => {
                guard.held(reservation);
                Answer::Admitted(snapshot(counters), Passage::Held(guard))
            }
            Admission::Decided(decision) => {
                guard.nothing_held();
                self.not_held(&request, decision, snapshot)
            }
            Admission::LetThrough(through) => {
                drop_unless_unknown(guard, through.abort);
                logs::let_through(self, through.kind);
                let uncounted = snapshot(CounterValues::new());
                uncounted.table().count(Outcome::FailOpen, None);
                Answer::Admitted(uncounted, Passage::LetThrough(through))
            }
            Admission::Unavailable(unavailable) => {
                drop_unless_unknown(guard, unavailable.abort);
                snapshot(CounterValues::new())
                    .table()
                    .count(Outcome::Unavailable, None);
                Answer::Refused(self.unavailable(unavailable))
            }
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
    ) -> Answer {
        match decision {
            Decision::Denied(denied) => {
                let snapshot = snapshot(denied.counters.clone());
                snapshot.table().count(Outcome::Denied, None);
                let denial = Denial::new(snapshot, &denied, request.max_in_flight);
                logs::denied(self, request.id, &denial);
                Answer::Refused(Refusal::Denied(Box::new(denial)))
            }
            Decision::Stale(stale) => Answer::Again(Some(stale)),
            // Windows and `not_after` are computed anew.
            Decision::Void | Decision::Allowed(_) => Answer::Again(None),
        }
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

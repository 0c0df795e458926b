//! Reserves what a request costs, before the handler runs.

use std::{sync::Arc, time::Duration};

use quota_store::{
    Abort, Admission, Allowed, Decision, Denied, Holds, LetThrough, OnStoreFailure, Requester,
    ReservationId, Reserve, Stale, Unavailable, UnixMillis,
};

use crate::{
    charge::ChargeTable,
    config::{IdentityConfig, OnFailure},
    future::Turned,
    guard::Guard,
    identify::Identified,
    identity::{QuotaIdentity, Unauthenticated},
    logs,
    metrics::Outcome,
    plans::{self, Lookup, Resolved},
    refusal::{Denial, Refusal},
    runtime::{RequestRuntime, Runtime},
    settle::Charge,
    shared::Shared,
    status::Snapshot,
};

/// How often a reserve is asked anew because something it was computed from had changed.
const MAX_ASKS: usize = 5;

/// A request that may run.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) table: Arc<ChargeTable>,
    pub(crate) passage: Passage,
}

/// On what ground it may run.
#[derive(Debug)]
pub(crate) enum Passage {
    /// Its units are held.
    Held { guard: Guard, snapshot: Snapshot },
    /// The store could not be asked, and the rule lets it through.
    LetThrough(LetThrough),
}

/// Why a request may not run.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) attempt: ReservationId,
    pub(crate) refusal: Refusal,
}

/// Finds out who makes a request, and reserves what it costs.
///
/// # Cancel safety
///
/// Dropped at any point, what was or will be held is given back.
pub(crate) async fn admission(
    shared: Arc<Shared>,
    runtime: RequestRuntime,
    rule: usize,
    identified: Identified,
) -> Result<Box<Charge>, Turned> {
    let stopwatch = shared.metrics.stopwatch();
    let admitted = async {
        let refuse = |refusal| Refused {
            attempt: ReservationId::generate(shared.store.now()),
            refusal,
        };
        let identity = identified.known().await.map_err(refuse)?;
        let requester = countable(&runtime.config.identity, &identity).map_err(refuse)?;
        let ask = Ask {
            shared: &shared,
            runtime: &runtime,
            rule,
            identity: &identity,
            requester,
        };
        let admitted = ask.admit().await?;
        Ok((identity, admitted))
    };
    let admitted = admitted.await;
    drop(stopwatch);
    match admitted {
        Ok((identity, admitted)) => {
            let charge = Charge::new(shared, runtime, rule, identity, admitted);
            // It is moved through several states of a request, so a pointer is moved instead.
            Ok(Box::new(charge))
        }
        Err(refused) => Err(Turned { refused, runtime }),
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
    pub(crate) shared: &'a Shared,
    pub(crate) runtime: &'a Runtime,
    pub(crate) rule: usize,
    pub(crate) identity: &'a QuotaIdentity,
    pub(crate) requester: &'a Requester,
}

/// One answer on the way to a decision.
enum Answer {
    Admitted(Admitted),
    Refused(Refusal),
    /// Ask again, after looking plans up as told.
    Again(Lookup),
}

impl Ask<'_> {
    /// Reserves everything the request costs, or says why not.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point, what was or will be held is given back.
    pub(crate) async fn admit(self) -> Result<Admitted, Refused> {
        let mut now = self.shared.store.now();
        let mut attempt = ReservationId::generate(now);
        let mut lookup = Lookup::Cached;
        for _ in 0..MAX_ASKS {
            let answer = match self.resolve(lookup).await {
                Ok(plans) => self.reserve(attempt, now, &plans).await,
                Err(refusal) => Answer::Refused(refusal),
            };
            match answer {
                Answer::Admitted(admitted) => return Ok(admitted),
                Answer::Refused(refusal) => return Err(Refused { attempt, refusal }),
                Answer::Again(again) => lookup = again,
            }
            now = self.shared.store.now();
            attempt = ReservationId::generate(now);
        }
        tracing::error!(
            target: "quota::store",
            asks = MAX_ASKS,
            "the counter store called every reserve of a request out of date"
        );
        let refusal = Refusal::Unavailable {
            retry_after_seconds: 1,
        };
        Err(Refused { attempt, refusal })
    }

    async fn resolve(&self, lookup: Lookup) -> Result<Resolved, Refusal> {
        let directory = self.shared.directory.as_ref();
        let config = &self.runtime.config;
        plans::resolve(config, directory, self.identity, self.requester, lookup).await
    }

    async fn reserve(&self, attempt: ReservationId, now: UnixMillis, plans: &Resolved) -> Answer {
        let config = &self.runtime.config;
        let table = self
            .runtime
            .charges
            .table(config, self.rule, plans.user, plans.tenant);
        let request = Arc::new(self.request(attempt, now, plans, table));
        let mut guard = Guard::new(&self.shared.settler, &request);
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
                let snapshot = snapshot(table, &request.holds, counters);
                Answer::Admitted(Admitted {
                    table: Arc::clone(table),
                    passage: Passage::Held { guard, snapshot },
                })
            }
            Admission::Decided(decision) => {
                guard.nothing_held();
                self.not_held(table, &request, decision)
            }
            Admission::LetThrough(through) => {
                drop_unless_unknown(guard, through.abort);
                table.count(Outcome::FailOpen, None);
                logs::let_through(self, through.kind);
                Answer::Admitted(Admitted {
                    table: Arc::clone(table),
                    passage: Passage::LetThrough(through),
                })
            }
            Admission::Unavailable(unavailable) => {
                drop_unless_unknown(guard, unavailable.abort);
                table.count(Outcome::Unavailable, None);
                Answer::Refused(self.unavailable(unavailable))
            }
        }
    }

    fn request(
        &self,
        id: ReservationId,
        now: UnixMillis,
        plans: &Resolved,
        table: &ChargeTable,
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
            max_in_flight: store.max_in_flight,
            orphans: store.orphans,
            holds: table.holds(now),
        }
    }

    fn not_held(&self, table: &Arc<ChargeTable>, request: &Reserve, decision: Decision) -> Answer {
        match decision {
            Decision::Denied(denied) => {
                table.count(Outcome::Denied, None);
                let denial = Self::denial(table, request, &denied);
                logs::denied(self, request.id, &denial);
                Answer::Refused(Refusal::Denied(Box::new(denial)))
            }
            Decision::Stale(Stale::Plan { .. }) => Answer::Again(Lookup::Fresh),
            // The reply moved the store's clock; windows and `not_after` are computed anew.
            Decision::Stale(Stale::Window { .. }) | Decision::Void | Decision::Allowed(_) => {
                Answer::Again(Lookup::Cached)
            }
        }
    }

    fn denial(table: &Arc<ChargeTable>, request: &Reserve, denied: &Denied) -> Denial {
        let snapshot = snapshot(table, &request.holds, denied.counters.clone());
        Denial::new(snapshot, denied, request.max_in_flight)
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

fn snapshot(
    table: &Arc<ChargeTable>,
    holds: &Holds,
    values: quota_store::CounterValues,
) -> Snapshot {
    Snapshot {
        table: Arc::clone(table),
        spans: holds.iter().map(|hold| hold.counter.span).collect(),
        values,
    }
}

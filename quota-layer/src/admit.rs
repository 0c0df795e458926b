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
    plans::{self, Lookup, Resolved},
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
}

impl Incoming {
    /// The answer where nothing is waited for; asked in place, its future is never moved.
    pub(crate) fn admit_now(&self) -> Option<Result<Admitted, Refused>> {
        let waits = !self.shared.store.never_waits()
            || self.shared.directory.is_some()
            || self.identified.waits();
        if waits {
            return None;
        }
        self.admit().now_or_never()
    }

    /// Finds out who makes the request, and reserves what it costs.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point, what was or will be held is given back.
    pub(crate) async fn admit(&self) -> Result<Admitted, Refused> {
        let _stopwatch = self.shared.metrics.stopwatch();
        let refuse = |refusal| Refused {
            attempt: ReservationId::generate(self.shared.store.now()),
            refusal,
        };
        let identity = self.identified.known().await.map_err(refuse)?;
        let config = &self.runtime.config.identity;
        let ask = Ask {
            shared: &self.shared,
            runtime: &self.runtime,
            rule: self.rule,
            identity: &identity,
            requester: countable(config, &identity).map_err(refuse)?,
            origin: self.origin.as_deref(),
        };
        let Held {
            snapshot,
            passage,
            draft,
        } = ask.admit().await?;
        Ok(Admitted {
            identity,
            snapshot,
            passage,
            draft,
        })
    }

    /// The same for a future that owns it.
    pub(crate) async fn admission(self) -> Result<Box<Charge>, Turned> {
        let answer = self.admit().await;
        self.concluded(answer)
    }

    /// What follows from the answer.
    pub(crate) fn concluded(
        self,
        answer: Result<Admitted, Refused>,
    ) -> Result<Box<Charge>, Turned> {
        let runtime = self.runtime;
        match answer {
            Ok(admitted) => {
                let charge = Charge::new(self.shared, runtime, self.rule, admitted);
                // It is moved through several states of a request, so a pointer is moved instead.
                Ok(Box::new(charge))
            }
            Err(refused) => Err(Turned { refused, runtime }),
        }
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
    /// Ask again, after looking plans up as told.
    Again(Lookup),
}

impl Ask<'_> {
    /// Reserves everything the request costs, or says why not.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point, what was or will be held is given back.
    async fn admit(self) -> Result<Held, Refused> {
        let mut now = self.shared.store.now();
        let mut attempt = ReservationId::generate(now);
        let mut lookup = Lookup::Cached;
        for _ in 0..MAX_ASKS {
            let answer = match self.resolve(lookup).await {
                Ok(plans) => self.reserve(attempt, now, &plans).await,
                Err(refusal) => Answer::Refused(refusal, self.draft(attempt, now)),
            };
            match answer {
                Answer::Admitted(held) => return Ok(held),
                Answer::Refused(refusal, draft) => {
                    if let Some(draft) = draft {
                        let status = refusal.status(&self.runtime.config.responses);
                        draft.refused(&refusal, status.as_u16());
                    }
                    return Err(Refused { attempt, refusal });
                }
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
            plans_generation: quota_store::KnownGeneration::Untracked,
            max_in_flight: store.max_in_flight,
            orphans: store.orphans,
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
        let lookup = match decision {
            Decision::Denied(denied) => {
                let snapshot = snapshot(denied.counters.clone());
                snapshot.table().count(Outcome::Denied, None);
                let denial = Denial::new(snapshot, &denied, request.max_in_flight);
                logs::denied(self, request.id, &denial);
                return Answer::Refused(Refusal::Denied(Box::new(denial)), draft);
            }
            Decision::Stale(Stale::Plan { .. } | Stale::Plans { .. }) => Lookup::Fresh,
            // The reply moved the store's clock; windows and `not_after` are computed anew.
            Decision::Stale(Stale::Window { .. }) | Decision::Void | Decision::Allowed(_) => {
                Lookup::Cached
            }
        };
        if let Some(draft) = draft {
            draft.forget();
        }
        Answer::Again(lookup)
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

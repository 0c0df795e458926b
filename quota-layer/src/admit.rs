//! Reserves what a request costs, before the handler runs.

use std::sync::Arc;

use futures_util::FutureExt;
use quota_store::{LetThrough, Requester, ReservationId, Stale};

use crate::{
    config::IdentityConfig,
    future::Turned,
    guard::Guard,
    identify::Identified,
    identity::{QuotaIdentity, Unauthenticated},
    plans::{Floor, Lookup},
    record::{Draft, Origin},
    refusal::Refusal,
    runtime::RequestRuntime,
    settle::Charge,
    shared::Shared,
    status::Snapshot,
};

mod ask;

pub(crate) use self::ask::Ask;
use self::ask::{Answer, Held};

/// How often a reserve is asked anew because something it was computed from had changed.
const MAX_ASKS: usize = 5;

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
        let refuse = |refusal| Refused {
            attempt: ReservationId::generate(self.shared.store.now()),
            refusal,
            newer: None,
        };
        let identity = self.identified.known().await.map_err(refuse)?;
        let config = &self.runtime.config.identity;
        let requester = countable(config, &identity).map_err(refuse)?;
        let mut newer: Option<RequestRuntime> = None;
        let who = (&identity, requester);
        match self.decide(who, patience, &mut newer).await {
            Ok(held) => Ok(Admitted {
                snapshot: held.snapshot,
                passage: held.passage,
                draft: held.draft,
                identity,
                newer,
            }),
            Err((attempt, refusal)) => Err(Refused {
                attempt,
                refusal,
                newer,
            }),
        }
    }

    /// Asks until the store works from the same as this process does.
    async fn decide(
        &self,
        (identity, requester): (&QuotaIdentity, &Requester),
        patience: Patience,
        newer: &mut Option<RequestRuntime>,
    ) -> Result<Held, (ReservationId, Refusal)> {
        let mut knowledge = Knowledge::new(patience);
        let mut now = self.shared.store.now();
        let mut attempt = ReservationId::generate(now);
        for _ in 0..MAX_ASKS {
            let runtime = newer.as_ref().unwrap_or(&self.runtime);
            let ask = Ask {
                shared: &self.shared,
                runtime,
                rule: self.rule,
                identity,
                requester,
                origin: self.origin.as_deref(),
            };
            match ask.once(attempt, now, &knowledge).await {
                Answer::Admitted(held) => return Ok(held),
                Answer::Refused(refusal, draft) => {
                    if let Some(draft) = draft {
                        let status = refusal.status(&runtime.config.responses);
                        draft.refused(&refusal, status.as_u16());
                    }
                    return Err((attempt, refusal));
                }
                Answer::Again(stale) => {
                    if knowledge.note(stale.as_ref()) {
                        patience.wait().await;
                        let (runtime, is_fresh) = self.shared.newer_runtime(runtime).await;
                        *newer = Some(runtime);
                        knowledge.has_fresh_plans = is_fresh;
                    }
                }
            }
            now = self.shared.store.now();
            attempt = ReservationId::generate(now);
        }
        Err((attempt, never_decided()))
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

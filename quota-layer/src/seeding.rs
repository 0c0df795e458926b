//! Counters that come into being within their window begin with what the ledger says was used.
//!
//! The ledger's database knows since when a plan limits a quota in a window. A counter is *young*
//! as long as the window that is open began before that; before its first use a young counter gets
//! what was charged in its window so far. It gets that once, whichever processes try.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use foldhash::quality::RandomState;
use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};
use quota_store::{
    CounterKey, Requester, Scope, Subject, UnixMillis, directory::Directory, ledger::PlanSource,
};
use uuid::Uuid;

use crate::{
    administration::derived,
    charge::Windows,
    metrics,
    plans::{LOAD_TIMEOUT, PAUSE, Resolved, answer_of},
    runtime::Runtime,
    shared::Shared,
};

mod in_force;
mod seed;

pub(crate) use self::in_force::{InForce, Young};
use self::{in_force::windows_of, seed::Seed};

/// How many counters are known at once to have begun with the ledger; forgotten ones are looked at
/// once more.
const MAX_SEEDED: usize = 100_000;

/// Knows which young counters began with the ledger.
pub(crate) struct Seeder {
    directory: Arc<dyn Directory>,
    seeded: Cache<Uuid, (), UnitWeighter, RandomState>,
    /// Until when nothing is tried after something failed, in milliseconds.
    paused_until: AtomicU64,
    /// So that an outage is in the log once.
    is_failing: AtomicBool,
}

impl fmt::Debug for Seeder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seeder").finish_non_exhaustive()
    }
}

impl Seeder {
    pub(crate) fn new(directory: Arc<dyn Directory>) -> Self {
        Self {
            directory,
            seeded: Cache::with(
                MAX_SEEDED,
                u64::try_from(MAX_SEEDED).unwrap_or(u64::MAX),
                UnitWeighter,
                RandomState::default(),
                DefaultLifecycle::default(),
            ),
            paused_until: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
        }
    }

    fn is_paused(&self, now: UnixMillis) -> bool {
        // Whoever reads an older value tries once more than needed.
        now.get() < self.paused_until.load(Ordering::Relaxed)
    }

    fn succeeded(&self) {
        // Only what is logged depends on it.
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!(target: "quota::plan", "counters begin with the ledger again");
        }
    }

    fn failed(&self, now: UnixMillis, why: &str) {
        metrics::seeding_failed();
        let until = now.saturating_add(PAUSE);
        // Whoever reads an older value tries once more than needed.
        self.paused_until.store(until.get(), Ordering::Relaxed);
        // Only what is logged depends on it.
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "quota::plan",
                why,
                "counters that came into being by a change of configuration can't be given what \
                 the ledger says was used: they go on without it, and it is tried again"
            );
        }
    }
}

impl Shared {
    /// Whether something is to be looked up before these counters are used. Without young ones it
    /// costs next to nothing.
    pub(crate) fn must_seed(
        &self,
        runtime: &Runtime,
        who: (&Requester, &Resolved),
        windows: &Windows,
    ) -> bool {
        let Some(seeder) = &self.seeder else {
            return false;
        };
        match runtime.in_force.young_of(windows) {
            None => !seeder.is_paused(self.store.now()) && self.can_register(runtime),
            Some([]) => false,
            Some(young) => {
                !seeder.is_paused(self.store.now())
                    && seeds(young, who, windows).any(|seed| !seeder.is_seeded(&seed))
            }
        }
    }

    /// Sees to it that young counters begin with the ledger. Where that fails they go on as they
    /// are.
    ///
    /// # Cancel safety
    ///
    /// Dropped, what was begun takes effect or is done again.
    pub(crate) async fn seed(
        &self,
        runtime: &Runtime,
        who: (&Requester, &Resolved),
        windows: &Windows,
    ) {
        let Some(seeder) = &self.seeder else {
            return;
        };
        self.register_windows(runtime).await;
        let young = runtime.in_force.young_of(windows).unwrap_or_default();
        for seed in seeds(young, who, windows) {
            let now = self.store.now();
            if seeder.is_seeded(&seed) || seeder.is_paused(now) {
                continue;
            }
            match self.give_in_time(&seed).await {
                Ok(()) => {
                    seeder.seeded.insert(seed.id, ());
                    seeder.succeeded();
                }
                Err(why) => seeder.failed(now, &why),
            }
        }
    }

    async fn give_in_time(&self, seed: &Seed) -> Result<(), String> {
        let late = |_| "the ledger did not answer in time".to_owned();
        let catching_up = self.caught_up_with(seed.since);
        let caught_up = tokio::time::timeout(LOAD_TIMEOUT, catching_up).await;
        caught_up.map_err(late)?;
        let giving = tokio::time::timeout(LOAD_TIMEOUT, self.give(seed)).await;
        giving.map_err(late)?
    }

    /// Lets the database know in which windows the plans in force limit quotas.
    pub(crate) async fn register_windows(&self, runtime: &Runtime) {
        let now = self.store.now();
        let Some(seeder) = self.seeder.as_ref().filter(|one| !one.is_paused(now)) else {
            return;
        };
        let Some(began) = runtime.in_force.began() else {
            return;
        };
        if runtime.in_force.is_known() || !self.can_register(runtime) {
            return;
        }
        let windows = windows_of(&runtime.config);
        let putting = seeder.directory.put_in_force(windows.clone(), began);
        match answer_of(tokio::time::timeout(LOAD_TIMEOUT, putting).await) {
            Ok(since) => {
                runtime.in_force.know(windows.into_iter().zip(since));
                seeder.succeeded();
            }
            Err(why) => seeder.failed(now, &why),
        }
    }

    /// Only what is in force now says what is: not what requests in flight began with, and not a
    /// file without the plans of the database.
    fn can_register(&self, runtime: &Runtime) -> bool {
        let is_present = std::ptr::eq(Arc::as_ptr(&self.runtime.load()), runtime);
        is_present && runtime.stored.is_some()
    }
}

impl Seeder {
    fn is_seeded(&self, seed: &Seed) -> bool {
        self.seeded.get(&seed.id).is_some()
    }
}

/// What young counters of a requester are to begin with.
fn seeds<'a>(
    young: &'a [Young],
    (requester, plans): (&'a Requester, &'a Resolved),
    windows: &'a Windows,
) -> impl Iterator<Item = Seed> + 'a {
    young.iter().filter_map(move |young| {
        let key = &*windows.holds.get(young.place)?.counter;
        let since = match plans.source_of(key.scope) {
            PlanSource::Default => young.since.max(young.default_since),
            _ => young.since,
        };
        let subject = match (key.scope, &requester.tenant) {
            (Scope::User, tenant) => Subject::User {
                tenant: tenant.clone(),
                user: requester.user.clone(),
            },
            (Scope::Tenant, Some(tenant)) => Subject::Tenant(tenant.clone()),
            (Scope::Tenant, None) => return None,
        };
        (key.span.start() < since).then(|| Seed {
            id: seed_id(&subject, key, since),
            subject,
            key: key.clone(),
            since,
        })
    })
}

/// The same in every process, and another one whenever the window comes into force anew.
fn seed_id(subject: &Subject, key: &CounterKey, since: UnixMillis) -> Uuid {
    let (tenant, user) = match subject {
        Subject::User { tenant, user } => (tenant.as_ref(), Some(user)),
        Subject::Tenant(tenant) => (Some(tenant), None),
    };
    let label = serde_json::json!([
        tenant.map(quota_store::TenantId::as_str),
        user.map(quota_store::UserId::as_str),
        key.quota.as_str(),
        key.window.to_string(),
        key.span.start().get(),
        key.span.end().map(UnixMillis::get),
        since.get(),
    ]);
    derived(Uuid::nil(), &label.to_string())
}

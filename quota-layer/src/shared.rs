//! What all clones of a layer share.

use std::sync::{Arc, Mutex, PoisonError};

use quota_store::{
    Commit, GuardedStore, KnownGeneration, StoreError,
    directory::{Directory, StoredPlans},
    ledger::{Backlog, Ledger},
};

use crate::{
    config::{Config, Settle},
    identify::Identifier,
    metrics::LayerMetrics,
    plans::{Assignments, PlansKeeper},
    record::{self, Committed, Records},
    runtime::{CurrentRuntime, RequestRuntime, Runtime},
    seeding::Seeder,
    settler::Settler,
};

/// Made once by the builder; the layer, its services and its futures hold it by one pointer.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) runtime: CurrentRuntime,
    pub(crate) store: Arc<GuardedStore>,
    pub(crate) settler: Settler,
    pub(crate) assignments: Assignments,
    /// What keeps plans; `None` where no database does.
    pub(crate) plans: Option<PlansKeeper>,
    /// Lets counters that come into being begin with the ledger; `None` without one.
    pub(crate) seeder: Option<Seeder>,
    /// `None` without a ledger.
    pub(crate) records: Option<Arc<Records>>,
    pub(crate) metrics: Arc<LayerMetrics>,
    /// One change of the runtime at a time, so that nothing older replaces what is newer. Never
    /// held across an await.
    pub(crate) turn: Mutex<()>,
    /// Why the last reload failed, where it did. Held for a look, never across an await.
    pub(crate) reload_error: Mutex<Option<String>>,
}

impl Shared {
    /// Charges a reservation, and sees to it that the ledger says so.
    pub(crate) async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        record::commit(&self.store, self.records.as_deref(), commit).await
    }

    /// Whether nothing is waited for when a request is settled under a rule: neither the store nor
    /// the ledger.
    pub(crate) fn settles_at_once(&self, settle: Settle) -> bool {
        let waits_for_ledger = self.records.is_some() && settle == Settle::BeforeResponse;
        self.store.never_waits() && !waits_for_ledger
    }

    /// Puts another file in force, with the plans that the database keeps; requests in flight keep
    /// the configuration that they began with. Whoever calls it has the turn.
    pub(crate) fn replace_file(&self, file: Config, identifier: Arc<Identifier>) {
        let stored = self.runtime.load().stored.clone();
        self.put_in_force(Runtime::new(file, identifier, stored));
    }

    fn put_in_force(&self, runtime: Runtime) {
        runtime.in_force.begin(self.store.now());
        let runtime = Arc::new(runtime);
        let before = self.runtime.swap(Arc::clone(&runtime));
        if before.config.revision() != runtime.config.revision() {
            crate::metrics::config_gone(before.config.revision());
        }
    }

    /// Puts other plans of the database in force, unless later ones are.
    pub(crate) fn replace_plans(&self, plans: StoredPlans) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.runtime.load();
        let is_newer = now
            .stored
            .as_ref()
            .is_none_or(|stored| stored.generation < plans.generation);
        if is_newer {
            let runtime = now.with_plans(plans);
            self.put_in_force(runtime);
            tracing::info!(
                target: "quota::config",
                revision = self.runtime.load().config.revision(),
                "the plans of the database were read"
            );
        }
        drop(turn);
    }

    /// Reads the plans of the database, and puts them in force if they changed. Whether it could.
    pub(crate) async fn refresh_plans(&self) -> bool {
        let Some(keeper) = &self.plans else {
            return false;
        };
        let Some(plans) = keeper.load(self.store.now()).await else {
            return false;
        };
        self.replace_plans(plans);
        true
    }

    /// The runtime for a request whose plans are out of date, and whether it was made of what the
    /// database has now.
    pub(crate) async fn newer_runtime(&self, runtime: &Arc<Runtime>) -> (RequestRuntime, bool) {
        let is_fresh = self.refresh_plans().await;
        let now = self.runtime.load_full();
        if Arc::ptr_eq(&now.file, &runtime.file) {
            return (now, is_fresh);
        }
        // The file was read again meanwhile: the request keeps its own, with these plans.
        let plans = now.stored.as_deref().cloned().unwrap_or_default();
        (Arc::new(runtime.with_plans(plans)), is_fresh)
    }

    /// What the plans of a runtime are known to be.
    pub(crate) fn plans_generation(&self, runtime: &Runtime, is_fresh: bool) -> KnownGeneration {
        let Some((keeper, stored)) = self.plans.as_ref().zip(runtime.stored.as_ref()) else {
            return KnownGeneration::Untracked;
        };
        if is_fresh {
            KnownGeneration::Fresh(stored.generation)
        } else if keeper.is_down(self.store.now()) {
            KnownGeneration::Untracked
        } else {
            KnownGeneration::Cached(stored.generation)
        }
    }
}

impl Shared {
    /// Where records are.
    pub(crate) fn ledger(&self) -> Option<&Arc<dyn Ledger>> {
        self.records.as_ref().map(|records| &records.books.ledger)
    }

    /// Where assignments, limits of single subjects and plans are.
    pub(crate) fn stored(&self) -> Option<&Arc<dyn Directory>> {
        self.records
            .as_ref()
            .map(|records| &records.books.directory)
    }

    /// Why the last reload failed, where it did.
    pub(crate) fn reload_error(&self) -> Option<String> {
        let error = self.reload_error.lock();
        error.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was charged and is not in the ledger yet.
    pub(crate) fn backlog(&self) -> Backlog {
        let in_store = self.store.backlog();
        let Some(records) = &self.records else {
            return in_store;
        };
        // What no store knows any more is written by this process, whoever writes the rest.
        let here = records.backlog();
        Backlog {
            records: in_store.records.saturating_add(here.records),
            oldest: in_store.oldest.max(here.oldest),
        }
    }
}

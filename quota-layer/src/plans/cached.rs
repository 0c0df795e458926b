//! The directory of the database, with what was last known of those who ask.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use foldhash::quality::RandomState;
use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};
use quota_store::{
    Generation, KnownGeneration, Requester, UnixMillis,
    directory::{Directory, Entries, Entry},
    ledger::LedgerError,
};

use super::{Holding, Looked};
use crate::metrics;

/// How many requesters are known at once; those that were not seen for long go first.
const MAX_KNOWN: usize = 100_000;

/// How long one look-up may take.
pub(crate) const LOAD_TIMEOUT: Duration = Duration::from_secs(1);

/// How long something is relied on before it is looked up again, in case it was changed and the
/// counter store could not be told.
const KNOWN_FOR: Duration = Duration::from_mins(1);

/// How long after a failed look-up the next one is tried.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// Answers from memory where it may.
pub(crate) struct CachedDirectory {
    directory: Arc<dyn Directory>,
    known: Cache<Requester, Arc<Known>, UnitWeighter, RandomState>,
    /// So that an outage is in the log once.
    is_down: AtomicBool,
}

/// What is known of one requester.
#[derive(Debug)]
struct Known {
    entries: Arc<Entries>,
    /// `None` where nothing was given to them.
    holding: Option<Arc<Holding>>,
    /// From when on something else holds, by itself.
    until: Option<UnixMillis>,
    trust: Trust,
    /// When it is looked up again.
    again: UnixMillis,
}

/// Whether it may be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// It was loaded, and the store says when it is out of date.
    Loaded,
    /// It could not be loaded: this is the last that was known.
    LastKnown,
}

impl fmt::Debug for CachedDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedDirectory").finish_non_exhaustive()
    }
}

impl CachedDirectory {
    pub(crate) fn new(directory: Arc<dyn Directory>) -> Self {
        Self {
            directory,
            known: Cache::with(
                MAX_KNOWN,
                u64::try_from(MAX_KNOWN).unwrap_or(u64::MAX),
                UnitWeighter,
                RandomState::default(),
                DefaultLifecycle::default(),
            ),
            is_down: AtomicBool::new(false),
        }
    }

    /// What is known without asking the database.
    pub(super) fn get(&self, requester: &Requester, now: UnixMillis) -> Option<Looked> {
        if requester.user.is_anonymous() {
            return Some(Looked::nothing());
        }
        let known = self.known.get(requester)?;
        if known.again <= now {
            return None;
        }
        if known.until.is_none_or(|until| now < until) {
            return Some(known.looked(requester, KnownGeneration::Cached));
        }
        let known = Known::at(Arc::clone(&known.entries), now, (known.trust, known.again));
        let looked = known.looked(requester, KnownGeneration::Cached);
        self.known.insert(requester.clone(), Arc::new(known));
        Some(looked)
    }

    /// Asks the database; where it does not answer, the last that was known goes on.
    pub(super) async fn load(&self, requester: &Requester, now: UnixMillis) -> Looked {
        if requester.user.is_anonymous() {
            return Looked::nothing();
        }
        let known = match self.entries(requester).await {
            Ok(entries) => {
                self.answered();
                let again = now.saturating_add(KNOWN_FOR);
                Known::at(Arc::new(entries), now, (Trust::Loaded, again))
            }
            Err(why) => {
                self.failed(&why);
                let known = self.known.get(requester);
                let entries = known.map(|known| Arc::clone(&known.entries));
                let again = now.saturating_add(PAUSE);
                Known::at(entries.unwrap_or_default(), now, (Trust::LastKnown, again))
            }
        };
        let looked = known.looked(requester, KnownGeneration::Fresh);
        self.known.insert(requester.clone(), Arc::new(known));
        looked
    }

    async fn entries(&self, requester: &Requester) -> Result<Entries, String> {
        let loading = self.directory.entries(requester);
        answer_of(tokio::time::timeout(LOAD_TIMEOUT, loading).await)
    }

    fn answered(&self) {
        // Only what is logged depends on it.
        if self.is_down.swap(false, Ordering::Relaxed) {
            tracing::info!(target: "quota::plan", "the directory's database answers again");
        }
    }

    fn failed(&self, why: &str) {
        metrics::directory_failed();
        // Only what is logged depends on it.
        if !self.is_down.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "quota::plan",
                why,
                "the directory's database does not answer: what was last known of users and \
                 tenants goes on, and those that are not known have no plan assigned"
            );
        }
    }
}

/// The answer of a database that was given a time.
pub(crate) fn answer_of<T>(
    answer: Result<Result<T, LedgerError>, tokio::time::error::Elapsed>,
) -> Result<T, String> {
    match answer {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("it did not answer in time".to_owned()),
    }
}

impl Known {
    fn at(entries: Arc<Entries>, now: UnixMillis, (trust, again): (Trust, UnixMillis)) -> Self {
        let user = entries.user.changes_after(now);
        let tenant = entries
            .tenant
            .as_ref()
            .and_then(|entry| entry.changes_after(now));
        Self {
            holding: (!entries.is_empty()).then(|| Holding::at(&entries, now).into()),
            until: user.into_iter().chain(tenant).min(),
            entries,
            trust,
            again,
        }
    }

    fn looked(
        &self,
        requester: &Requester,
        known: impl Fn(Generation) -> KnownGeneration,
    ) -> Looked {
        let generation = |entry: Option<&Entry>| match (entry, self.trust) {
            (Some(entry), Trust::Loaded) => known(entry.generation),
            _ => KnownGeneration::Untracked,
        };
        let tenant = requester.tenant.as_ref().and(self.entries.tenant.as_ref());
        Looked {
            holding: self.holding.clone(),
            user_generation: generation(Some(&self.entries.user)),
            tenant_generation: generation(tenant),
        }
    }
}

/// Whether nothing was ever given.
trait IsEmpty {
    fn is_empty(&self) -> bool;
}

impl IsEmpty for Entries {
    fn is_empty(&self) -> bool {
        let is_empty = |entry: &Entry| entry.assignments.is_empty() && entry.overrides.is_empty();
        is_empty(&self.user) && self.tenant.as_ref().is_none_or(is_empty)
    }
}

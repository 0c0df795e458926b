//! Settles reservations outside of any request: what a dropped request leaves behind, commits in
//! the background, and commits that were not acknowledged.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use quota_store::{
    Commit, GuardedStore, Reservation, Reserve, StoreError, StoreErrorKind, UnixMillis,
};
use tokio::sync::{Notify, mpsc};

pub(crate) use self::live::LiveKey;
use self::live::LiveReservations;
use crate::{
    metrics::{self, LayerMetrics},
    record::{self, Records},
};

mod live;

/// How many settles may wait. Beyond it a dropped request's units stay held until they expire,
/// and a commit in the background waits at the head.
const QUEUE: usize = 65_536;

/// How many settles are under way at once.
const RUNNING: usize = 256;

/// How long a failed settle waits before it is tried again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How often the store may call a settle unreadable or malformed before it is given up, so that one
/// broken counter does not hold a place for ever.
const MAX_UNREADABLE: u32 = 3;

/// What stores remember of a reservation beyond the longest one.
const STORE_MARGIN: Duration = Duration::from_mins(10);

/// How long a shutdown waits for what is being settled.
const DRAIN: Duration = Duration::from_secs(10);

/// One thing to settle.
enum Job {
    /// Until acknowledged; its reservation is renewed meanwhile.
    Commit(Commit, LiveKey),
    /// Until acknowledged or expired.
    Release(Reservation),
    /// Until acknowledged or expired.
    Abort(Arc<Reserve>),
}

/// Told to the log, which is to know nothing of people: neither who they are, nor what their
/// applications say of them.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id) = match self {
            Self::Commit(commit, _) => ("commit", commit.reservation.request.id),
            Self::Release(reservation) => ("release", reservation.request.id),
            Self::Abort(request) => ("abort", request.id),
        };
        write!(f, "{kind} {id}")
    }
}

/// Hands settles to a tracked, bounded queue; clones share it.
///
/// Nothing in it waits or does I/O but [`Settler::place_for_commit`] and [`Settler::drain`], so it can
/// be used from `Drop`.
#[derive(Clone, Debug)]
pub(crate) struct Settler {
    jobs: mpsc::Sender<Job>,
    tracked: Arc<Tracked>,
}

/// What the worker and its clients share.
#[derive(Debug)]
struct Tracked {
    store: Arc<GuardedStore>,
    records: Option<Arc<Records>>,
    live: LiveReservations,
    /// Jobs that are queued or under way.
    pending: AtomicUsize,
    /// Of those, commits.
    commits: AtomicUsize,
    idle: Notify,
    metrics: Arc<LayerMetrics>,
}

impl Settler {
    /// Starts the worker and the renewals on the present tokio runtime.
    pub(crate) fn start(
        store: Arc<GuardedStore>,
        records: Option<Arc<Records>>,
        ttl: Duration,
        max_reservation: Duration,
        metrics: Arc<LayerMetrics>,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        metrics.reservations(0);
        metrics.unacknowledged(0);
        let tracked = Arc::new(Tracked {
            store,
            records,
            live: LiveReservations::new(max_reservation),
            pending: AtomicUsize::new(0),
            commits: AtomicUsize::new(0),
            idle: Notify::new(),
            metrics,
        });
        tokio::spawn(Arc::clone(&tracked).work(queue));
        tokio::spawn(live::renew_for_ever(Arc::downgrade(&tracked), ttl / 3));
        Self { jobs, tracked }
    }

    /// Keeps a reservation alive until it is settled.
    pub(crate) fn keep_alive(&self, reservation: &Reservation) -> LiveKey {
        self.tracked.live.insert(reservation)
    }

    /// Lets a reservation that was settled go.
    pub(crate) fn let_go(&self, key: LiveKey) {
        self.tracked.live.remove(key);
    }

    /// Charges a reservation until that is acknowledged.
    pub(crate) fn commit(&self, commit: Commit, key: LiveKey) {
        self.push(Job::Commit(commit, key));
    }

    /// A place in the queue for a commit, waited for where the queue is full.
    pub(crate) async fn place_for_commit(&self) -> Place<'_> {
        Place {
            settler: self,
            permit: self.jobs.reserve().await.ok(),
        }
    }

    /// Gives a reservation back.
    pub(crate) fn release(&self, reservation: Reservation) {
        self.push(Job::Release(reservation));
    }

    /// Ends a reserve whose outcome is not known.
    pub(crate) fn abort(&self, request: Arc<Reserve>) {
        self.push(Job::Abort(request));
    }

    fn push(&self, job: Job) {
        self.tracked.began(&job);
        if let Err(error) = self.jobs.try_send(job) {
            let (mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job)) =
                error;
            tracing::error!(
                target: "quota::settle",
                ?job,
                "the queue of settles is full or closed; the units are free again when they expire"
            );
            metrics::settle_dropped();
            self.tracked.ended(&job);
        }
    }

    /// How many commits wait for their acknowledgement.
    pub(crate) fn unacknowledged(&self) -> usize {
        // Only a figure to show.
        self.tracked.commits.load(Ordering::Relaxed)
    }

    /// Waits until everything that was handed over is settled.
    ///
    /// What can't be settled in time is given up: held units are free again when they expire.
    pub(crate) async fn drain(&self) {
        let drained = tokio::time::timeout(DRAIN, self.tracked.drained()).await;
        if drained.is_err() {
            tracing::error!(
                target: "quota::settle",
                left = self.tracked.pending.load(Ordering::Acquire),
                unacknowledged_commits = self.unacknowledged(),
                "the counter store did not acknowledge everything before the shutdown"
            );
        }
    }
}

/// A place in the queue.
pub(crate) struct Place<'a> {
    settler: &'a Settler,
    /// `None` where the worker is gone.
    permit: Option<mpsc::Permit<'a, Job>>,
}

impl Place<'_> {
    /// Charges a reservation until that is acknowledged.
    pub(crate) fn take(self, commit: Commit, key: LiveKey) {
        match self.permit {
            Some(permit) => {
                let job = Job::Commit(commit, key);
                self.settler.tracked.began(&job);
                permit.send(job);
            }
            None => self.settler.commit(commit, key),
        }
    }
}

impl Tracked {
    fn began(&self, job: &Job) {
        // Seen by `drained` before the job can end.
        self.pending.fetch_add(1, Ordering::AcqRel);
        if matches!(job, Job::Commit(..)) {
            let count = self.commits.fetch_add(1, Ordering::AcqRel) + 1;
            self.metrics.unacknowledged(count);
        }
    }

    fn ended(&self, job: &Job) {
        if let Job::Commit(_, key) = job {
            self.live.remove(*key);
            let count = self.commits.fetch_sub(1, Ordering::AcqRel) - 1;
            self.metrics.unacknowledged(count);
        }
        // The last one wakes whoever waits for the end.
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }

    async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.pending.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    async fn work(self: Arc<Self>, mut queue: mpsc::Receiver<Job>) {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                job = queue.recv(), if running.len() < RUNNING => match job {
                    Some(job) => running.push(self.settle(job)),
                    None => break,
                },
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
        while running.next().await.is_some() {}
    }

    async fn settle(&self, job: Job) {
        let give_up_at = self.give_up_at(&job);
        let mut backoff = BACKOFF.0;
        let mut unreadable = 0;
        while let Err(error) = self.try_settle(&job).await {
            if matches!(
                error.kind(),
                StoreErrorKind::Corrupt | StoreErrorKind::Invalid
            ) {
                unreadable += 1;
            }
            if unreadable >= MAX_UNREADABLE || self.store.now() >= give_up_at {
                metrics::settle_dropped();
                tracing::error!(
                    target: "quota::settle",
                    error = %error,
                    ?job,
                    "a settle was given up: its units expire, and a commit is charged in the \
                     ledger alone, if there is one"
                );
                if let (Job::Commit(commit, _), Some(records)) = (&job, &self.records) {
                    records.given_up(commit);
                }
                break;
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
        self.ended(&job);
    }

    /// From when on trying again is pointless: the units have expired, or the store does not
    /// remember the reservation.
    fn give_up_at(&self, job: &Job) -> UnixMillis {
        match job {
            Job::Commit(commit, _) => {
                let reserved_at = commit.reservation.reserved_at;
                reserved_at.saturating_add(self.live.max_reservation() + STORE_MARGIN)
            }
            Job::Release(reservation) => self.store.now().saturating_add(reservation.request.ttl),
            Job::Abort(request) => request.not_after.saturating_add(request.ttl),
        }
    }

    async fn try_settle(&self, job: &Job) -> Result<(), StoreError> {
        match job {
            Job::Commit(commit, _) => {
                let records = self.records.as_deref();
                record::commit(&self.store, records, commit).await.map(drop)
            }
            Job::Release(reservation) => self.store.release(reservation).await.map(drop),
            Job::Abort(request) => self.store.abort(request).await.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use quota_store::{KnownGeneration, Orphans, Requester, ReservationId, UserId};

    use super::*;

    #[test]
    fn what_the_log_says_of_a_job_names_nobody() {
        let now = UnixMillis::new(1_700_000_000_000);
        let request = Reserve {
            id: ReservationId::generate(now),
            requester: Requester {
                tenant: None,
                user: UserId::new("ama@example.com").unwrap(),
            },
            not_after: now,
            ttl: Duration::from_secs(1),
            user_generation: KnownGeneration::Untracked,
            tenant_generation: KnownGeneration::Untracked,
            plans_generation: KnownGeneration::Untracked,
            max_in_flight: 1,
            orphans: Orphans::Release,
            holds: std::iter::empty().collect(),
        };
        let id = request.id;
        let said = format!("{:?}", Job::Abort(Arc::new(request)));
        assert_eq!(said, format!("abort {id}"));
    }
}

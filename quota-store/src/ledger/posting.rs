//! What changes counters.

use super::attempt::words;
use crate::{CounterKey, Requester, ReservationId, Subject, TenantId, UnixMillis, UserId};

/// One change of counters, all of it or nothing.
///
/// Each (`reservation`, `kind`) is in the ledger at most once. A commit comes with the attempt of
/// the same id, or its user can't be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The reservation, or the operation of an administrator.
    pub reservation: ReservationId,
    /// Why counters change.
    pub kind: PostingKind,
    /// When what it is about was asked for; it lies in the windows of its entries.
    pub at: UnixMillis,
    /// The tenant, if there is one. Entries of [`Scope::Tenant`](crate::Scope::Tenant) need it.
    pub tenant: Option<TenantId>,
    /// The user; `None` where a tenant as a whole is changed.
    pub user: Option<UserId>,
    /// What changes by how much, a counter at most once.
    pub entries: Vec<Entry>,
}

/// What one posting does to one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The counter, of the posting's user or tenant.
    pub counter: CounterKey,
    /// What is added to `used`, or taken from it.
    pub amount: i64,
}

words! {
    /// Why counters change.
    PostingKind {
        /// A reservation was charged.
        Commit = "commit",
        /// It was charged after it had expired, or after its data was lost.
        Late = "late",
        /// What it was charged was corrected.
        Correction = "correction",
        /// It expired, and was charged because the plan says so.
        Expire = "expire",
        /// Units that a dead node had borrowed are gone until the window ends.
        Burned = "burned",
        /// An administrator changed `used`.
        Admin = "admin",
    }
}

impl Posting {
    /// A posting about one requester, without entries yet.
    #[must_use]
    pub fn of(
        requester: &Requester,
        reservation: ReservationId,
        kind: PostingKind,
        at: UnixMillis,
    ) -> Self {
        Self {
            reservation,
            kind,
            at,
            tenant: requester.tenant.clone(),
            user: Some(requester.user.clone()),
            entries: Vec::new(),
        }
    }

    /// Whose counter an entry changes; `None` where the posting lacks the user or tenant.
    #[must_use]
    pub fn subject(&self, entry: &Entry) -> Option<Subject> {
        match entry.counter.scope {
            crate::Scope::User => Some(Subject::User {
                tenant: self.tenant.clone(),
                user: self.user.clone()?,
            }),
            crate::Scope::Tenant => self.tenant.clone().map(Subject::Tenant),
        }
    }
}

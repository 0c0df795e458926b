//! Changes of what was used.

use quota_store::{
    Act, Administered, Amount, CounterKey, Operation, OperationId, QuotaName, ReservationId, Scope,
    Subject, Window,
    ledger::{Batch, Entry, Posting, PostingKind},
};
use uuid::Uuid;

use super::{
    AdminError, Administration, CounterChange, Doing,
    change::{Change, derived},
    json,
    position::{Position, requester_of},
};

/// What one act did, and what the ledger is to say of it.
pub(super) struct Changed {
    pub(super) change: CounterChange,
    pub(super) posting: Option<Posting>,
}

impl Administration {
    /// Sets what was used of flow quotas to zero. Reservations stay, and are charged.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for a quota or window that the subject has no counter of, and
    /// [`AdminError::Store`] and [`AdminError::Ledger`].
    pub async fn reset(
        &self,
        subject: &Subject,
        quota: Option<&QuotaName>,
        window: Option<Window>,
        doing: &Doing,
    ) -> Result<Vec<CounterChange>, AdminError> {
        let position = self.position_now(subject).await?;
        if let Some(quota) = quota {
            position.check_quota(quota)?;
        }
        let keys: Vec<CounterKey> = position
            .own_counters()
            .map(|(_, key)| key)
            .filter(|key| quota.is_none_or(|quota| key.quota == *quota))
            .filter(|key| window.is_none_or(|window| key.window == window))
            .cloned()
            .collect();
        if keys.is_empty() && window.is_some() {
            return Err(AdminError::Invalid {
                field: "window".to_owned(),
                problem: "nothing is counted in this window; its plan says which there are"
                    .to_owned(),
            });
        }
        let change = Change {
            subject,
            action: "reset",
            doing,
        };
        let changed = self.reset_each(change, &keys).await?;
        self.record(change, changed).await
    }

    /// Sets what was used.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for a quota that there is not and for a window in which nothing is
    /// counted, [`AdminError::Store`] and
    /// [`AdminError::Ledger`].
    #[expect(
        clippy::too_many_arguments,
        reason = "whose, of what, how much, and who does it"
    )]
    pub async fn set_used(
        &self,
        subject: &Subject,
        quota: &QuotaName,
        window: Window,
        used: Amount,
        doing: &Doing,
    ) -> Result<CounterChange, AdminError> {
        let position = self.position_now(subject).await?;
        position.check_quota(quota)?;
        position.check_window(quota, window)?;
        let change = Change {
            subject,
            action: "used",
            doing,
        };
        let key = position.key(quota, window);
        let act = Act::SetUsed(key.clone(), used);
        let changed = self.act(change, "used", (key, act)).await?;
        let answer = changed.change.clone();
        self.record(change, vec![changed]).await?;
        Ok(answer)
    }

    /// Where a subject stands by the directory and its last attempt; without them, by the
    /// default plan.
    pub(super) async fn position_now(&self, subject: &Subject) -> Result<Position, AdminError> {
        let entries = match self.shared.stored() {
            Some(_) => self.entries(subject).await?,
            None => quota_store::directory::Entries::default(),
        };
        let claim = self.claim_of(subject).await?;
        let runtime = self.shared.runtime.load_full();
        let now = self.shared.store.now();
        let known = (&entries, &claim);
        let position = Position::by_entries(&runtime, subject, known, now);
        self.seed_young(&position).await;
        Ok(position)
    }

    /// Lets counters of a position that came into being begin with the ledger, as a request does.
    pub(super) async fn seed_young(&self, position: &Position) {
        let who = (&position.requester, &position.resolved);
        let seeding = self.shared.seed(&position.runtime, who, &position.windows);
        seeding.await;
    }

    /// Sets counters to zero, each in a step of its own.
    pub(super) async fn reset_each(
        &self,
        change: Change<'_>,
        keys: &[CounterKey],
    ) -> Result<Vec<Changed>, AdminError> {
        let mut all = Vec::with_capacity(keys.len());
        for key in keys {
            let act = Act::Reset(key.clone());
            all.push(self.act(change, "reset", (key.clone(), act)).await?);
        }
        Ok(all)
    }

    /// Does one act to one counter, in its present window.
    pub(super) async fn act(
        &self,
        change: Change<'_>,
        what: &str,
        (key, act): (CounterKey, Act),
    ) -> Result<Changed, AdminError> {
        let label = format!("{what}/{}/{}/{}", key.scope.as_str(), key.quota, key.window);
        let id = derived(change.doing.id, &label);
        let operation = Operation {
            id: OperationId(id),
            requester: requester_of(change.subject),
            act,
        };
        let (before, after) = match self.administer(&operation).await? {
            Administered::Counter { before, after } => (before.used, after.used),
            // It may not be in the ledger yet, which takes it once.
            Administered::Already { before, after } => (before, after),
            // No act on a counter is answered so.
            Administered::Generation(_) => (Amount::ZERO, Amount::ZERO),
        };
        Ok(Changed {
            posting: self.posting((change.subject, id), &key, signed_difference(before, after)),
            change: CounterChange {
                quota: key.quota.clone(),
                window: key.window,
                scope: key.scope,
                used_before: before,
                used_after: after,
            },
        })
    }

    /// What the ledger is to say of an act, where the store does not say it itself.
    fn posting(
        &self,
        (subject, id): (&Subject, Uuid),
        key: &CounterKey,
        amount: i64,
    ) -> Option<Posting> {
        if self.shared.store.writes_ledger() || amount == 0 {
            return None;
        }
        let at = self.shared.store.now();
        Some(admin_posting((subject, id), key, amount, at))
    }

    /// Puts into the ledger what was done, with the one audit of it.
    pub(super) async fn record(
        &self,
        change: Change<'_>,
        changed: Vec<Changed>,
    ) -> Result<Vec<CounterChange>, AdminError> {
        let (done, postings) = apart(changed);
        let (before, after) = json::counters(&done);
        let audit = change.audit(self.shared.store.now(), before, after);
        let batch = Batch {
            postings,
            audits: vec![audit],
            ..Batch::default()
        };
        self.append(batch).await?;
        Ok(done)
    }
}

/// What was done, and what the ledger is to say of it.
pub(super) fn apart(changed: Vec<Changed>) -> (Vec<CounterChange>, Vec<Posting>) {
    let (done, postings): (Vec<_>, Vec<_>) = changed
        .into_iter()
        .map(|changed| (changed.change, changed.posting))
        .unzip();
    (done, postings.into_iter().flatten().collect())
}

/// What an administrator's change of one counter is in the ledger.
pub(crate) fn admin_posting(
    (subject, id): (&Subject, Uuid),
    key: &CounterKey,
    amount: i64,
    at: quota_store::UnixMillis,
) -> Posting {
    let requester = requester_of(subject);
    let mut posting = Posting::of(&requester, ReservationId::from(id), PostingKind::Admin, at);
    if key.scope == Scope::Tenant {
        posting.user = None;
    }
    // The window may have ended while the store was asked.
    posting.at = match key.span.end() {
        Some(end) if posting.at >= end => key.span.start(),
        _ => posting.at.max(key.span.start()),
    };
    posting.entries = vec![Entry {
        counter: key.clone(),
        amount,
    }];
    posting
}

/// `after - before`.
pub(super) fn signed_difference(before: Amount, after: Amount) -> i64 {
    signed(after) - signed(before)
}

/// An amount is far below what this holds.
pub(super) fn signed(amount: Amount) -> i64 {
    i64::try_from(amount.get()).unwrap_or(i64::MAX)
}

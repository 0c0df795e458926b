//! Giving a subject another plan.

use quota_store::{
    Act, CounterKey, CounterValue, Subject, UnixMillis,
    directory::Entry,
    ledger::{Batch, Span},
};

use super::{
    AdminError, Administration, ChangeRule, Doing, PlanChange, Standing,
    change::{Change, MAX_CONFLICTS, too_many_conflicts},
    counters::signed,
    position::{Position, entry_of, scope_of, with_entry},
    switch::{check, given_by_rule, switched},
};

impl Administration {
    /// Gives one subject another plan. It answers which is in force, and with it what follows.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for what contradicts itself or the plans there are,
    /// [`AdminError::NoLedger`], [`AdminError::Store`] and [`AdminError::Ledger`].
    pub async fn assign(
        &self,
        subject: &Subject,
        change: &PlanChange,
        doing: &Doing,
    ) -> Result<Standing, AdminError> {
        self.switch(subject, change, doing).await?;
        self.standing_of(subject).await
    }

    /// The same without an answer.
    pub(super) async fn switch(
        &self,
        subject: &Subject,
        wanted: &PlanChange,
        doing: &Doing,
    ) -> Result<(), AdminError> {
        let change = Change {
            subject,
            action: "plan",
            doing,
        };
        for _ in 0..MAX_CONFLICTS {
            let (before, after, [old, new]) = self.work_out(subject, wanted).await?;
            self.seed(change, &before, &after).await?;
            let Some(generation) = self.replace(change, &old, new).await? else {
                continue;
            };
            if wanted.rule == ChangeRule::Reset {
                let keys: Vec<CounterKey> =
                    after.own_counters().map(|(_, key)| key.clone()).collect();
                let reset = self.reset_each(change, &keys).await?;
                let postings = reset.into_iter().filter_map(|changed| changed.posting);
                self.append(Batch {
                    postings: postings.collect(),
                    ..Batch::default()
                })
                .await?;
            }
            return self.advance(change, generation).await;
        }
        Err(too_many_conflicts())
    }

    /// Where the subject stands before and after, and what is known of it then.
    async fn work_out(
        &self,
        subject: &Subject,
        change: &PlanChange,
    ) -> Result<(Position, Position, [Entry; 2]), AdminError> {
        let entries = self.entries(subject).await?;
        let claim = self.claim_of(subject).await?;
        let now = self.shared.store.now();
        let runtime = self.shared.runtime.load_full();
        let scope = scope_of(subject);
        let before = Position::by_entries(&runtime, subject, (&entries, &claim), now);
        check(change, &before)?;
        let old = entry_of(&entries, scope);
        let mut new = switched(change, &before, &old);
        let standing_with = |entry: &Entry, now: UnixMillis| {
            let entries = with_entry(&entries, scope, entry.clone());
            Position::by_entries(&runtime, subject, (&entries, &claim), now)
        };
        let after = standing_with(&new, now);
        let given = match change.rule {
            ChangeRule::Carry | ChangeRule::Reset => Vec::new(),
            rule => {
                let values = self.values(&after).await?;
                given_by_rule(rule, (&before, &after), |place| values[place].used)
            }
        };
        new.overrides.extend(given);
        let after = standing_with(&new, now);
        Ok((before, after, [old, new]))
    }

    /// Lets counters that come into being begin with what the ledger says of their windows.
    ///
    /// Nobody counts in them yet, so that it does no harm if the change comes to nothing.
    pub(super) async fn seed(
        &self,
        change: Change<'_>,
        before: &Position,
        after: &Position,
    ) -> Result<(), AdminError> {
        // What the plan before got is not what the plan after has had.
        self.seed_young(before).await;
        let known = before.keys();
        let mut batch = Batch::default();
        for (_, key) in after.own_counters() {
            if known.contains(key) {
                continue;
            }
            let missing = self.missing(change.subject, (before, after), key).await?;
            if missing > 0 {
                let act = Act::AddUsed(key.clone(), missing);
                // The ledger's own figures led to it, under the key of the window alone.
                let what = format!("seed/{}", key.span.start().get());
                let changed = self.act(change, &what, (key.clone(), act)).await?;
                batch.postings.extend(changed.posting);
            }
        }
        if batch.postings.is_empty() {
            return Ok(());
        }
        self.append(batch).await
    }

    /// How much more was used in a window than its counter says: by the ledger, and by counters of
    /// windows within it, which know of what the ledger does not have yet.
    async fn missing(
        &self,
        subject: &Subject,
        (before, after): (&Position, &Position),
        key: &CounterKey,
    ) -> Result<i64, AdminError> {
        let span = Span {
            from: key.span.start(),
            to: key.span.end().unwrap_or(Span::ALL.to),
        };
        let ledger = self.ledger()?;
        let charged = ledger.charged(subject, &key.quota, span).await;
        let charged = charged.map_err(AdminError::Ledger)?;
        let is_within = |other: &CounterKey| {
            let end = other.span.end().unwrap_or(Span::ALL.to);
            other.quota == key.quota && other.span.start() >= span.from && end <= span.to
        };
        let within = before.own_counters().map(|(_, other)| other);
        let mut keys = vec![key.clone()];
        keys.extend(within.filter(|other| is_within(other)).cloned());
        let values = self.shared.store.read(&after.requester, &keys).await;
        let values = values.map_err(AdminError::Store)?;
        let used = |value: &CounterValue| value.used;
        let counted = values.first().map(used).unwrap_or_default();
        let within = values.iter().skip(1).map(used).max().unwrap_or_default();
        Ok(signed(charged.max(within)) - signed(counted))
    }
}

//! Giving units back.

use quota_store::{
    Act, Amount, CounterKey, QuotaName, Requester, ReservationId, Subject, TenantId, UnixMillis,
    ledger::{AuditQuery, Batch, History, Posting, Span, Target},
};
use serde_json::json;

use super::{
    AdminError, Administration, CounterChange, Doing,
    change::{Change, derived},
    counters::{Changed, admin_posting, apart, signed},
    json,
};

/// How many refunds of a user are looked through for those of one attempt.
const REFUNDS: u32 = 1_000;

/// What can be given back of one counter.
struct Charge {
    counter: CounterKey,
    charged: Amount,
}

impl Administration {
    /// Gives units back in the windows that an attempt was charged to, or in the present ones: to
    /// the user, and to its tenant.
    ///
    /// Of an attempt no more is given back than it was charged, less what was given back of it
    /// before.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] for an attempt that the user did not make,
    /// [`AdminError::Conflict`] where nothing is left of it to give back, [`AdminError::Invalid`]
    /// for a quota that there is not, and [`AdminError::Store`] and [`AdminError::Ledger`].
    #[expect(
        clippy::too_many_arguments,
        reason = "whose, of what, how much, and who does it"
    )]
    pub async fn refund(
        &self,
        requester: &Requester,
        quota: &QuotaName,
        amount: Amount,
        attempt: Option<ReservationId>,
        doing: &Doing,
    ) -> Result<Vec<CounterChange>, AdminError> {
        let subject = Subject::User {
            tenant: requester.tenant.clone(),
            user: requester.user.clone(),
        };
        let position = self.position_now(&subject).await?;
        position.check_quota(quota)?;
        let change = Change {
            subject: &subject,
            action: "refund",
            doing,
        };
        let (charges, at) = if let Some(id) = attempt {
            self.charges_of(requester, quota, id).await?
        } else {
            let of_quota = position.keys().into_iter();
            let of_quota = of_quota.filter(|key| key.quota == *quota);
            let charges = of_quota.map(|counter| Charge {
                counter,
                charged: amount,
            });
            (charges.collect(), position.now)
        };
        let before = match attempt {
            Some(id) => self.refunded_before(requester, quota, (id, doing)).await?,
            None => Amount::ZERO,
        };
        let mut changed = Vec::new();
        let mut given = Amount::ZERO;
        for charge in charges {
            let left = charge.charged.saturating_sub(before);
            let back = if left < amount { left } else { amount };
            if !back.is_zero() {
                given = given.max(back);
                changed.push(self.give_back(change, charge.counter, (back, at)).await?);
            }
        }
        if changed.is_empty() {
            return Err(AdminError::Conflict(
                "nothing is left to give back".to_owned(),
            ));
        }
        self.record_refund(change, changed, (quota, given, attempt))
            .await
    }

    /// Gives units back to a tenant as a whole, in the present windows.
    ///
    /// # Errors
    ///
    /// [`AdminError::Conflict`] where the tenant has no counter of the quota,
    /// [`AdminError::Invalid`] for a quota that there is not, and [`AdminError::Store`] and
    /// [`AdminError::Ledger`].
    pub async fn refund_tenant(
        &self,
        tenant: &TenantId,
        quota: &QuotaName,
        amount: Amount,
        doing: &Doing,
    ) -> Result<Vec<CounterChange>, AdminError> {
        let subject = Subject::Tenant(tenant.clone());
        let position = self.position_now(&subject).await?;
        position.check_quota(quota)?;
        let change = Change {
            subject: &subject,
            action: "refund",
            doing,
        };
        let mut changed = Vec::new();
        let keys = position.own_counters().map(|(_, key)| key);
        for key in keys.filter(|key| key.quota == *quota) {
            let back = (amount, position.now);
            changed.push(self.give_back(change, key.clone(), back).await?);
        }
        if changed.is_empty() {
            return Err(AdminError::Conflict(
                "nothing of this quota is counted for the tenant as a whole".to_owned(),
            ));
        }
        self.record_refund(change, changed, (quota, amount, None))
            .await
    }

    async fn charges_of(
        &self,
        requester: &Requester,
        quota: &QuotaName,
        id: ReservationId,
    ) -> Result<(Vec<Charge>, UnixMillis), AdminError> {
        let found = self.ledger()?.attempt(requester.tenant.as_ref(), id).await;
        let found = found.map_err(AdminError::Ledger)?;
        let is_of_user = |history: &History| {
            history
                .records
                .iter()
                .any(|record| record.user.as_ref() == Some(&requester.user))
        };
        let history = found
            .filter(is_of_user)
            .ok_or_else(|| AdminError::NotFound {
                what: format!("attempt `{id}`"),
            })?;
        let mut charges: Vec<(CounterKey, i64)> = Vec::new();
        let entries = history.postings.iter().flat_map(|posting| &posting.entries);
        for entry in entries.filter(|entry| entry.counter.quota == *quota) {
            match charges.iter_mut().find(|(key, _)| *key == entry.counter) {
                Some((_, sum)) => *sum = sum.saturating_add(entry.amount),
                None => charges.push((entry.counter.clone(), entry.amount)),
            }
        }
        let charges = charges.into_iter().map(|(counter, charged)| Charge {
            counter,
            charged: Amount::saturating(u64::try_from(charged).unwrap_or(0)),
        });
        let at = history
            .postings
            .first()
            .map_or(UnixMillis::new(0), |posting| posting.at);
        Ok((charges.collect(), at))
    }

    /// What other refunds gave back of the same attempt.
    async fn refunded_before(
        &self,
        requester: &Requester,
        quota: &QuotaName,
        (attempt, doing): (ReservationId, &Doing),
    ) -> Result<Amount, AdminError> {
        let query = AuditQuery {
            tenant: requester.tenant.clone(),
            target: Some(Target::User(requester.user.clone())),
            actor: None,
            action: Some("refund".to_owned()),
            span: Span::ALL,
            after: None,
            limit: REFUNDS,
        };
        let page = self
            .ledger()?
            .audits(&query)
            .await
            .map_err(AdminError::Ledger)?;
        let of_attempt = page.rows.iter().filter(|audit| {
            audit.id != doing.id
                && audit.after["event"] == json!(attempt.to_string())
                && audit.after["quota"] == json!(quota.as_str())
        });
        let given = of_attempt.filter_map(|audit| audit.after["amount"].as_u64());
        Ok(Amount::saturating(given.sum()))
    }

    async fn give_back(
        &self,
        change: Change<'_>,
        key: CounterKey,
        (amount, at): (Amount, UnixMillis),
    ) -> Result<Changed, AdminError> {
        let amount = -signed(amount);
        if key.span.contains(self.shared.store.now()) {
            let act = Act::AddUsed(key.clone(), amount);
            return self.act(change, "refund", (key, act)).await;
        }
        // The window is over: only the ledger still knows it.
        let label = format!("refund/{}/{}/{}", key.scope.as_str(), key.quota, key.window);
        let of_subject = (change.subject, derived(change.doing.id, &label));
        let posting: Posting = admin_posting(of_subject, &key, amount, at);
        let used = self.used_by_ledger(change.subject, &key).await?;
        Ok(Changed {
            change: CounterChange {
                quota: key.quota.clone(),
                window: key.window,
                scope: key.scope,
                used_before: used,
                used_after: Amount::saturating(used.get().saturating_add_signed(amount)),
            },
            posting: Some(posting),
        })
    }

    async fn used_by_ledger(
        &self,
        subject: &Subject,
        key: &CounterKey,
    ) -> Result<Amount, AdminError> {
        let requester = super::position::requester_of(subject);
        let used = self
            .ledger()?
            .used(&requester, std::slice::from_ref(key))
            .await;
        let used = used.map_err(AdminError::Ledger)?;
        Ok(used.first().copied().unwrap_or_default())
    }

    async fn record_refund(
        &self,
        change: Change<'_>,
        changed: Vec<Changed>,
        (quota, amount, attempt): (&QuotaName, Amount, Option<ReservationId>),
    ) -> Result<Vec<CounterChange>, AdminError> {
        let (done, postings) = apart(changed);
        let (before, after) = json::counters(&done);
        let before = json!({ "counters": before });
        let after = json!({
            "counters": after,
            "quota": quota.as_str(),
            "amount": amount.get(),
            "event": attempt.map(|id| id.to_string()),
        });
        self.append(Batch {
            postings,
            audits: vec![change.audit(self.shared.store.now(), before, after)],
            ..Batch::default()
        })
        .await?;
        Ok(done)
    }
}

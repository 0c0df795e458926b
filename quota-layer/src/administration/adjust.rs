//! Giving a subject a limit of its own.

use std::sync::Arc;

use quota_store::{
    Amount, Bound, Subject, UnixMillis,
    directory::{Entry, Override},
};

use super::{
    AdjustTo, Adjustment, AdminError, Administration, Doing, Expires,
    change::{Change, MAX_CONFLICTS, too_many_conflicts},
    position::{Position, entry_of, scope_of, with_entry},
};
use crate::{QuotaStatus, status::Snapshot};

impl Administration {
    /// Gives one subject another limit than its plan's. It answers how the counter stands.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for a quota that there is not, for more of what is unlimited, and for
    /// an expiry that does not come; [`AdminError::NoLedger`], [`AdminError::Store`] and [`AdminError::Ledger`].
    pub async fn adjust(
        &self,
        subject: &Subject,
        adjustment: &Adjustment,
        doing: &Doing,
    ) -> Result<QuotaStatus, AdminError> {
        let change = Change {
            subject,
            action: "adjust",
            doing,
        };
        for _ in 0..MAX_CONFLICTS {
            let entries = self.entries(subject).await?;
            let claim = self.claim_of(subject).await?;
            let now = self.shared.store.now();
            let runtime = self.shared.runtime.load_full();
            let scope = scope_of(subject);
            let before = Position::by_entries(&runtime, subject, (&entries, &claim), now);
            let old = entry_of(&entries, scope);
            before.check_quota(&adjustment.quota)?;
            let is_own =
                |one: &Override| one.quota == adjustment.quota && one.window == adjustment.window;
            if adjustment.to == AdjustTo::Plan && !old.overrides_at(now).any(is_own) {
                // It has the plan's limit already.
                return self.status_of(before, adjustment).await;
            }
            let new = adjusted(adjustment, &before, &old)?;
            let entries = with_entry(&entries, scope, new.clone());
            let after = Position::by_entries(&runtime, subject, (&entries, &claim), now);
            self.seed(change, &before, &after).await?;
            let Some(generation) = self.replace(change, &old, new).await? else {
                continue;
            };
            self.advance(change, generation).await?;
            // What was done before under the same id is in force, and not what it would be now.
            let position = self.position_now(subject).await?;
            return self.status_of(position, adjustment).await;
        }
        Err(too_many_conflicts())
    }

    async fn status_of(
        &self,
        position: Position,
        adjustment: &Adjustment,
    ) -> Result<QuotaStatus, AdminError> {
        let values = self.values(&position).await?;
        let snapshot = Snapshot {
            windows: Arc::clone(&position.windows),
            values,
        };
        let found = snapshot.views().find(|view| {
            view.rule.scope == position.scope
                && view.rule.quota == adjustment.quota
                && view.rule.limit.window == adjustment.window
        });
        if let Some(view) = found {
            return Ok(view.status());
        }
        let (quota, window) = (&adjustment.quota, adjustment.window);
        let key = [position.key(quota, window)];
        let values = self.shared.store.read(&position.requester, &key).await;
        let values = values.map_err(AdminError::Store)?;
        position
            .without_limit(quota, window, values.first().copied().unwrap_or_default())
            .ok_or_else(|| AdminError::NotFound {
                what: format!("quota `{quota}` any more"),
            })
    }
}

/// What is known of the subject afterwards.
fn adjusted(
    adjustment: &Adjustment,
    before: &Position,
    entry: &Entry,
) -> Result<Entry, AdminError> {
    let Adjustment {
        quota,
        window,
        to,
        expires,
    } = adjustment;
    let limit = match to {
        AdjustTo::Plan => None,
        AdjustTo::Limit(limit) => Some(*limit),
        AdjustTo::Add(more) => Some(more_than(before.limit(quota, *window), *more)?),
    };
    let until = expiry(*expires, before, adjustment)?;
    let others = entry.overrides_at(before.now);
    let others = others.filter(|one| one.quota != *quota || one.window != *window);
    let own = limit.map(|limit| Override {
        quota: quota.clone(),
        window: *window,
        limit,
        until,
    });
    Ok(Entry {
        generation: entry.generation,
        assignments: entry.assignments.clone(),
        overrides: others.cloned().chain(own).collect(),
    })
}

/// A limit with so much more, or less, down to nothing.
fn more_than(limit: Option<Bound>, more: i64) -> Result<Bound, AdminError> {
    let invalid = |problem: &str| AdminError::Invalid {
        field: "add".to_owned(),
        problem: problem.to_owned(),
    };
    match limit {
        Some(Bound::AtMost(limit)) => {
            let sum = limit.get().saturating_add_signed(more);
            Ok(Bound::AtMost(Amount::saturating(sum)))
        }
        Some(Bound::Unlimited) => Err(invalid("the limit is unlimited; give one as limit instead")),
        None => Err(invalid(
            "the plan has no limit in this window to add to; give one as limit instead",
        )),
    }
}

fn expiry(
    expires: Expires,
    before: &Position,
    adjustment: &Adjustment,
) -> Result<Option<UnixMillis>, AdminError> {
    let invalid = |problem: &str| {
        Err(AdminError::Invalid {
            field: "expires_at".to_owned(),
            problem: problem.to_owned(),
        })
    };
    match expires {
        Expires::Never => Ok(None),
        Expires::At(at) if at <= before.now => invalid("it is over already"),
        Expires::At(at) => Ok(Some(at)),
        Expires::WindowEnd => match before.span(adjustment.window).end() {
            Some(end) => Ok(Some(end)),
            None => invalid("this window never ends; leave it out, or give an instant"),
        },
    }
}

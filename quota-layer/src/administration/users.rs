//! Who uses how much.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use quota_store::{
    Amount, CounterKey, CounterValue, Requester, Scope, Subject, UnixMillis, UserId, WindowSpan,
    ledger::{Balance, HolderCursor, HoldersOrder, HoldersQuery, LastSeen, PlanSource},
};
use serde::{Deserialize, Serialize};

use super::{
    AdminError, Administration, UserRow, UsersQuery, UsersSort,
    many::is_forgotten,
    position::{Claim, Position},
};
use crate::{config::PlanFrom, plans::Lookup, runtime::RequestRuntime, status::CounterView};

/// How many counters one call looks at, at most; what is found by then is a page.
const LOOKED_AT: u32 = 1_000;

/// Where a page ended, as text.
#[derive(Debug, Deserialize, Serialize)]
struct Cursor {
    used: u64,
    user: String,
    quota: String,
    window: String,
    from: u64,
    to: Option<u64>,
}

impl Administration {
    /// Who uses how much, and where the next page begins.
    ///
    /// Counters stand as the ledger has them. A page may have fewer rows than asked for, or none,
    /// and go on all the same: one call looks at a bounded number of counters.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for a place that no page ended at, [`AdminError::NoLedger`] and
    /// [`AdminError::Ledger`].
    pub async fn users(
        &self,
        query: &UsersQuery,
    ) -> Result<(Vec<UserRow>, Option<String>), AdminError> {
        let runtime = self.shared.runtime.load_full();
        let mut listing = Listing {
            administration: self,
            query,
            now: self.shared.store.now(),
            runtime,
            positions: HashMap::new(),
        };
        let mut after = query.after.as_deref().map(parse_cursor).transpose()?;
        let mut rows = Vec::new();
        let mut looked_at = 0;
        while looked_at < LOOKED_AT {
            let page = self.ledger()?.holders(&listing.holders(after)).await;
            let page = page.map_err(AdminError::Ledger)?;
            looked_at += listing.page_size();
            for balance in page.rows {
                let last = cursor_at(&balance);
                rows.extend(listing.row(balance).await?);
                if rows.len() >= usize::try_from(query.limit).unwrap_or(usize::MAX) {
                    return Ok((rows, last.as_ref().and_then(cursor_text)));
                }
            }
            // A short page may be the last one without saying so.
            after = page.next;
            if after.is_none() {
                return Ok((rows, None));
            }
        }
        Ok((rows, after.as_ref().and_then(cursor_text)))
    }

    /// The last attempt of a subject, where there is a ledger.
    pub(super) async fn last_seen(
        &self,
        subject: &Subject,
    ) -> Result<Option<LastSeen>, AdminError> {
        let Some(ledger) = self.shared.ledger() else {
            return Ok(None);
        };
        ledger.last_seen(subject).await.map_err(AdminError::Ledger)
    }

    /// The plan that a user's token claims, which only its last attempt tells.
    pub(super) async fn claim_of(&self, subject: &Subject) -> Result<Claim, AdminError> {
        let runtime = self.shared.runtime.load_full();
        let has_claims = runtime.config.identity.plan_from.contains(&PlanFrom::Claim);
        if !has_claims || matches!(subject, Subject::Tenant(_)) {
            return Ok(Claim::default());
        }
        Ok(claimed(self.last_seen(subject).await?.as_ref()))
    }
}

/// The plan of an attempt, where a token claimed it.
pub(super) fn claimed(seen: Option<&LastSeen>) -> Claim {
    let plan = seen.and_then(|seen| seen.plan.as_ref());
    let plan = plan.filter(|plan| plan.source == PlanSource::Claim);
    Claim(plan.map(|plan| plan.plan.clone()))
}

/// One call, and what it knows already.
struct Listing<'a> {
    administration: &'a Administration,
    query: &'a UsersQuery,
    now: UnixMillis,
    runtime: RequestRuntime,
    positions: HashMap<UserId, Arc<Position>>,
}

impl Listing<'_> {
    fn page_size(&self) -> u32 {
        let has_filter = self.query.plan.is_some() || self.query.near_limit.is_some();
        if has_filter {
            LOOKED_AT / 4
        } else {
            self.query.limit.clamp(1, LOOKED_AT)
        }
    }

    fn holders(&self, after: Option<HolderCursor>) -> HoldersQuery {
        HoldersQuery {
            tenant: self.query.tenant.clone(),
            quota: self.query.quota.clone(),
            window: self.query.window,
            now: self.now,
            order: match self.query.sort {
                UsersSort::MostUsed => HoldersOrder::MostUsed,
                UsersSort::Name => HoldersOrder::Name,
            },
            after,
            limit: self.page_size(),
        }
    }

    /// The row of one counter; `None` where it is not asked for, or its user's plan does not
    /// count it any more.
    async fn row(&mut self, balance: Balance) -> Result<Option<UserRow>, AdminError> {
        let Subject::User { user, .. } = &balance.subject else {
            return Ok(None);
        };
        if user.is_anonymous() || is_forgotten(user) {
            return Ok(None);
        }
        let position = self.position(&balance.subject, user).await?;
        let plan = &position.plan().name;
        if self
            .query
            .plan
            .as_ref()
            .is_some_and(|wanted| wanted != plan)
        {
            return Ok(None);
        }
        let windows = &position.windows;
        let mut counters = windows.table.counters.iter().zip(&windows.open);
        let is_it = |rule: &crate::charge::CounterRule, span: WindowSpan| {
            rule.scope == Scope::User
                && rule.quota == balance.counter.quota
                && rule.limit.window == balance.counter.window
                && span == balance.counter.span
        };
        let Some((rule, window)) = counters.find(|(rule, open)| is_it(rule, open.span)) else {
            return Ok(None);
        };
        let view = CounterView {
            rule,
            window,
            value: CounterValue {
                used: balance.used,
                reserved: Amount::ZERO,
            },
            denied: None,
        };
        let status = view.status();
        let is_near = |percent: u16| {
            let used = status.percent_used;
            used.is_some_and(|used| used >= u64::from(percent))
        };
        if self
            .query
            .near_limit
            .is_some_and(|percent| !is_near(percent))
        {
            return Ok(None);
        }
        Ok(Some(UserRow {
            user: user.clone(),
            plan: plan.clone(),
            status,
        }))
    }

    async fn position(
        &mut self,
        subject: &Subject,
        user: &UserId,
    ) -> Result<Arc<Position>, AdminError> {
        if let Some(known) = self.positions.get(user) {
            return Ok(Arc::clone(known));
        }
        let requester = Requester {
            tenant: self.query.tenant.clone(),
            user: user.clone(),
        };
        let assignments = &self.administration.shared.assignments;
        let looked = assignments.look(&requester, self.now, Lookup::Cached).await;
        let claim = self.administration.claim_of(subject).await?;
        let position = Position::of(&self.runtime, subject, (looked, claim.as_deref()), self.now);
        let position = Arc::new(position);
        self.positions.insert(user.clone(), Arc::clone(&position));
        Ok(position)
    }
}

fn cursor_at(balance: &Balance) -> Option<HolderCursor> {
    let Subject::User { user, .. } = &balance.subject else {
        return None;
    };
    Some(HolderCursor {
        used: balance.used,
        user: user.clone(),
        counter: balance.counter.clone(),
    })
}

/// Hexadecimal, so that it is a word in every URL.
fn cursor_text(cursor: &HolderCursor) -> Option<String> {
    let span = cursor.counter.span;
    let cursor = Cursor {
        used: cursor.used.get(),
        user: cursor.user.as_str().to_owned(),
        quota: cursor.counter.quota.as_str().to_owned(),
        window: cursor.counter.window.to_string(),
        from: span.start().get(),
        to: span.end().map(UnixMillis::get),
    };
    let json = serde_json::to_vec(&cursor).ok()?;
    let mut text = String::with_capacity(json.len() * 2);
    for byte in json {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

fn parse_cursor(text: &str) -> Result<HolderCursor, AdminError> {
    read_cursor(text).ok_or_else(|| AdminError::Invalid {
        field: "cursor".to_owned(),
        problem: "no page ended here; take it as the page before gives it".to_owned(),
    })
}

fn read_cursor(text: &str) -> Option<HolderCursor> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let json: Vec<u8> = digits.map(byte).collect::<Option<_>>()?;
    let cursor: Cursor = serde_json::from_slice(&json).ok()?;
    let from = UnixMillis::new(cursor.from);
    let span = match cursor.to {
        Some(to) => WindowSpan::new(from, UnixMillis::new(to))?,
        None => WindowSpan::LIFETIME,
    };
    Some(HolderCursor {
        used: Amount::new(cursor.used)?,
        user: UserId::new(&cursor.user).ok()?,
        counter: CounterKey {
            scope: Scope::User,
            quota: quota_store::QuotaName::new(&cursor.quota).ok()?,
            window: cursor.window.parse().ok()?,
            span,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let span = WindowSpan::new(UnixMillis::new(5), UnixMillis::new(9)).unwrap();
        let cursor = |span| HolderCursor {
            used: Amount::MAX,
            user: UserId::new("a \"quoted\" ü\nuser").unwrap(),
            counter: CounterKey {
                scope: Scope::User,
                quota: quota_store::QuotaName::new("messages").unwrap(),
                window: "15m".parse().unwrap(),
                span,
            },
        };
        for cursor in [cursor(span), cursor(WindowSpan::LIFETIME)] {
            let text = cursor_text(&cursor).unwrap();
            assert_eq!(read_cursor(&text), Some(cursor));
        }
        for bad in ["", "7", "zz", "7b7d", "é"] {
            assert!(parse_cursor(bad).is_err(), "{bad}");
        }
    }
}

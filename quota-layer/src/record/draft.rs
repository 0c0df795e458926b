//! The record of an attempt while it runs.

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU32, sync::Arc, time::Instant};

use http::{HeaderMap, Method, Request, header};
use quota_store::{
    Amount, Requester, ReservationId, UnixMillis,
    ledger::{Attempt, Charged, DeniedBy, Outcome, PlanAtTheTime},
};
use serde_json::{Map, Value};

use super::Records;
use crate::{
    config::IdentityConfig, handle::QuotaHandle, identify, metrics::monotonic_now,
    refusal::Refusal, settle::Ending,
};

/// How much of a header or path is kept.
const MAX_TEXT: usize = 256;

/// What is kept of a request before it is known who makes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    request_id: Option<String>,
    client_ip: Option<IpAddr>,
    user_agent: Option<String>,
}

/// What the ledger is to say of an attempt, as far as it is known.
///
/// Dropped before it was charged, it is noted as what it is by then: released, unless anything
/// else was said.
#[derive(Debug)]
pub(crate) struct Draft {
    records: Arc<Records>,
    /// `None` once it was taken.
    attempt: Option<Attempt>,
    /// Since when the handler runs, and what it says.
    running: Option<(Instant, QuotaHandle)>,
}

impl Origin {
    pub(crate) fn of<B>(
        records: &Records,
        identity: &IdentityConfig,
        request: &Request<B>,
    ) -> Self {
        let headers = request.headers();
        let client_ip = || {
            let trusted = &identity.trusted_proxies;
            identify::client_ip(trusted, headers, request.extensions())
        };
        Self {
            request_id: text(headers, "x-request-id"),
            client_ip: records.config.client_ip.then(client_ip).flatten(),
            user_agent: records
                .config
                .user_agent
                .then(|| text(headers, header::USER_AGENT.as_str()))
                .flatten(),
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (!text.is_empty()).then(|| shortened(text))
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

impl Draft {
    /// A record of an attempt that nothing is known of but its origin.
    pub(crate) fn new(records: &Arc<Records>, id: ReservationId, at: UnixMillis) -> Self {
        let attempt = Attempt {
            id,
            outcome: Outcome::Released,
            at,
            tenant: None,
            user: None,
            plan: None,
            rule: None,
            charges: Vec::new(),
            status: None,
            cause: None,
            latency: None,
            tags: BTreeMap::new(),
            metadata: Map::new(),
            request_id: None,
            client_ip: None,
            user_agent: None,
            revision: String::new(),
            denial: None,
            count: NonZeroU32::MIN,
        };
        Self {
            records: Arc::clone(records),
            attempt: Some(attempt),
            running: None,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Attempt)) -> Self {
        self.change(change);
        self
    }

    fn change(&mut self, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = &mut self.attempt {
            change(attempt);
        }
    }

    /// Under which configuration, and where it came from.
    pub(crate) fn under(self, revision: &str, origin: Option<&Origin>) -> Self {
        self.with(|attempt| {
            revision.clone_into(&mut attempt.revision);
            if let Some(origin) = origin.cloned() {
                attempt.request_id = origin.request_id;
                attempt.client_ip = origin.client_ip;
                attempt.user_agent = origin.user_agent;
            }
        })
    }

    /// Who makes it.
    pub(crate) fn of(self, requester: &Requester) -> Self {
        self.with(|attempt| {
            attempt.tenant.clone_from(&requester.tenant);
            attempt.user = Some(requester.user.clone());
        })
    }

    /// Under which rule.
    pub(crate) fn under_rule(self, rule: String) -> Self {
        self.with(|attempt| attempt.rule = Some(rule))
    }

    /// What it asks for, under which plan.
    pub(crate) fn asks(&mut self, plan: PlanAtTheTime, charges: Vec<Charged>) {
        self.change(|attempt| {
            attempt.plan = Some(plan);
            attempt.charges = charges;
        });
    }

    /// Which method and path no rule names.
    pub(crate) fn unmatched(self, method: &Method, path: &str) -> Self {
        self.with(|attempt| {
            attempt.outcome = Outcome::Unmatched;
            let mut keep = |key: &str, text: &str| {
                let value = Value::String(shortened(text));
                attempt.metadata.insert(key.to_owned(), value);
            };
            keep("method", method.as_str());
            keep("path", path);
        })
    }

    /// It is refused: notes that.
    pub(crate) fn refused(mut self, refusal: &Refusal, status: u16) {
        self.change(|attempt| {
            attempt.outcome = match refusal {
                Refusal::Unavailable { .. } => Outcome::Unavailable,
                Refusal::Unmatched | Refusal::Misspelled => Outcome::Unmatched,
                _ => Outcome::Denied,
            };
            attempt.status = Some(status);
            attempt.cause = Some(refusal.reason().to_owned());
            if let Refusal::Denied(denial) = refusal {
                attempt.denial = denial.violation().map(|view| DeniedBy {
                    policy: view.rule.labels.policy.clone(),
                    scope: view.rule.scope,
                    limit: view.rule.limit.bound,
                    hard: view.rule.hard,
                    used: view.value.used,
                    reserved: view.value.reserved,
                    requested: view.rule.amount,
                });
            }
        });
    }

    /// The store could not be asked, and it passes uncounted.
    pub(crate) fn let_through(&mut self) {
        self.change(|attempt| attempt.outcome = Outcome::FailOpen);
    }

    /// The store holds its units since then.
    pub(crate) fn held(&mut self, reserved_at: UnixMillis) {
        self.change(|attempt| attempt.at = reserved_at);
    }

    /// Its handler begins to run.
    pub(crate) fn runs(&mut self, handle: QuotaHandle) {
        self.running = Some((monotonic_now(), handle));
    }

    /// Its handler has ended.
    pub(crate) fn ended(&mut self, ending: Ending) {
        self.stop();
        self.change(|attempt| match ending {
            Ending::Answered(status) => attempt.status = Some(status.as_u16()),
            Ending::Failed => attempt.cause = Some("failed".to_owned()),
        });
    }

    /// It is charged these amounts, one for each of its counters.
    pub(crate) fn charged(mut self, charges: Vec<Charged>) -> Option<Attempt> {
        let mut attempt = self.attempt.take()?;
        attempt.outcome = Outcome::Committed;
        attempt.charges = charges;
        Some(attempt)
    }

    /// It is asked for anew, under another id.
    pub(crate) fn forget(mut self) {
        self.attempt = None;
    }

    /// Takes over what the handler said.
    fn stop(&mut self) {
        let Some((began, handle)) = self.running.take() else {
            return;
        };
        let remarks = handle.take_remarks();
        self.change(|attempt| {
            attempt.latency = Some(monotonic_now().saturating_duration_since(began));
            attempt.tags = remarks.tags;
            attempt.metadata = remarks.metadata;
        });
    }
}

impl Drop for Draft {
    // Must not panic, wait or spawn: it may run while a handler's panic unwinds.
    fn drop(&mut self) {
        self.stop();
        let Some(mut attempt) = self.attempt.take() else {
            return;
        };
        let is_told = attempt.status.is_some() || attempt.cause.is_some();
        if !is_told && attempt.outcome != Outcome::Unmatched {
            let cause = if std::thread::panicking() {
                "panic"
            } else {
                "disconnected"
            };
            attempt.cause = Some(cause.to_owned());
        }
        self.records.note(attempt);
    }
}

/// Amounts end at 2^53 - 1, so every one has its sign.
pub(super) fn signed(amount: Amount) -> i64 {
    i64::try_from(amount.get()).unwrap_or(i64::MAX)
}

/// What a quota was charged, of what was reserved.
pub(crate) fn charged(
    quota: &quota_store::QuotaName,
    reserved: Amount,
    charged: Option<Amount>,
) -> Charged {
    Charged {
        quota: quota.clone(),
        reserved,
        charged: charged.map_or(0, signed),
    }
}

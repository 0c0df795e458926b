//! Settles what a request holds, once the handler has answered.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use quota_store::{Amounts, CounterValues, Settled, UnixMillis};

use crate::{
    admit::{Admitted, Passage},
    config::Settle,
    handle::QuotaHandle,
    headers::{self, Told},
    identity::QuotaIdentity,
    logs,
    metrics::Outcome,
    runtime::{RequestRuntime, rule_name},
    shared::Shared,
    status::{Snapshot, closest},
    tally::Tally,
};

/// A request that runs, and what becomes of its units when it has.
#[derive(Debug)]
pub(crate) struct Charge {
    pub(crate) shared: Arc<Shared>,
    pub(crate) runtime: RequestRuntime,
    rule: usize,
    tally: Tally,
    passage: Passage,
}

/// How the handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a head.
    Answered(StatusCode),
    /// With an error of the service.
    Failed,
}

/// A request that is settled, and what the headers of its response tell.
#[derive(Debug)]
pub(crate) struct Tell {
    charge: Box<Charge>,
    /// The store's time.
    now: UnixMillis,
}

impl Charge {
    pub(crate) fn new(
        shared: Arc<Shared>,
        runtime: RequestRuntime,
        rule: usize,
        identity: QuotaIdentity,
        admitted: Admitted,
    ) -> Self {
        // What passes uncounted was counted as such when it was let through.
        let (snapshot, outcome) = match &admitted.passage {
            Passage::Held { snapshot, .. } => (Some(snapshot.clone()), Some(Outcome::Released)),
            Passage::LetThrough(_) => (None, None),
        };
        let handle = QuotaHandle::new(identity, Arc::clone(&admitted.table), snapshot);
        Self {
            shared,
            runtime,
            rule,
            tally: Tally::new(admitted.table, handle, outcome),
            passage: admitted.passage,
        }
    }

    pub(crate) fn handle(&self) -> &QuotaHandle {
        self.tally.handle()
    }

    /// Commits after a success, releases after anything else.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point after the first poll, the settling goes on.
    pub(crate) async fn settle(mut self: Box<Self>, ending: Ending) -> Tell {
        let rule = &self.runtime.config.rules[self.rule];
        let is_success = match ending {
            Ending::Answered(status) => rule.success.contains(status.as_u16()),
            Ending::Failed => false,
        };
        // Nothing that is reported from here on is charged.
        let amounts = self.tally.handle().close();
        if is_success {
            self.commit(amounts).await;
        } else {
            self.release().await;
        }
        let now = self.shared.store.now();
        Tell { charge: self, now }
    }

    async fn commit(&mut self, amounts: Amounts) {
        let _stopwatch = self.shared.metrics.stopwatch();
        let (guard, snapshot) = match &mut self.passage {
            Passage::Held { guard, snapshot } => (guard, snapshot),
            Passage::LetThrough(through) => {
                if let Some(ticket) = through.ticket.take() {
                    ticket.commit(&amounts);
                }
                return;
            }
        };
        let attempt = guard.attempt();
        // It is charged from here on, also where the client does not wait for the head.
        self.tally.charged(Outcome::Committed, &amounts);
        let settled = match self.runtime.config.settle(self.rule) {
            Settle::Background => {
                guard.commit_later(amounts.clone()).await;
                None
            }
            // What is not acknowledged is sent again by the settler until it is.
            Settle::BeforeResponse => guard.commit(&self.shared.store, amounts.clone()).await.ok(),
        };
        snapshot.values = match settled {
            Some(Settled::Done(values)) => values,
            Some(Settled::Late(values)) => {
                self.tally.charged(Outcome::Late, &amounts);
                values
            }
            Some(Settled::TooOld) => {
                self.tally.charged(Outcome::Expired, &amounts);
                tracing::error!(
                    target: "quota::commit",
                    "a request ran for longer than the store remembers it, and was not charged"
                );
                expected(snapshot, None)
            }
            Some(Settled::Already) | None => expected(snapshot, Some(&amounts)),
        };
        if let Some(attempt) = attempt {
            let rule = || rule_name(&self.runtime.config, self.rule);
            logs::committed(attempt, rule, &amounts);
        }
    }

    async fn release(&mut self) {
        let _stopwatch = self.shared.metrics.stopwatch();
        let (guard, snapshot) = match &mut self.passage {
            Passage::Held { guard, snapshot } => (guard, snapshot),
            Passage::LetThrough(through) => {
                // A ticket that is dropped gives its units back.
                drop(through.ticket.take());
                return;
            }
        };
        let settled = match self.runtime.config.settle(self.rule) {
            Settle::Background => {
                guard.hand_over();
                None
            }
            Settle::BeforeResponse => guard.release(&self.shared.store).await.ok(),
        };
        snapshot.values = match settled {
            Some(Settled::Done(values) | Settled::Late(values)) => values,
            Some(Settled::Already | Settled::TooOld) | None => expected(snapshot, None),
        };
    }
}

/// The counters as they will be once `charged`, or nothing, is.
fn expected(snapshot: &Snapshot, charged: Option<&Amounts>) -> CounterValues {
    let counters = snapshot.values.iter().zip(&snapshot.table.counters);
    counters
        .enumerate()
        .map(|(place, (value, counter))| {
            let mut value = *value;
            value.reserved = value.reserved.saturating_sub(counter.amount);
            if let Some(charged) = charged {
                value.used = value.used.saturating_add(charged[place]);
            }
            value
        })
        .collect()
}

impl Tell {
    /// Writes the headers of the response, in place of whatever the handler said there.
    pub(crate) fn write(&self, response: &mut HeaderMap) {
        let responses = &self.charge.runtime.config.responses;
        headers::strip(response, responses);
        let Passage::Held { snapshot, .. } = &self.charge.passage else {
            return headers::write_unavailable(response, responses);
        };
        if let Some(about) = closest(snapshot.views()) {
            let told = Told {
                about,
                all: snapshot.views(),
                now: self.now,
                wait_seconds: None,
            };
            headers::write(response, responses, told);
        }
    }
}

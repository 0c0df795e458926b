//! Settles what a request holds, once the handler has answered.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use quota_store::{Amounts, CounterValues, Settled, UnixMillis};

use crate::{
    admit::{Admitted, Passage},
    config::Settle,
    guard::Guard,
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

/// What the headers of the response tell.
#[derive(Debug)]
pub(crate) enum Tell {
    /// The counters as they are now.
    Counters(Snapshot, UnixMillis),
    /// That the request was let through uncounted.
    Unavailable,
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
    pub(crate) async fn settle(self: Box<Self>, ending: Ending) -> Tell {
        let _stopwatch = self.shared.metrics.stopwatch();
        let rule = &self.runtime.config.rules[self.rule];
        let when = self.runtime.config.settle(self.rule);
        let is_success = match ending {
            Ending::Answered(status) => rule.success.contains(status.as_u16()),
            Ending::Failed => false,
        };
        // Nothing that is reported from here on is charged.
        let amounts = self.tally.handle().close();
        match self.passage {
            Passage::LetThrough(through) => {
                // A ticket that is dropped gives its units back.
                if let Some(ticket) = through.ticket.filter(|_| is_success) {
                    ticket.commit(&amounts);
                }
                Tell::Unavailable
            }
            Passage::Held { guard, snapshot } => {
                let settling = Settling {
                    shared: &self.shared,
                    tally: self.tally,
                    snapshot,
                };
                if is_success {
                    let rule_name = || rule_name(&self.runtime.config, self.rule);
                    settling.commit(guard, amounts, when, rule_name).await
                } else {
                    settling.release(guard, when).await
                }
            }
        }
    }
}

struct Settling<'a> {
    shared: &'a Shared,
    tally: Tally,
    snapshot: Snapshot,
}

impl Settling<'_> {
    async fn commit(
        mut self,
        guard: Guard,
        amounts: Amounts,
        when: Settle,
        rule: impl FnOnce() -> String,
    ) -> Tell {
        let attempt = guard.attempt();
        // It is charged from here on, also where the client does not wait for the head.
        self.tally.charged(Outcome::Committed, &amounts);
        let settled = match when {
            Settle::Background => {
                guard.commit_later(amounts.clone()).await;
                None
            }
            // What is not acknowledged is sent again by the settler until it is.
            Settle::BeforeResponse => guard.commit(&self.shared.store, amounts.clone()).await.ok(),
        };
        match settled {
            Some(Settled::Done(values)) => self.snapshot.values = values,
            Some(Settled::Late(values)) => {
                self.snapshot.values = values;
                self.tally.charged(Outcome::Late, &amounts);
            }
            Some(Settled::TooOld) => {
                self.snapshot.values = self.expected(None);
                self.tally.charged(Outcome::Expired, &amounts);
                tracing::error!(
                    target: "quota::commit",
                    "a request ran for longer than the store remembers it, and was not charged"
                );
            }
            Some(Settled::Already) | None => {
                self.snapshot.values = self.expected(Some(&amounts));
            }
        }
        if let Some(attempt) = attempt {
            logs::committed(attempt, rule, &amounts);
        }
        self.tell()
    }

    async fn release(mut self, guard: Guard, when: Settle) -> Tell {
        let settled = match when {
            Settle::Background => {
                drop(guard);
                None
            }
            Settle::BeforeResponse => guard.release(&self.shared.store).await.ok(),
        };
        self.snapshot.values = match settled {
            Some(Settled::Done(values) | Settled::Late(values)) => values,
            Some(Settled::Already | Settled::TooOld) | None => self.expected(None),
        };
        self.tell()
    }

    /// The counters as they will be once `charged`, or nothing, is.
    fn expected(&self, charged: Option<&Amounts>) -> CounterValues {
        let counters = self
            .snapshot
            .values
            .iter()
            .zip(&self.tally.table().counters);
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

    fn tell(self) -> Tell {
        Tell::Counters(self.snapshot, self.shared.store.now())
    }
}

impl Tell {
    /// Writes the headers of the response, in place of whatever the handler said there.
    pub(crate) fn write(&self, runtime: &RequestRuntime, response: &mut HeaderMap) {
        let responses = &runtime.config.responses;
        headers::strip(response, responses);
        match self {
            Self::Unavailable => headers::write_unavailable(response, responses),
            Self::Counters(snapshot, now) => {
                if let Some(about) = closest(snapshot.views()) {
                    let told = Told {
                        about,
                        all: snapshot.views(),
                        now: *now,
                        wait_seconds: None,
                    };
                    headers::write(response, responses, told);
                }
            }
        }
    }
}

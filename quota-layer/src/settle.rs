//! Settles what a request holds, once the handler has answered.

use std::sync::Arc;

use futures_util::FutureExt;
use http::{HeaderMap, Response, StatusCode};
use quota_store::{Amounts, CounterValues, Settled, UnixMillis, ledger::Attempt};

use crate::{
    admit::{Admitted, Passage},
    config::Settle,
    guard::Charged,
    handle::QuotaHandle,
    headers::{self, Told},
    logs,
    metrics::Outcome,
    record::Draft,
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
    /// Last, so that it is dropped when the handle is closed; `None` without a ledger.
    draft: Option<Box<Draft>>,
}

/// How the handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a head.
    Answered(StatusCode),
    /// With an error of the service.
    Failed,
}

impl Ending {
    pub(crate) fn of<B, E>(answer: &Result<Response<B>, E>) -> Self {
        answer
            .as_ref()
            .map_or(Self::Failed, |response| Self::Answered(response.status()))
    }
}

/// What the headers of a settled request tell.
#[derive(Debug)]
pub(crate) struct Tell {
    /// The counters after it; none where it passed uncounted.
    values: CounterValues,
    /// The store's time.
    now: UnixMillis,
}

impl Charge {
    pub(crate) fn new(
        shared: Arc<Shared>,
        runtime: RequestRuntime,
        rule: usize,
        admitted: Admitted,
    ) -> Self {
        // What passes uncounted was counted as such when it was let through.
        let outcome = match &admitted.passage {
            Passage::Held(_) => Some(Outcome::Released),
            Passage::LetThrough(_) => None,
        };
        let handle = QuotaHandle::new(admitted.identity, admitted.snapshot);
        let mut draft = admitted.draft;
        if let Some(draft) = &mut draft {
            draft.runs(handle.clone());
        }
        Self {
            shared,
            runtime,
            rule,
            tally: Tally::new(handle, outcome),
            passage: admitted.passage,
            draft,
        }
    }

    pub(crate) fn handle(&self) -> &QuotaHandle {
        self.tally.handle()
    }

    /// Settles where nothing is waited for; asked in place, its future is never moved.
    ///
    /// It is not measured: reading clocks would be a good part of what it takes.
    pub(crate) fn settle_now(&mut self, ending: Ending) -> Option<Tell> {
        let settle = self.runtime.config.settle(self.rule);
        if self.shared.settles_at_once(settle) {
            self.settle(ending).now_or_never()
        } else {
            None
        }
    }

    /// Commits after a success, releases after anything else.
    ///
    /// # Cancel safety
    ///
    /// Dropped at any point after the first poll, the settling goes on; so it does when this is
    /// called again.
    pub(crate) async fn settle(&mut self, ending: Ending) -> Tell {
        let rule = &self.runtime.config.rules[self.rule];
        let is_success = match ending {
            Ending::Answered(status) => rule.success.contains(status.as_u16()),
            Ending::Failed => false,
        };
        // Nothing that is reported from here on is charged.
        let amounts = self.tally.close();
        if let Some(draft) = &mut self.draft {
            draft.ended(ending);
        }
        let values = if is_success {
            self.commit(amounts).await
        } else {
            self.release().await
        };
        let now = self.shared.store.now();
        Tell { values, now }
    }

    /// The same for a future that owns it.
    pub(crate) async fn settled(mut self: Box<Self>, ending: Ending) -> (Box<Self>, Tell) {
        let shared = Arc::clone(&self.shared);
        let stopwatch = shared.metrics.stopwatch();
        let tell = self.settle(ending).await;
        drop(stopwatch);
        (self, tell)
    }

    async fn commit(&mut self, amounts: Amounts) -> CounterValues {
        let charged = Charged {
            attempt: self.attempt(&amounts),
            amounts: Amounts::from_slice(&amounts),
        };
        let guard = match &mut self.passage {
            Passage::Held(guard) => guard,
            Passage::LetThrough(through) => {
                if let Some(ticket) = through.ticket.take() {
                    ticket.commit(&amounts);
                }
                return CounterValues::new();
            }
        };
        let attempt = guard.attempt();
        // It is charged from here on, also where the client does not wait for the head.
        self.tally.charged(Outcome::Committed, &amounts);
        let settled = match self.runtime.config.settle(self.rule) {
            Settle::Background => {
                guard.commit_later(charged).await;
                None
            }
            // What is not acknowledged is sent again by the settler until it is.
            Settle::BeforeResponse => guard.commit(charged).await.ok(),
        };
        let (settled, recording) = settled
            .map(|committed| (committed.settled, committed.recording))
            .unzip();
        let values = match settled {
            Some(Settled::Done(values)) => values,
            Some(Settled::Late(values)) => {
                self.tally.charged(Outcome::Late, &amounts);
                values
            }
            Some(Settled::TooOld) => {
                self.tally.charged(Outcome::Expired, &amounts);
                tracing::error!(
                    target: "quota::commit",
                    "a request ran for longer than the store remembers it, so its counters do not \
                     have it; a ledger does, as late"
                );
                expected(self.tally.handle().snapshot(), None)
            }
            Some(Settled::Already) | None => {
                expected(self.tally.handle().snapshot(), Some(&amounts))
            }
        };
        if let Some(attempt) = attempt {
            let rule = || rule_name(&self.runtime.config, self.rule);
            logs::committed(attempt, rule, &amounts);
        }
        if let (Some(Some(recording)), Some(records)) = (recording, &self.shared.records) {
            // Counters in memory come back from the ledger only.
            records.wait(recording).await;
        }
        values
    }

    async fn release(&mut self) -> CounterValues {
        let guard = match &mut self.passage {
            Passage::Held(guard) => guard,
            Passage::LetThrough(through) => {
                // A ticket that is dropped gives its units back.
                drop(through.ticket.take());
                return CounterValues::new();
            }
        };
        let settled = match self.runtime.config.settle(self.rule) {
            Settle::Background => {
                guard.hand_over();
                None
            }
            Settle::BeforeResponse => guard.release().await.ok(),
        };
        match settled {
            Some(Settled::Done(values) | Settled::Late(values)) => values,
            Some(Settled::Already | Settled::TooOld) | None => {
                expected(self.tally.handle().snapshot(), None)
            }
        }
    }

    /// What the ledger is to say of a charge; `None` where nothing is held, or without a ledger.
    fn attempt(&mut self, amounts: &Amounts) -> Option<Arc<Attempt>> {
        if let Passage::LetThrough(_) = self.passage {
            return None;
        }
        let table = self.tally.handle().snapshot().table();
        let attempt = self.draft.take()?.charged(table.charged(Some(amounts)))?;
        let records = self.shared.records.as_ref()?;
        records.attempt(&self.shared.store, attempt)
    }

    /// Writes the headers of the response, in place of whatever the handler said there.
    pub(crate) fn tell(&self, tell: &Tell, response: &mut HeaderMap) {
        let responses = &self.runtime.config.responses;
        headers::strip(response, responses);
        if let Passage::LetThrough(_) = self.passage {
            return headers::write_unavailable(response, responses);
        }
        let snapshot = self.tally.handle().snapshot();
        let views = || snapshot.views_of(&tell.values);
        if let Some(about) = closest(views()) {
            let told = Told {
                about,
                all: views(),
                now: tell.now,
                wait_seconds: None,
            };
            headers::write(response, responses, told);
        }
    }
}

/// The counters as they will be once `charged`, or nothing, is.
fn expected(snapshot: &Snapshot, charged: Option<&Amounts>) -> CounterValues {
    let counters = snapshot.values.iter().zip(&snapshot.table().counters);
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

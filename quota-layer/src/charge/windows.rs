//! The windows that are open, and what is made once for all requests within them.

use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use quota_store::{CounterKey, Hold, Holds, UnixMillis, WindowSpan};

use super::{ChargeTable, CounterRule};
use crate::{headers, seeding::Young};

/// The present windows of all counters of a table, and what follows from them alone.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) table: Arc<ChargeTable>,
    /// In the order of the counters, as the others.
    pub(crate) open: Vec<OpenWindow>,
    /// What a request holds.
    pub(crate) holds: Holds,
    /// Which of them began before their counters did.
    pub(crate) young: OnceLock<Box<[Young]>>,
}

/// One window that is open.
#[derive(Debug)]
pub(crate) struct OpenWindow {
    pub(crate) span: WindowSpan,
    /// What the headers of a response that are about it say while it is open.
    pub(crate) headers: HeaderMap,
}

impl Windows {
    /// The windows at `now`. Keys of `last` that are still right are kept: stores find counters
    /// by the address of their key.
    pub(crate) fn at(now: UnixMillis, table: Arc<ChargeTable>, last: Option<&Self>) -> Self {
        let counters = table.counters.as_slice();
        let span = |counter: &CounterRule| {
            let window = counter.limit.window;
            window.span_at(now, &counter.timezone, counter.anchor)
        };
        let spans: Vec<WindowSpan> = counters.iter().map(span).collect();
        let policies = headers::policies(counters.iter().zip(&spans));
        let counters = || counters.iter().zip(&spans);
        let open = |(counter, span): (&CounterRule, &WindowSpan)| OpenWindow {
            span: *span,
            headers: headers::of_window(&counter.labels.headers, *span, policies.as_ref()),
        };
        let hold = |(place, (counter, span)): (usize, (&CounterRule, &WindowSpan))| {
            let last = last.and_then(|last| last.holds.get(place));
            let last = last.filter(|hold| hold.counter.span == *span);
            last.cloned().unwrap_or_else(|| counter.hold(*span))
        };
        Self {
            holds: counters().enumerate().map(hold).collect(),
            open: counters().map(open).collect(),
            table,
            young: OnceLock::new(),
        }
    }

    /// Whether all of them are open.
    pub(super) fn contain(&self, now: UnixMillis) -> bool {
        self.open.iter().all(|window| window.span.contains(now))
    }
}

impl CounterRule {
    fn hold(&self, span: WindowSpan) -> Hold {
        Hold {
            counter: CounterKey {
                scope: self.scope,
                quota: self.quota.clone(),
                window: self.limit.window,
                span,
            }
            .into(),
            hard: self.hard,
            amount: self.amount,
        }
    }
}

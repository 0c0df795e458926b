//! What a handler sees of its request's quota, and reports back.

use std::sync::{Arc, Mutex, PoisonError};

use quota_store::{Amount, Amounts};
use smallvec::SmallVec;

use crate::{
    config::Actual,
    identity::QuotaIdentity,
    metrics,
    status::{QuotaState, QuotaStatus, Snapshot, closest},
};

mod remarks;

pub(crate) use self::remarks::Remarks;

/// What a handler extracts to read its quota and to report actual amounts.
///
/// The layer puts it into the extensions of every request on a charged route; with the feature
/// `axum` it is an extractor. Clones share one state. All methods are synchronous and cheap.
///
/// It closes when the handler has answered: what was reported by then is charged, and a later
/// report is only a warning in the log.
#[derive(Clone, Debug)]
pub struct QuotaHandle {
    inner: Arc<Inner>,
    /// The layers that charge the request, by the address of what their clones share.
    layers: SmallVec<[usize; 2]>,
}

#[derive(Debug)]
struct Inner {
    identity: QuotaIdentity,
    /// Without values where the request was let through uncounted.
    snapshot: Snapshot,
    reports: Mutex<Reports>,
}

/// What the handler said so far.
#[derive(Debug, Default)]
struct Reports {
    /// Sums by the place of the quota in the charge.
    sums: SmallVec<[(usize, Amount); 2]>,
    is_closed: bool,
    /// For the ledger; made with the first one.
    remarks: Option<Box<Remarks>>,
}

impl QuotaHandle {
    pub(crate) fn new(identity: QuotaIdentity, snapshot: Snapshot) -> Self {
        Self {
            inner: Arc::new(Inner {
                identity,
                snapshot,
                reports: Mutex::default(),
            }),
            layers: SmallVec::new(),
        }
    }

    /// This handle as one of the layer of that name, within the layers of an outer one.
    pub(crate) fn of(mut self, outer: Option<&Self>, layer: usize) -> Self {
        if let Some(outer) = outer {
            self.layers.clone_from(&outer.layers);
        }
        self.layers.push(layer);
        self
    }

    /// Whether the layer of that name charges the request.
    pub(crate) fn is_of(&self, layer: usize) -> bool {
        self.layers.contains(&layer)
    }

    /// The counters as they stood when their units were reserved.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.inner.snapshot
    }

    /// Who makes the request.
    #[must_use]
    pub fn identity(&self) -> &QuotaIdentity {
        &self.inner.identity
    }

    /// Every counter of the request as it stood when its units were reserved, this request's own
    /// among the reserved ones.
    ///
    /// Empty where the request was let through uncounted.
    #[must_use]
    pub fn status(&self) -> Vec<QuotaStatus> {
        let views = self.inner.snapshot.views();
        views.map(|view| view.status()).collect()
    }

    /// How the counter closest to its limit stands, for a handler that would rather do less than
    /// be refused later.
    #[must_use]
    pub fn state(&self) -> QuotaState {
        closest(self.inner.snapshot.views()).map_or(QuotaState::Unavailable, |view| view.state())
    }

    /// Whether the user's plan has a feature.
    #[must_use]
    pub fn has_feature(&self, name: &str) -> bool {
        let features = &self.inner.snapshot.table().plan.features;
        features.iter().any(|feature| feature == name)
    }

    /// Reports what was really used of a quota whose charge says `actual = "handler"`; several
    /// reports add up.
    ///
    /// An unknown quota, one that the rule charges as reserved, and an amount that is negative or
    /// above 2^53 - 1 change nothing: each is an error in the log and a metric. A report after the
    /// handler has answered is a warning.
    pub fn report(&self, quota: &str, amount: i64) {
        let counters = &self.inner.snapshot.table().counters;
        let counter = counters
            .iter()
            .find(|counter| counter.quota.as_str() == quota);
        let Some(counter) = counter else {
            tracing::error!(
                target: "quota::report",
                quota,
                "a handler reported a quota that its rule does not charge"
            );
            return metrics::report_ignored("unknown_quota");
        };
        if counter.actual == Actual::Reserved {
            tracing::error!(
                target: "quota::report",
                quota,
                "a handler reported a quota whose charge does not say `actual = \"handler\"`"
            );
            return metrics::report_ignored("not_actual");
        }
        let units = u64::try_from(amount).ok().and_then(Amount::new);
        let Some(units) = units else {
            tracing::error!(
                target: "quota::report",
                quota,
                amount,
                "a handler reported what can't be an amount: it is from 0 to 9007199254740991"
            );
            return metrics::report_ignored("out_of_range");
        };
        let mut reports = self.reports();
        if reports.is_closed {
            drop(reports);
            tracing::warn!(
                target: "quota::report",
                quota,
                amount,
                "a handler reported after it had answered; nothing is charged for it"
            );
            return metrics::report_ignored("late");
        }
        let item = counter.item;
        match reports.sums.iter_mut().find(|(place, _)| *place == item) {
            Some((_, sum)) => *sum = sum.saturating_add(units),
            None => reports.sums.push((item, units)),
        }
    }

    /// Takes no further reports, and says what each counter is charged.
    pub(crate) fn close(&self) -> Amounts {
        let mut reports = self.reports();
        reports.is_closed = true;
        let counters = &self.inner.snapshot.table().counters;
        counters
            .iter()
            .map(|counter| {
                let reported = reports.sums.iter().find(|(item, _)| *item == counter.item);
                reported.map_or(counter.amount, |(_, sum)| *sum)
            })
            .collect()
    }

    fn reports(&self) -> std::sync::MutexGuard<'_, Reports> {
        // A panic elsewhere leaves whole sums behind: every change is one step.
        self.inner
            .reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "axum")]
mod extract {
    use axum::{
        extract::{FromRequestParts, OptionalFromRequestParts},
        response::{IntoResponse, Response},
    };
    use http::{StatusCode, request::Parts};

    use super::QuotaHandle;

    /// The route has no charge, so there is nothing to extract.
    #[derive(Clone, Debug)]
    #[non_exhaustive]
    pub struct NoCharge {
        method: http::Method,
        path: String,
    }

    impl std::fmt::Display for NoCharge {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(
                f,
                "this route extracts a QuotaHandle, but no rule charges it: add\n\n[[routes]]\n\
                 match = \"{} {}\"\ncharge = {{ QUOTA = 1 }}\n\nto quota.toml, wrap the route \
                 with the QuotaLayer, or extract Option<QuotaHandle>",
                self.method, self.path
            )
        }
    }

    impl std::error::Error for NoCharge {}

    impl IntoResponse for NoCharge {
        fn into_response(self) -> Response {
            tracing::error!(target: "quota::handle", "{self}");
            (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
        }
    }

    impl<S: Sync> FromRequestParts<S> for QuotaHandle {
        type Rejection = NoCharge;

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoCharge> {
            parts.extensions.get::<Self>().cloned().ok_or_else(|| {
                let template = parts.extensions.get::<axum::extract::MatchedPath>();
                NoCharge {
                    method: parts.method.clone(),
                    path: template
                        .map_or(parts.uri.path(), |path| path.as_str())
                        .to_owned(),
                }
            })
        }
    }

    impl<S: Sync> OptionalFromRequestParts<S> for QuotaHandle {
        type Rejection = std::convert::Infallible;

        async fn from_request_parts(
            parts: &mut Parts,
            _: &S,
        ) -> Result<Option<Self>, Self::Rejection> {
            Ok(parts.extensions.get::<Self>().cloned())
        }
    }
}

#[cfg(feature = "axum")]
pub use extract::NoCharge;

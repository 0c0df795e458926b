//! The metrics of the layer, through the `metrics` facade.
//!
//! Labels come from the configuration only: never a user, a tenant or a raw path.
//! Counters are registered when they are first needed and kept, so the recorder must be installed
//! before the first request.

use std::{sync::OnceLock, time::Instant};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use quota_store::{Amount, QuotaName};

/// What became of an attempt; the same words everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    Released,
    Denied,
    Late,
    Expired,
    FailOpen,
    Unavailable,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Committed,
        Self::Released,
        Self::Denied,
        Self::Late,
        Self::Expired,
        Self::FailOpen,
        Self::Unavailable,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Denied => "denied",
            Self::Late => "late",
            Self::Expired => "expired",
            Self::FailOpen => "fail_open",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The counters of one quota that a rule charges under a plan.
#[derive(Debug)]
pub(crate) struct QuotaMetrics {
    route: String,
    quota: QuotaName,
    plan: String,
    requests: [Lazy<Counter>; Outcome::ALL.len()],
    units: [Lazy<Counter>; Outcome::ALL.len()],
}

impl QuotaMetrics {
    pub(crate) fn new(route: &str, quota: &QuotaName, plan: &str) -> Self {
        Self {
            route: route.to_owned(),
            quota: quota.clone(),
            plan: plan.to_owned(),
            requests: Default::default(),
            units: Default::default(),
        }
    }

    /// Counts one attempt and its units.
    pub(crate) fn count(&self, outcome: Outcome, units: Amount) {
        let place = outcome as usize;
        let quota = || self.quota.as_str().to_owned();
        self.requests[place]
            .get(|| {
                counter!(
                    "quota_requests_total",
                    "route" => self.route.clone(),
                    "quota" => quota(),
                    "plan" => self.plan.clone(),
                    "outcome" => outcome.as_str(),
                )
            })
            .increment(1);
        self.units[place]
            .get(|| counter!("quota_units_total", "quota" => quota(), "kind" => outcome.as_str()))
            .increment(units.get());
    }
}

/// A metric that is registered when it is first used.
pub(crate) struct Lazy<M>(OnceLock<M>);

impl<M> Lazy<M> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn get(&self, register: impl FnOnce() -> M) -> &M {
        self.0.get_or_init(register)
    }
}

impl<M> Default for Lazy<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> std::fmt::Debug for Lazy<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lazy")
    }
}

/// What a layer measures as a whole.
#[derive(Debug, Default)]
pub(crate) struct LayerMetrics {
    seconds: Lazy<Histogram>,
    reservations: Lazy<Gauge>,
    unacknowledged: Lazy<Gauge>,
}

impl LayerMetrics {
    /// Begins to measure what the layer itself does for a request: admission, and settling where
    /// that waits.
    pub(crate) fn stopwatch(&self) -> Stopwatch<'_> {
        Stopwatch {
            metrics: self,
            began: monotonic_now(),
        }
    }

    /// How many reservations this process holds.
    pub(crate) fn reservations(&self, count: usize) {
        self.reservations
            .get(|| gauge!("quota_reservations"))
            .set(small(count));
    }

    /// How many commits of this process wait for their acknowledgement.
    pub(crate) fn unacknowledged(&self, count: usize) {
        self.unacknowledged
            .get(|| gauge!("quota_commits_unacknowledged"))
            .set(small(count));
    }
}

/// Records what one step of the layer took, when it is dropped.
pub(crate) struct Stopwatch<'a> {
    metrics: &'a LayerMetrics,
    began: Instant,
}

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        let spent = monotonic_now().saturating_duration_since(self.began);
        self.metrics
            .seconds
            .get(|| histogram!("quota_layer_seconds"))
            .record(spent);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it only measures; no decision depends on it"
)]
pub(crate) fn monotonic_now() -> Instant {
    Instant::now()
}

/// Gauges are floats; a count of this process fits one exactly.
fn small(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A report that changed nothing, and why.
pub(crate) fn report_ignored(reason: &'static str) {
    counter!("quota_reports_ignored_total", "reason" => reason).increment(1);
}

/// A settle that found its queue full; its units are free again when it expires.
pub(crate) fn settle_dropped() {
    counter!("quota_settles_dropped_total").increment(1);
}

/// Requests that no rule names.
#[derive(Debug, Default)]
pub(crate) struct UnmatchedMetric(Lazy<Counter>);

impl UnmatchedMetric {
    pub(crate) fn count(&self) {
        self.0
            .get(|| counter!("quota_unmatched_total"))
            .increment(1);
    }
}

/// Which configuration is in force.
pub(crate) fn config_info(revision: &str) {
    gauge!("quota_config_info", "revision" => revision.to_owned()).set(1);
}

/// A configuration that is in force no longer.
pub(crate) fn config_gone(revision: &str) {
    gauge!("quota_config_info", "revision" => revision.to_owned()).set(0);
}

/// A look-up in the directory that its database did not answer.
pub(crate) fn directory_failed() {
    counter!("quota_directory_failures_total").increment(1);
}

/// A counter that went on without what the ledger says was used in its window.
pub(crate) fn seeding_failed() {
    counter!("quota_seeding_failures_total").increment(1);
}

/// A reload that kept the old configuration.
pub(crate) fn reload_failed() {
    counter!("quota_config_reload_failures_total").increment(1);
}

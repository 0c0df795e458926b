//! What operators read: one event per decision, each kind with a target of its own.
//!
//! A user is only ever named by a keyed hash, so that one user's events can be found together
//! without saying who it is.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use quota_store::{Amount, ReservationId, StoreErrorKind};

use crate::{admit::Ask, refusal::Denial, runtime::rule_name};

/// Keyed anew by every process.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn user_hash(ask: &Ask<'_>) -> String {
    format!("{:016x}", HASHER.hash_one(ask.requester))
}

/// The store denied a request.
pub(crate) fn denied(ask: &Ask<'_>, attempt: ReservationId, denial: &Denial) {
    if tracing::enabled!(target: "quota::deny", tracing::Level::WARN) {
        tracing::warn!(
            target: "quota::deny",
            %attempt,
            user = user_hash(ask),
            rule = rule_name(&ask.runtime.config, ask.rule),
            reason = denial.reason(),
            violated = ?denial.violated(),
            "a request was denied"
        );
    }
}

/// A request passes uncounted, because the store could not be asked.
pub(crate) fn let_through(ask: &Ask<'_>, kind: StoreErrorKind) {
    if tracing::enabled!(target: "quota::fail_open", tracing::Level::WARN) {
        tracing::warn!(
            target: "quota::fail_open",
            user = user_hash(ask),
            rule = rule_name(&ask.runtime.config, ask.rule),
            error = kind.as_str(),
            "a request was let through uncounted"
        );
    }
}

/// A request is refused, because the store could not be asked.
pub(crate) fn unavailable(ask: &Ask<'_>, kind: StoreErrorKind) {
    if tracing::enabled!(target: "quota::unavailable", tracing::Level::WARN) {
        tracing::warn!(
            target: "quota::unavailable",
            user = user_hash(ask),
            rule = rule_name(&ask.runtime.config, ask.rule),
            error = kind.as_str(),
            "a request was refused because its quota could not be checked"
        );
    }
}

/// A request was charged.
pub(crate) fn committed(attempt: ReservationId, rule: impl FnOnce() -> String, units: &[Amount]) {
    if tracing::enabled!(target: "quota::commit", tracing::Level::INFO) {
        let units: Vec<u64> = units.iter().map(|units| units.get()).collect();
        tracing::info!(
            target: "quota::commit",
            %attempt,
            rule = rule(),
            ?units,
            "a request was charged"
        );
    }
}

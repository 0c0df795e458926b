//! Asking the store: through the breaker, within the time-out.

use std::{error::Error, future::poll_fn, task::Poll};

use futures_util::{FutureExt, future::BoxFuture};

use super::{
    GuardedStore,
    breaker::{Ending, Permit, Stage, monotonic_now},
};
use crate::{DynCounterStore, StoreError, StoreErrorKind};

/// The breaker is open.
#[derive(Debug, thiserror::Error)]
#[error("the breaker is open; it tries the store again within two and a half seconds")]
struct LeftAlone;

impl GuardedStore {
    /// Asks without waiting where the store never waits and the breaker has nothing to do, else
    /// waits.
    pub(super) async fn ask_at_once<'a, T>(
        &'a self,
        op: &'static str,
        call_now: impl FnOnce(&'a dyn DynCounterStore) -> Option<Result<T, StoreError>>,
        call: impl FnOnce(&'a dyn DynCounterStore) -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if let Some(permit) = self.breaker.admit_calmly()
            && let Some(answer) = call_now(&*self.store)
        {
            return self.judge(op, permit, answer);
        }
        self.ask(op, call).await
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask<'a, T>(
        &'a self,
        op: &'static str,
        call: impl FnOnce(&'a dyn DynCounterStore) -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some(permit) = self.breaker.admit() else {
            let error = StoreError::new(StoreErrorKind::BreakerOpen, LeftAlone);
            self.count(op, &error);
            return Err(error);
        };
        let mut answer = call(&*self.store);
        // A store that never waits answers the first poll, and pays for no timer.
        let answer = match poll_fn(|cx| Poll::Ready(answer.poll_unpin(cx))).await {
            Poll::Ready(answer) => answer,
            Poll::Pending => self.wait(op, answer).await,
        };
        self.judge(op, permit, answer)
    }

    /// Waits for the answer, at most as long as one operation may take.
    async fn wait<T>(
        &self,
        op: &'static str,
        answer: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let since = monotonic_now();
        let answer = tokio::time::timeout(self.options.timeout, answer).await;
        metrics::histogram!("quota_store_seconds", "op" => op).record(since.elapsed());
        answer.unwrap_or_else(|elapsed| Err(StoreError::new(StoreErrorKind::Unknown, elapsed)))
    }

    /// Tells the breaker what the answer says of the store.
    fn judge<T>(
        &self,
        op: &'static str,
        permit: Permit<'_>,
        answer: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Err(error) = &answer else {
            permit.report(Ending::Answered);
            return answer;
        };
        self.count(op, error);
        if error.is_partial() {
            permit.report(Ending::Answered);
            return answer;
        }
        permit.report(match error.kind() {
            StoreErrorKind::Full
            | StoreErrorKind::Invalid
            | StoreErrorKind::Corrupt
            | StoreErrorKind::BreakerOpen => Ending::Answered,
            kind @ (StoreErrorKind::Unreachable
            | StoreErrorKind::Unknown
            | StoreErrorKind::NotServing
            | StoreErrorKind::Forbidden) => Ending::Failed(kind),
        });
        answer
    }

    fn count(&self, op: &'static str, error: &StoreError) {
        let kind = error.kind();
        metrics::counter!("quota_store_errors_total", "kind" => kind.as_str()).increment(1);
        let outage = self.breaker.outage();
        self.allowed.enter(outage.number);
        match kind {
            // The breaker has told it.
            StoreErrorKind::BreakerOpen => {}
            // Who brings the counters back tells it once.
            _ if error.is_partial() => {}
            // A full store goes on answering: it is told once and not for every request.
            StoreErrorKind::Full if outage.stage == Stage::GoesOn => {}
            _ => tracing::error!(
                target: "quota::store",
                op,
                kind = kind.as_str(),
                cause = error.source().map(tracing::field::display),
                "{error}"
            ),
        }
    }
}

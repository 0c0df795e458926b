//! Attempts of quotas that are recorded by the minute become one record of it, once nothing of that
//! minute is under way any more.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use quota_store::{
    Clock, QuotaName, UnixMillis,
    ledger::{LedgerError, RollUp, Span},
};

use crate::{
    config::{Config, Record},
    shared::Shared,
};

/// How often it is looked for.
const EVERY: Duration = Duration::from_mins(5);
/// How old they are: what is younger may still be sent again or be settled.
const AGE: Duration = Duration::from_hours(1);
/// How far the first look goes back, for what was not rolled up before a restart. What is older
/// stays as it is, so that a quota whose record is now by the minute keeps its history.
const FIRST_LOOK: Duration = Duration::from_hours(24);
/// How far each look goes back behind the one before, for requests that took longer than an hour.
const OVERLAP: Duration = Duration::from_mins(15);
/// How many records are looked at in one step.
const ROWS: u32 = 1_000;
/// How long others have the ledger to themselves between two steps.
const PAUSE: Duration = Duration::from_millis(100);

/// Rolls up at once and every few minutes, until the layer is gone.
pub(crate) async fn roll_up_for_ever(shared: Weak<Shared>, clock: Arc<dyn Clock>) {
    let mut done_until = None;
    while let Some(quotas) = by_the_minute(&shared) {
        if !quotas.is_empty() {
            let span = span(clock.now(), done_until);
            match roll_up(&shared, span, quotas).await {
                Ok(rows) => {
                    done_until = Some(span.to);
                    if rows > 0 {
                        tracing::debug!(target: "quota::ledger", rows, "records were rolled up");
                    }
                }
                Err(error) => tracing::warn!(
                    target: "quota::ledger",
                    %error,
                    "records could not be rolled up; it is tried again in five minutes"
                ),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The quotas that are recorded by the minute now; `None` when the layer is gone.
fn by_the_minute(shared: &Weak<Shared>) -> Option<BTreeSet<QuotaName>> {
    let shared = shared.upgrade()?;
    // `[ledger]` is as it was at the start.
    let default = shared.records.as_ref()?.config.record;
    Some(quotas_by_the_minute(&shared.runtime.load().config, default))
}

fn quotas_by_the_minute(config: &Config, default: Record) -> BTreeSet<QuotaName> {
    let quotas = config.quotas.iter();
    quotas
        .filter(|quota| quota.record.unwrap_or(default) == Record::Minute)
        .map(|quota| quota.name.clone())
        .collect()
}

/// Whole minutes that are old enough.
fn span(now: UnixMillis, done_until: Option<UnixMillis>) -> Span {
    let to = minute_before(now, AGE);
    Span {
        from: done_until.map_or(minute_before(to, FIRST_LOOK), |until| {
            minute_before(until, OVERLAP)
        }),
        to,
    }
}

fn minute_before(at: UnixMillis, duration: Duration) -> UnixMillis {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let before = at.get().saturating_sub(millis);
    UnixMillis::new(before - before % 60_000)
}

/// Rolls up in steps, and answers by how many records the ledger is shorter.
async fn roll_up(
    shared: &Weak<Shared>,
    span: Span,
    quotas: BTreeSet<QuotaName>,
) -> Result<u64, LedgerError> {
    let mut rows = 0;
    let mut step = RollUp {
        span,
        after: None,
        quotas,
        limit: ROWS,
    };
    // Held for one step only: a ledger is given up between two.
    while let Some(records) = shared.upgrade().and_then(|shared| shared.records.clone()) {
        let rolled_up = records.books.ledger.roll_up(&step).await?;
        drop(records);
        rows += rolled_up.rows;
        step.after = rolled_up.next;
        if step.after.is_none() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_begins_where_the_one_before_ended_and_a_little_earlier() {
        let now = UnixMillis::new(1_798_761_634_567);
        let first = span(now, None);
        let hour = 3_600_000;
        assert_eq!(first.to.get(), 1_798_761_600_000 - hour);
        assert_eq!(first.from.get(), first.to.get() - 24 * hour);
        let later = UnixMillis::new(now.get() + hour);
        let next = span(later, Some(first.to));
        assert_eq!(next.from.get(), first.to.get() - hour / 4);
        assert_eq!(next.to.get(), first.to.get() + hour);
    }

    #[test]
    fn a_quota_is_recorded_as_it_says_or_else_as_the_ledger_does() {
        let config = Config::from_toml(
            "[identity]\nfrom = \"application\"\n[quotas.calls]\nrecord = \"each\"\n\
             [quotas.tokens]\nrecord = \"minute\"\n\
             [quotas.files]\n[plans.free]\ndefault = true\n[plans.free.limits]\ncalls = \"5/day\"\n",
        )
        .unwrap();
        let names = |default| {
            let quotas = quotas_by_the_minute(&config, default);
            let names: Vec<_> = quotas.iter().map(ToString::to_string).collect();
            names.join(" ")
        };
        assert_eq!(names(Record::Each), "tokens");
        assert_eq!(names(Record::Minute), "files tokens");
    }
}

//! Parts of a time.

use std::time::Duration;

use quota_store::ledger::{Bucket, Span};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// How many parts a time may have.
const PARTS_MAX: u128 = 10_000;

/// The length of the parts that figures are given for, in UTC.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BucketWord {
    /// Hours.
    Hour,
    /// Days.
    #[default]
    Day,
    /// Calendar months.
    Month,
}

impl BucketWord {
    /// The whole units of UTC that figures are kept by.
    pub(crate) const fn unit(self) -> Duration {
        match self {
            Self::Hour => Duration::from_hours(1),
            Self::Day | Self::Month => Duration::from_hours(24),
        }
    }
}

/// The parts of a time, where they are not too many.
pub(crate) fn parts(word: BucketWord, span: Span) -> Result<Bucket, Problem> {
    let (bucket, hours) = match word {
        BucketWord::Hour => (Bucket::Hour, 1),
        BucketWord::Day => (Bucket::Day, 24),
        BucketWord::Month => (Bucket::Month, 28 * 24),
    };
    let length = span.to.saturating_since(span.from);
    if length.as_millis() / Duration::from_hours(hours).as_millis() > PARTS_MAX {
        return Err(Problem::parameter(
            "bucket",
            "The time has more than 10000 such parts: take longer parts, or a shorter time.",
        ));
    }
    Ok(bucket)
}

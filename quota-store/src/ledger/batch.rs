//! What is appended in one step.

use super::{Attempt, Audit, Posting};

/// Records that go into the ledger together, or not at all.
///
/// Appending it again changes nothing: what is there already is left as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Records of the usage log.
    pub attempts: Vec<Attempt>,
    /// Changes of counters.
    pub postings: Vec<Posting>,
    /// Acts of administration.
    pub audits: Vec<Audit>,
    /// How far a stream was moved with this batch.
    pub mark: Option<StreamMark>,
}

/// How far one stream of the outbox was moved to the ledger; it never goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMark {
    /// The stream's name, its epoch included: positions of lost data mean nothing.
    pub stream: String,
    /// The last entry that was moved.
    pub position: StreamPosition,
}

/// The place of an entry in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPosition {
    /// The part before the dash: milliseconds.
    pub millis: u64,
    /// The part after it.
    pub sequence: u64,
}

/// How many records of a batch were new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Records of the usage log.
    pub attempts: usize,
    /// Changes of counters; only these changed them.
    pub postings: usize,
    /// Acts of administration.
    pub audits: usize,
}

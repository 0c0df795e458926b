//! The usage log.

use std::collections::BTreeMap;

use quota_store::{
    ReservationId,
    ledger::{Attempt, Charged, DeniedBy, Entry, History, Posting},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::input::rfc3339;

/// One attempt, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptView {
    /// Its id, which is `instance` in refusals.
    #[schema(format = "uuid")]
    pub(crate) id: String,
    /// When it was.
    #[schema(format = DateTime)]
    pub(crate) at: Option<String>,
    /// What became of it.
    #[schema(example = "committed")]
    pub(crate) outcome: &'static str,
    /// The user's tenant.
    pub(crate) tenant: Option<String>,
    /// The user; null where nobody was identified.
    pub(crate) user: Option<String>,
    /// The plan at the time.
    pub(crate) plan: Option<String>,
    /// Where the plan came from.
    pub(crate) plan_source: Option<&'static str>,
    /// The rule, as it stands in the configuration.
    pub(crate) route: Option<String>,
    /// What was asked for and charged.
    pub(crate) charges: Vec<ChargeView>,
    /// The HTTP status of the answer.
    pub(crate) status: Option<u16>,
    /// Why it ended where no status says so, or the reason of a refusal.
    pub(crate) cause: Option<String>,
    /// How long the handler took, in microseconds.
    pub(crate) latency_us: Option<u64>,
    /// Tags.
    pub(crate) tags: BTreeMap<String, String>,
    /// What the handler reported besides.
    #[schema(value_type = Object)]
    pub(crate) metadata: serde_json::Map<String, serde_json::Value>,
    /// The id that the request carried.
    pub(crate) request_id: Option<String>,
    /// The client's address, where that is recorded.
    pub(crate) client_ip: Option<String>,
    /// The client's program, where that is recorded.
    pub(crate) user_agent: Option<String>,
    /// The revision of the configuration that decided.
    pub(crate) revision: String,
    /// What denied it, as it was then.
    pub(crate) denial: Option<DenialView>,
    /// How many attempts the record stands for: more than one where denials were only counted.
    pub(crate) count: u32,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        let (plan, plan_source) = match attempt.plan {
            Some(plan) => (
                Some(plan.plan.as_str().to_owned()),
                Some(plan.source.as_str()),
            ),
            None => (None, None),
        };
        Self {
            id: attempt.id.to_string(),
            at: rfc3339(attempt.at),
            outcome: attempt.outcome.as_str(),
            tenant: attempt.tenant.map(|tenant| tenant.as_str().to_owned()),
            user: attempt.user.map(|user| user.as_str().to_owned()),
            plan,
            plan_source,
            route: attempt.rule,
            charges: attempt.charges.iter().map(ChargeView::from).collect(),
            status: attempt.status,
            cause: attempt.cause,
            latency_us: attempt
                .latency
                .map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
            tags: attempt.tags,
            metadata: attempt.metadata,
            request_id: attempt.request_id,
            client_ip: attempt.client_ip.map(|address| address.to_string()),
            user_agent: attempt.user_agent,
            revision: attempt.revision,
            denial: attempt.denial.map(DenialView::from),
            count: attempt.count.get(),
        }
    }
}

/// What one attempt did to one quota.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Charge)]
pub(crate) struct ChargeView {
    /// The quota.
    pub(crate) quota: String,
    /// What was set aside, or was asked for in vain.
    pub(crate) reserved: u64,
    /// What was charged, or given back where it is negative.
    pub(crate) charged: i64,
}

impl From<&Charged> for ChargeView {
    fn from(charged: &Charged) -> Self {
        Self {
            quota: charged.quota.as_str().to_owned(),
            reserved: charged.reserved.get(),
            charged: charged.charged,
        }
    }
}

/// The limit that denied, and how it stood.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Denial)]
pub(crate) struct DenialView {
    /// The policy.
    #[schema(example = "messages-day")]
    pub(crate) policy: String,
    /// `user` or `tenant`.
    pub(crate) scope: &'static str,
    /// The limit; null where there is none.
    pub(crate) limit: Option<u64>,
    /// The limit with grace; null where there is none.
    pub(crate) hard_limit: Option<u64>,
    /// What was charged.
    pub(crate) used: u64,
    /// What requests in flight held.
    pub(crate) reserved: u64,
    /// What this one asked for.
    pub(crate) requested: u64,
}

impl From<DeniedBy> for DenialView {
    fn from(denied: DeniedBy) -> Self {
        Self {
            policy: denied.policy,
            scope: denied.scope.as_str(),
            limit: denied.limit.amount().map(u64::from),
            hard_limit: denied.hard.amount().map(u64::from),
            used: denied.used.get(),
            reserved: denied.reserved.get(),
            requested: denied.requested.get(),
        }
    }
}

/// Everything that is known of one attempt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
pub(crate) struct HistoryView {
    /// Its id.
    #[schema(format = "uuid")]
    id: String,
    /// Its records, the earliest outcome first; usually one.
    records: Vec<AttemptView>,
    /// What it changed.
    postings: Vec<PostingView>,
}

impl HistoryView {
    pub(crate) fn new(id: ReservationId, history: History) -> Self {
        Self {
            id: id.to_string(),
            records: history.records.into_iter().map(Into::into).collect(),
            postings: history.postings.iter().map(PostingView::from).collect(),
        }
    }
}

/// One change of counters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Posting)]
pub(crate) struct PostingView {
    /// Why counters change.
    #[schema(example = "commit")]
    kind: &'static str,
    /// When what it is about was asked for.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// What changes by how much.
    entries: Vec<EntryView>,
}

impl From<&Posting> for PostingView {
    fn from(posting: &Posting) -> Self {
        Self {
            kind: posting.kind.as_str(),
            at: rfc3339(posting.at),
            entries: posting.entries.iter().map(EntryView::from).collect(),
        }
    }
}

/// What one posting does to one counter.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Entry)]
pub(crate) struct EntryView {
    /// The quota.
    quota: String,
    /// `user` or `tenant`.
    scope: &'static str,
    /// The window; `lifetime` for a stock too.
    window: String,
    /// Where the window begins.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Where it ends; null for a lifetime.
    #[schema(format = DateTime)]
    to: Option<String>,
    /// What is added, or taken away.
    amount: i64,
}

impl From<&Entry> for EntryView {
    fn from(entry: &Entry) -> Self {
        let counter = &entry.counter;
        Self {
            quota: counter.quota.as_str().to_owned(),
            scope: counter.scope.as_str(),
            window: counter.window.to_string(),
            from: rfc3339(counter.span.start()),
            to: counter.span.end().and_then(rfc3339),
            amount: entry.amount,
        }
    }
}

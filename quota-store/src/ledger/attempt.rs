//! What became of one attempt.

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU32, time::Duration};

use crate::{
    Amount, Bound, PlanName, QuotaName, ReservationId, Scope, TenantId, UnixMillis, UserId,
};

/// One record of the usage log: what one attempt asked for, and what became of it.
///
/// It is in the ledger once for each (`id`, `outcome`): a correction of a committed attempt, or the
/// late commit of an expired one, is a further record with the same id. So the sum of what the
/// records charge is what was used.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The reservation's id, which is also `instance` in refusals.
    pub id: ReservationId,
    /// What became of it.
    pub outcome: Outcome,
    /// When it was asked for, on the clock of the counter store: this decides its windows.
    pub at: UnixMillis,
    /// The user's tenant, if there is one.
    pub tenant: Option<TenantId>,
    /// The user; `None` only for requests that nobody was identified for.
    pub user: Option<UserId>,
    /// The plan at the time.
    pub plan: Option<PlanAtTheTime>,
    /// The rule, as it stands in the file; `None` for unmatched requests.
    pub rule: Option<String>,
    /// What was asked for and charged, a quota at most once.
    pub charges: Vec<Charged>,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
    /// Why it ended where no status says so (`panic`, `disconnected`), or the reason of a refusal.
    pub cause: Option<String>,
    /// How long the handler took, kept in microseconds.
    pub latency: Option<Duration>,
    /// Tags of the charge by name.
    pub tags: BTreeMap<String, String>,
    /// What the handler reported besides.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// The id that the request carried.
    pub request_id: Option<String>,
    /// The client's address, when configured.
    pub client_ip: Option<IpAddr>,
    /// The client's program, when configured.
    pub user_agent: Option<String>,
    /// The revision of the configuration that decided.
    pub revision: String,
    /// What denied it, as it was then.
    pub denial: Option<DeniedBy>,
    /// How many attempts the record stands for: more than one where denials were only counted.
    pub count: NonZeroU32,
}

/// What one attempt did to one quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charged {
    /// The quota.
    pub quota: QuotaName,
    /// What was set aside, or was asked for in vain.
    pub reserved: Amount,
    /// What was charged, or given back where it is negative.
    pub charged: i64,
}

/// The plan that decided, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanAtTheTime {
    /// The plan.
    pub plan: PlanName,
    /// Where it came from.
    pub source: PlanSource,
}

/// The limit that denied, and how it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedBy {
    /// The policy, such as `messages-day`.
    pub policy: String,
    /// Whose limit it is.
    pub scope: Scope,
    /// The limit.
    pub limit: Bound,
    /// The limit with grace.
    pub hard: Bound,
    /// What was used.
    pub used: Amount,
    /// What requests in flight held.
    pub reserved: Amount,
    /// What this one asked for.
    pub requested: Amount,
}

/// The text is not one of the words of an enum of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of the words that the ledger knows here")]
pub struct UnknownWord;

/// Makes an enum whose variants are words, in the database, in JSON and in queries.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every one, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ledger::UnknownWord;

            fn from_str(word: &str) -> Result<Self, $crate::ledger::UnknownWord> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|one| one.as_str() == word)
                    .ok_or($crate::ledger::UnknownWord)
            }
        }
    };
}

pub(crate) use words;

words! {
    /// What became of an attempt; one list everywhere.
    Outcome {
        /// It was charged.
        Committed = "committed",
        /// It failed, and nothing was charged.
        Released = "released",
        /// It was refused.
        Denied = "denied",
        /// Nobody settled it in time.
        Expired = "expired",
        /// It had expired, or its counters were lost, and was charged afterwards.
        Late = "late",
        /// What it was charged was corrected by this much.
        Correction = "correction",
        /// It would have been refused, had the rule not been a shadow.
        ShadowDenied = "shadow_denied",
        /// The counter store was down, and it was let through.
        FailOpen = "fail_open",
        /// The counter store was down, and it was refused.
        Unavailable = "unavailable",
        /// No rule matched it.
        Unmatched = "unmatched",
    }
}

words! {
    /// Where a plan came from.
    PlanSource {
        /// It is assigned to the user, or to its tenant.
        Assignment = "assignment",
        /// The token named it.
        Claim = "claim",
        /// It is the default plan.
        Default = "default",
        /// It is the plan of clients without a token.
        Anonymous = "anonymous",
    }
}

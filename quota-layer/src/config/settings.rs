//! What the configuration says, once it is read, checked and resolved.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc, time::Duration};

use quota_store::{Amount, Orphans, Percent, Plan, PlanName, QuotaName, TenantId, Text, Window};
use secrecy::{ExposeSecret, SecretString};

pub(crate) use self::ledger::{
    DenialRecords, LedgerConfig, LedgerDurability, LedgerFile, LedgerUrl, OnBacklogFull,
    PostgresUrl, Record,
};
use super::{ip_range::IpRange, revision::revision, stored::FilePlans};
use crate::{administration::AdminAccess, identity::JwtSettings};

mod ledger;

/// Everything that `quota.toml` and the environment say.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) unmatched: Unmatched,
    pub(crate) identity: IdentityConfig,
    pub(crate) store: StoreConfig,
    pub(crate) ledger: LedgerConfig,
    pub(crate) responses: ResponsesConfig,
    pub(crate) admin: AdminConfig,
    /// In the order of the file.
    pub(crate) quotas: Vec<QuotaConfig>,
    /// With everything they extend, in the order of the file.
    pub(crate) plans: Vec<Arc<Plan>>,
    pub(crate) default_plan: Arc<Plan>,
    /// Every window that any plan gives a quota, shortest first; a month if none does.
    pub(crate) windows: BTreeMap<QuotaName, Vec<Window>>,
    /// In the order of the file.
    pub(crate) rules: Vec<Rule>,
    /// What plans of the database are read with.
    pub(crate) file: Arc<FilePlans>,
    /// What is allowed and yet looks like a mistake, each with its place.
    pub(crate) warnings: Vec<String>,
    pub(crate) revision: String,
}

impl Config {
    /// When answers under a rule are settled: what the rule says, else the store.
    pub(crate) fn settle(&self, rule: usize) -> Settle {
        self.rules[rule].settle.unwrap_or(self.store.settle)
    }

    /// What becomes of requests under a rule while the store can't answer: what the rule says,
    /// else the store.
    pub(crate) fn on_failure(&self, rule: usize) -> OnFailure {
        self.rules[rule].on_failure.unwrap_or(self.store.on_failure)
    }

    /// The same with the sections of another one that only a restart puts in force.
    pub(crate) fn with_fixed_sections_of(self, other: &Self) -> Self {
        let config = Self {
            store: other.store.clone(),
            ledger: other.ledger.clone(),
            admin: other.admin.clone(),
            revision: String::new(),
            warnings: Vec::new(),
            ..self
        };
        Self {
            revision: revision(&config),
            warnings: self.warnings,
            ..config
        }
    }

    /// The first 12 hex digits of the SHA-256 of what is effective, secrets left out.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// What is allowed and yet looks like a mistake, each with its place.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.warnings.iter().map(String::as_str)
    }

    /// How tokens are verified and what is read from them; `None` where the application names its
    /// users itself.
    ///
    /// For an application that also issues tokens. The secret stays wrapped: reading it takes an
    /// explicit `expose_secret`.
    #[must_use]
    pub fn jwt(&self) -> Option<JwtSettings> {
        match &self.identity.from {
            IdentityFrom::Jwt(jwt) => Some(JwtSettings {
                max_id_bytes: self.identity.max_id_bytes,
                ..jwt.clone()
            }),
            IdentityFrom::Application => None,
        }
    }
}

/// What becomes of a request that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unmatched {
    Pass,
    /// It passes, and the log says so once for each route.
    #[default]
    Warn,
    Deny,
}

/// Who the user is, and which plan they have.
#[derive(Clone, Debug)]
pub(crate) struct IdentityConfig {
    pub(crate) from: IdentityFrom,
    #[cfg_attr(
        not(feature = "jwt"),
        expect(dead_code, reason = "without tokens nobody looks for one")
    )]
    pub(crate) token_from: Vec<TokenFrom>,
    pub(crate) anonymous: Anonymous,
    pub(crate) trusted_proxies: Vec<IpRange>,
    pub(crate) require_tenant: bool,
    pub(crate) plan_from: Vec<PlanFrom>,
    pub(crate) unknown_plan: UnknownPlan,
    pub(crate) max_id_bytes: usize,
}

#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it for each configuration"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdentityFrom {
    Jwt(JwtSettings),
    /// The application puts an identity into the request's extensions.
    Application,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenFrom {
    Authorization,
    /// The cookie of that name.
    Cookie(String),
    WebSocketProtocol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Anonymous {
    Reject,
    /// Counted by client address, under this plan.
    Plan(PlanName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlanFrom {
    Assignment,
    Claim,
    Default,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UnknownPlan {
    #[default]
    Default,
    Deny,
}

/// Where counters live, and what happens when they cannot be reached.
#[derive(Clone, Debug)]
pub(crate) struct StoreConfig {
    pub(crate) url: StoreUrl,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<SecretString>,
    /// The text of a PEM file.
    pub(crate) ca_pem: Option<String>,
    pub(crate) prefix: String,
    pub(crate) timeout: Duration,
    pub(crate) settle: Settle,
    pub(crate) orphans: Orphans,
    pub(crate) reservation_ttl: Duration,
    pub(crate) max_reservation: Duration,
    pub(crate) max_in_flight: u32,
    pub(crate) on_failure: OnFailure,
    pub(crate) allow_max: Amount,
    pub(crate) local_share: Percent,
    pub(crate) accept_eviction: bool,
    pub(crate) memory_subjects: usize,
}

impl PartialEq for StoreConfig {
    fn eq(&self, other: &Self) -> bool {
        let exposed = |config: &Self| {
            config
                .password
                .as_ref()
                .map(|p| p.expose_secret().to_owned())
        };
        // Taken apart whole, so that a new field is not forgotten here.
        let Self {
            url,
            username,
            password: _,
            ca_pem,
            prefix,
            timeout,
            settle,
            orphans,
            reservation_ttl,
            max_reservation,
            max_in_flight,
            on_failure,
            allow_max,
            local_share,
            accept_eviction,
            memory_subjects,
        } = self;
        exposed(self) == exposed(other)
            && *url == other.url
            && *username == other.username
            && *ca_pem == other.ca_pem
            && *prefix == other.prefix
            && *timeout == other.timeout
            && *settle == other.settle
            && *orphans == other.orphans
            && *reservation_ttl == other.reservation_ttl
            && *max_reservation == other.max_reservation
            && *max_in_flight == other.max_in_flight
            && *on_failure == other.on_failure
            && *allow_max == other.allow_max
            && *local_share == other.local_share
            && *accept_eviction == other.accept_eviction
            && *memory_subjects == other.memory_subjects
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    Memory,
    Redis {
        /// A `redis://` or `rediss://` URL without user name and password.
        address: String,
    },
}

/// Whether a commit is awaited before the answer leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Settle {
    #[default]
    BeforeResponse,
    Background,
}

/// What becomes of a request while the store cannot answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnFailure {
    #[default]
    Deny,
    Allow,
    /// It spends a share of the limit in this process.
    Local,
}

/// What answers look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResponsesConfig {
    /// 429 or 402.
    pub(crate) denied_status: u16,
    /// Whether `X-Quota-*` are sent.
    pub(crate) x_quota: bool,
    /// Whether `RateLimit` and `RateLimit-Policy` are sent.
    pub(crate) ratelimit: bool,
    pub(crate) tenant_headers: bool,
    pub(crate) upgrade_url: Option<String>,
}

/// Who may administer.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdminConfig(pub(crate) AdminAccess);

impl PartialEq for AdminConfig {
    fn eq(&self, other: &Self) -> bool {
        fn exposed(tokens: &[SecretString]) -> Vec<&str> {
            tokens.iter().map(ExposeSecret::expose_secret).collect()
        }
        let (one, other) = (&self.0, &other.0);
        let tenants = |access: &AdminAccess| -> Vec<(TenantId, Vec<String>)> {
            let tokens =
                |tokens: &[SecretString]| exposed(tokens).into_iter().map(str::to_owned).collect();
            let each = access.tenant_tokens.iter();
            each.map(|(tenant, of_tenant)| (tenant.clone(), tokens(of_tenant)))
                .collect()
        };
        exposed(&one.tokens) == exposed(&other.tokens)
            && exposed(&one.read_only_tokens) == exposed(&other.read_only_tokens)
            && tenants(one) == tenants(other)
            && one.roles == other.roles
    }
}

/// A quota, and the words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuotaConfig {
    pub(crate) name: QuotaName,
    /// The English word for one unit.
    pub(crate) unit_one: String,
    /// The English word for several units.
    pub(crate) unit_other: String,
    /// The words for one unit and for several, by language.
    pub(crate) units: BTreeMap<String, UnitForms>,
    pub(crate) title: Text,
    /// How its attempts are recorded, where that is not as the ledger says.
    pub(crate) record: Option<Record>,
}

/// The words for a unit in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnitForms {
    pub(crate) one: String,
    pub(crate) other: String,
}

/// What happens to requests that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// At least one.
    pub(crate) patterns: Vec<RulePattern>,
    pub(crate) action: RuleAction,
    pub(crate) success: Success,
    /// The rule's own; see [`Config::settle`].
    pub(crate) settle: Option<Settle>,
    /// The rule's own; see [`Config::on_failure`].
    pub(crate) on_failure: Option<OnFailure>,
}

/// A method and a path in axum's syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RulePattern {
    pub(crate) methods: Methods,
    pub(crate) path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Methods {
    Any,
    Some(Vec<http::Method>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RuleAction {
    Exempt,
    /// In the order of the file; no quota twice.
    Charge(Vec<ChargeItem>),
}

/// What one request costs of one quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChargeItem {
    pub(crate) quota: QuotaName,
    pub(crate) reserve: Amount,
    pub(crate) max: Option<Amount>,
    pub(crate) actual: Actual,
}

/// Where the actual amount comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Actual {
    /// It is what was reserved.
    #[default]
    Reserved,
    /// The handler reports it.
    Handler,
}

/// The statuses that are charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Success {
    pub(crate) ranges: Vec<RangeInclusive<u16>>,
}

impl Success {
    /// Whether an answer with this status is charged.
    pub(crate) fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&status))
    }
}

impl Default for Success {
    fn default() -> Self {
        Self {
            ranges: vec![200..=299],
        }
    }
}

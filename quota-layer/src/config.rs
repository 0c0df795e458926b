//! Reading `quota.toml`.

mod ip_range;
mod settings;

pub(crate) use ip_range::IpRange;
pub use settings::Config;
pub(crate) use settings::{
    Actual, Anonymous, AudienceConfig, ChargeItem, ClaimsConfig, IdentityConfig, IdentityFrom,
    JwtAlgorithm, JwtConfig, JwtKeyConfig, Methods, OnFailure, PlanFrom, QuotaConfig,
    ResponsesConfig, Rule, RuleAction, RulePattern, Settle, StoreConfig, StoreUrl, Success,
    TokenFrom, UnitForms, UnknownPlan, Unmatched,
};

//! A tower layer that reserves quota before a request runs and commits it when the answer is a
//! success.

mod admit;
mod body;
mod build;
mod charge;
mod config;
mod future;
mod guard;
mod handle;
mod headers;
mod identify;
mod identity;
mod layer;
mod logs;
mod metrics;
mod plans;
mod refusal;
mod reload;
mod request;
mod route;
mod runtime;
mod service;
mod settle;
mod settler;
mod shared;
mod status;
mod tally;

pub use body::ResponseBody;
pub use build::{Builder, StartError};
pub use config::{Config, ConfigError, ConfigErrors};
pub use future::ResponseFuture;
#[cfg(feature = "axum")]
pub use handle::NoCharge;
pub use handle::QuotaHandle;
pub use headers::EXPOSED_HEADERS;
pub use identify::ClientAddress;
pub use identity::{
    AlgorithmFamily, Audience, ClaimNames, ClaimPath, InvalidIdentity, JwtAlgorithm, JwtKey,
    JwtSettings, QuotaIdentity, Unauthenticated, UnknownAlgorithm,
};
#[cfg(feature = "jwt")]
pub use identity::{Identified, IdentifyFailure, IdentityError, JwtIdentity};
pub use layer::QuotaLayer;
pub use plans::{Assigned, Lookup, PlanDirectory};
pub use reload::ReloadError;
pub use service::QuotaService;
pub use status::{QuotaState, QuotaStatus};

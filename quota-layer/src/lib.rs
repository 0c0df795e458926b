//! A tower layer that reserves quota before a request runs and commits it when the answer is a
//! success.

<<<<<<< HEAD
mod config;

pub use config::Config;
=======
mod identity;

pub use identity::{
    AlgorithmFamily, Audience, ClaimNames, ClaimPath, InvalidIdentity, JwtAlgorithm, JwtKey,
    JwtSettings, QuotaIdentity, Unauthenticated, UnknownAlgorithm,
};
#[cfg(feature = "jwt")]
pub use identity::{Identified, IdentifyFailure, IdentityError, JwtIdentity};
>>>>>>> identity

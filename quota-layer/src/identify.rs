//! Who makes a request, by the means that the configuration names.

#[cfg(feature = "jwt")]
use std::sync::Arc;

use http::{Extensions, HeaderMap};
use tokio::runtime::Handle;

#[cfg(feature = "jwt")]
use crate::identity::{Identified as TokenIdentified, IdentifyFailure, JwtIdentity};
use crate::{
    config::{Anonymous, IdentityConfig},
    identity::{QuotaIdentity, Unauthenticated},
    refusal::Refusal,
};

mod address;
#[cfg(feature = "jwt")]
mod token;

pub use address::ClientAddress;
pub(crate) use address::client_ip;

/// Finds out who makes a request.
#[derive(Debug)]
pub(crate) enum Identifier {
    /// From a token that was verified.
    #[cfg(feature = "jwt")]
    Token(Arc<JwtIdentity>),
    /// From what the application put into the request's extensions.
    Application,
}

/// What is known without waiting.
#[derive(Debug)]
pub(crate) enum Identified {
    Known(QuotaIdentity),
    Refused(Unauthenticated),
    /// Keys must be fetched before this token can be judged.
    #[cfg(feature = "jwt")]
    Waiting(Arc<JwtIdentity>, Vec<u8>),
}

impl Identifier {
    /// Begins to fetch keys that have to be fetched, so that no request waits for them.
    #[cfg_attr(
        not(feature = "jwt"),
        expect(unused_variables, reason = "only fetching keys needs a runtime")
    )]
    pub(crate) fn fetch_keys_early(&self, runtime: &Handle) {
        match self {
            Self::Application => {}
            #[cfg(feature = "jwt")]
            Self::Token(jwt) => {
                let jwt = Arc::clone(jwt);
                // What goes wrong is in the log, and tried again by the first request.
                drop(runtime.spawn(async move { jwt.fetch_keys().await }));
            }
        }
    }

    /// Who makes the request, as far as that is known without waiting; `host` is what it asked.
    #[cfg_attr(
        not(feature = "jwt"),
        expect(unused_variables, reason = "only cookies depend on the host")
    )]
    pub(crate) fn identify(
        &self,
        config: &IdentityConfig,
        headers: &HeaderMap,
        extensions: &Extensions,
        host: Option<&str>,
    ) -> Identified {
        let found = match self {
            Self::Application => extensions
                .get::<QuotaIdentity>()
                .cloned()
                .ok_or(Unauthenticated::Missing),
            #[cfg(feature = "jwt")]
            Self::Token(jwt) => match token::find(&config.token_from, headers, host) {
                Err(refused) => Err(refused),
                Ok(token) => match jwt.identify_token_now(&token) {
                    TokenIdentified::Known(identity) => Ok(identity),
                    TokenIdentified::Refused(refused) => Err(refused),
                    TokenIdentified::NeedsKeys => {
                        return Identified::Waiting(Arc::clone(jwt), token.into_owned());
                    }
                },
            },
        };
        match found {
            Ok(identity) => Identified::Known(identity),
            Err(Unauthenticated::Missing) if config.anonymous != Anonymous::Reject => {
                anonymous(config, headers, extensions)
            }
            Err(refused) => Identified::Refused(refused),
        }
    }
}

/// A client without a token, counted by its address.
fn anonymous(config: &IdentityConfig, headers: &HeaderMap, extensions: &Extensions) -> Identified {
    let Some(client) = address::client(&config.trusted_proxies, headers, extensions) else {
        tracing::error!(
            target: "quota::identity",
            "anonymous clients are counted by address, and this request has none: serve with \
             into_make_service_with_connect_info::<SocketAddr>() or put a ClientAddress into the \
             request's extensions"
        );
        return Identified::Refused(Unauthenticated::Missing);
    };
    Identified::Known(QuotaIdentity::anonymous(&client))
}

impl Identified {
    /// Whether something has to be fetched before it is known.
    pub(crate) const fn waits(&self) -> bool {
        !matches!(self, Self::Known(_) | Self::Refused(_))
    }

    /// Who makes the request, once it is known.
    #[cfg_attr(
        not(feature = "jwt"),
        expect(clippy::unused_async, reason = "only fetching keys waits")
    )]
    pub(crate) async fn known(&self) -> Result<QuotaIdentity, Refusal> {
        match self {
            Self::Known(identity) => Ok(identity.clone()),
            Self::Refused(refused) => Err(Refusal::Unauthenticated(*refused)),
            #[cfg(feature = "jwt")]
            Self::Waiting(jwt, token) => {
                // Seldom needed, and large: kept out of the future of every request.
                let identified = Box::pin(jwt.identify_token(token)).await;
                identified.map_err(|failure| match failure {
                    IdentifyFailure::Unauthenticated(refused) => Refusal::Unauthenticated(refused),
                    IdentifyFailure::Unavailable => Refusal::Unavailable {
                        retry_after_seconds: 1,
                    },
                })
            }
        }
    }
}

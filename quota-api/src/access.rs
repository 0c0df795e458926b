//! Who may administer.

use std::fmt;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use quota_layer::{
    QuotaIdentity, Unauthenticated,
    administration::{AdminAccess, NotIdentified},
};
use quota_store::{TenantId, UserId};

use self::{throttle::Throttle, tokens::Tokens};
use crate::{api::Served, input, problem::Problem};

mod throttle;
mod tokens;

/// The header that carries an admin token.
const X_ADMIN_TOKEN: HeaderName = HeaderName::from_static("x-admin-token");

/// How an admin token is asked for.
const TOKEN_CHALLENGE: HeaderValue = HeaderValue::from_static("X-Admin-Token realm=\"quota\"");

/// Who may administer, as the configuration has it, without any secret.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: Tokens,
    roles: Vec<String>,
    throttle: Throttle,
}

/// Who administers.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The name of a token, or the subject of a JWT; never a secret.
    pub(crate) actor: String,
    rights: Rights,
}

/// What an administrator may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Everything.
    All,
    /// See everything.
    ReadOnly,
    /// Everything to one tenant, or to the users without one.
    Of(Option<TenantId>),
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever administers with a JWT is a person.
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

impl Access {
    pub(crate) fn new(access: &AdminAccess) -> Self {
        Self {
            tokens: Tokens::new(access),
            roles: access.roles.clone(),
            throttle: Throttle::default(),
        }
    }

    /// Whether anybody may.
    pub(crate) const fn is_configured(&self) -> bool {
        !self.tokens.is_empty() || !self.roles.is_empty()
    }

    async fn caller(&self, served: &Served, parts: &Parts) -> Result<Caller, Problem> {
        let tokens: Vec<&HeaderValue> = parts.headers.get_all(X_ADMIN_TOKEN).iter().collect();
        match tokens.as_slice() {
            [] if self.roles.is_empty() => Err(self.missing(TOKEN_CHALLENGE)),
            [] => self.bearer(served, parts).await,
            [token] => match self.tokens.find(token.as_bytes()) {
                Some(caller) => Ok(caller),
                None => Err(self.wrong_token(served, parts)),
            },
            _ => Err(Problem::parameter(
                X_ADMIN_TOKEN.as_str(),
                "It is given twice: give it once.",
            )),
        }
    }

    fn wrong_token(&self, served: &Served, parts: &Parts) -> Problem {
        let client = throttle::client(&parts.extensions);
        tracing::warn!(target: "quota::admin", "a wrong admin token was sent");
        match self.throttle.count(client, served.now()) {
            Ok(()) => Problem::new(
                StatusCode::FORBIDDEN,
                "wrong_token",
                "X-Admin-Token holds none of the tokens that may administer.",
            ),
            Err(wait_seconds) => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "throttled",
                "Too many wrong admin tokens were sent. Wait, then send a right one.",
            )
            .retry_after(wait_seconds),
        }
    }

    /// What to send, of what there is.
    fn missing(&self, challenge: HeaderValue) -> Problem {
        let detail = match (self.tokens.is_empty(), self.roles.is_empty()) {
            (_, true) => "Send an admin token in X-Admin-Token.",
            (true, false) => "Send the bearer token of an administrator.",
            (false, false) => {
                "Send an admin token in X-Admin-Token, or the bearer token of an administrator."
            }
        };
        Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
            .header(header::WWW_AUTHENTICATE, challenge)
    }

    async fn bearer(&self, served: &Served, parts: &Parts) -> Result<Caller, Problem> {
        let administration = served.administration();
        let identity = administration
            .identify(parts)
            .await
            .map_err(|cause| match cause {
                NotIdentified::Unauthenticated(Unauthenticated::Missing) => {
                    self.missing(Unauthenticated::Missing.www_authenticate())
                }
                other => Problem::not_identified(other),
            })?;
        if identity.user().starts_with(UserId::ANONYMOUS_PREFIX) {
            return Err(self.missing(Unauthenticated::Missing.www_authenticate()));
        }
        if !identity
            .roles()
            .iter()
            .any(|role| self.roles.contains(role))
        {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "role_missing",
                "The token names none of the roles that may administer.",
            ));
        }
        caller_of(&identity, served)
    }
}

/// Whoever has a role may do everything to their own tenant, or everything where there are none.
fn caller_of(identity: &QuotaIdentity, served: &Served) -> Result<Caller, Problem> {
    let settings = served.settings();
    let checked = identity.check(settings.max_id_bytes);
    let requester = checked
        .map_err(|invalid| Problem::unauthenticated(Unauthenticated::Invalid(invalid.as_str())))?;
    let rights = if settings.has_tenants || requester.tenant.is_some() {
        Rights::Of(requester.tenant.clone())
    } else {
        Rights::All
    };
    Ok(Caller {
        // No token's name begins like this.
        actor: format!("user:{}", requester.user.as_str()),
        rights,
    })
}

impl Caller {
    /// Whose keys are whose: people of different tenants may have the same name.
    pub(crate) fn key_space(&self) -> String {
        match &self.rights {
            Rights::Of(Some(tenant)) => format!("{}\n{}", self.actor, tenant.as_str()),
            Rights::All | Rights::ReadOnly | Rights::Of(None) => self.actor.clone(),
        }
    }

    /// The tenant that `?tenant=` names, `-` for none, if the caller may see it.
    pub(crate) fn tenant(
        &self,
        served: &Served,
        named: Option<&str>,
    ) -> Result<Option<TenantId>, Problem> {
        let settings = served.settings();
        let tenant = match named {
            None if settings.has_tenants => {
                return Err(Problem::parameter(
                    "tenant",
                    "It is missing, and needed: name the tenant, or `-` for what has none.",
                ));
            }
            None | Some("-") => None,
            Some(named) => Some(
                input::tenant(named, &settings)
                    .map_err(|detail| Problem::parameter("tenant", detail))?,
            ),
        };
        self.check(tenant.as_ref())?;
        Ok(tenant)
    }

    /// Whether the caller may see this tenant, or what has none.
    pub(crate) fn check(&self, tenant: Option<&TenantId>) -> Result<(), Problem> {
        match &self.rights {
            Rights::Of(own) if own.as_ref() != tenant => Err(Problem::not_found()),
            Rights::All | Rights::ReadOnly | Rights::Of(_) => Ok(()),
        }
    }

    /// Whether the caller may see or change what belongs to no tenant in particular.
    pub(crate) fn check_installation(&self) -> Result<(), Problem> {
        match self.rights {
            Rights::All | Rights::ReadOnly => Ok(()),
            Rights::Of(_) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "one_tenant",
                "This concerns every tenant, and you may administer one.",
            )),
        }
    }

    fn check_method(&self, method: &Method) -> Result<(), Problem> {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        if is_read || self.rights != Rights::ReadOnly {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "read_only",
            "This admin token may see everything and change nothing.",
        ))
    }
}

/// Lets nobody else pass, whatever the path.
pub(crate) async fn guard(State(served): State<Served>, request: Request, next: Next) -> Response {
    let access = served.access();
    if !access.is_configured() {
        return Problem::not_found().into_response();
    }
    let (mut parts, body) = request.into_parts();
    let caller = match access.caller(&served, &parts).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    if let Err(problem) = caller.check_method(&parts.method) {
        return problem.into_response();
    }
    parts.extensions.insert(caller);
    next.run(Request::from_parts(parts, body)).await
}

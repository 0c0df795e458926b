//! `example-app token`: a token for a user.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quota_layer::{Config, JwtKey, JwtSettings, QuotaIdentity};
use secrecy::ExposeSecret;

use crate::{claims::claims, cli::TokenArguments, demo, failure::Failure, greeting};

/// Prints a token, alone on its line.
///
/// # Errors
///
/// [`Failure`] where the configuration is wrong, or verifies tokens with a key that this
/// application does not have.
pub fn print(arguments: &TokenArguments) -> Result<(), Failure> {
    let path = demo::prepare(arguments.config.as_deref())?;
    let config = Config::from_file(path)?;
    let token = sign(arguments, &config)?;
    greeting::say(&token)
        .map_err(|error| Failure::start(format!("the token can't be printed: {error}")))
}

/// A token that this configuration takes.
pub(crate) fn sign(arguments: &TokenArguments, config: &Config) -> Result<String, Failure> {
    let settings = config.jwt().ok_or_else(|| {
        Failure::wrong_use(
            "the configuration takes no tokens: identity.from is \"application\"".to_owned(),
        )
    })?;
    check_ids(arguments, &settings)?;
    let JwtKey::Secret(secret) = &settings.key else {
        return Err(Failure::wrong_use(
            "the configuration verifies tokens with a public key or a JWKS, so only the holder of \
             the private key can make one: take a token from your issuer",
        ));
    };
    let claims = claims(arguments, &settings, jsonwebtoken::get_current_timestamp())?;
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map_err(|error| Failure::start(format!("the token can't be signed: {error}")))?;
    if token.len() > settings.max_bytes {
        return Err(Failure::wrong_use(format!(
            "the token would have {} bytes, and the configuration takes {}; shorten its parts, or \
             raise identity.jwt.max_bytes",
            token.len(),
            settings.max_bytes
        )));
    }
    Ok(token)
}

fn check_ids(arguments: &TokenArguments, settings: &JwtSettings) -> Result<(), Failure> {
    let identity = QuotaIdentity::new(&arguments.user);
    let identity = match &arguments.tenant {
        Some(tenant) => identity.with_tenant(tenant),
        None => identity,
    };
    identity
        .check(settings.max_id_bytes)
        .map(drop)
        .map_err(|invalid| Failure::wrong_use(format!("no token for these ids: {invalid}")))
}

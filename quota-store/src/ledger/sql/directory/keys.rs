//! What the keys of administrators were used for.

use std::fmt::Write as _;

use super::{
    super::{Operation, encode as columns, text, unreadable},
    Bind, LedgerError, LedgerErrorKind, Session, Statement,
};
use crate::{
    UnixMillis,
    directory::{Begun, KeptAnswer, KeyClaim},
};

/// How long a key is kept, in milliseconds.
const KEPT: u64 = 24 * 60 * 60 * 1_000;
/// How long one that began and was not finished is waited for.
const RUNNING: u64 = 60 * 1_000;
/// How many old keys one step removes: more than it adds.
const FEW: i64 = 16;

/// Begins what comes with a key.
pub(super) struct Begin(pub(super) KeyClaim);

impl Operation for Begin {
    type Answer = Begun;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Begun, LedgerError> {
        let claim = &self.0;
        session.execute(&forget_some(claim.at)?).await?;
        if session.execute(&take(claim)?).await? == 1 {
            return Ok(Begun::New);
        }
        let statement = Statement::new(
            "SELECT fingerprint, status, body FROM idempotency_keys \
             WHERE actor = ?1 AND name = ?2",
            key(claim).into(),
        );
        let found = session.rows(&statement, |row| {
            let answer = match row.optional_integer(1)? {
                None => None,
                Some(status) => Some(KeptAnswer {
                    status: u16::try_from(status).map_err(unreadable)?,
                    body: text::read(row, 2)?,
                }),
            };
            Ok((row.text(0)?, answer))
        });
        let Some((fingerprint, answer)) = found.await?.pop() else {
            // It was let go meanwhile: asked again, it is new.
            let reason = "the key was let go meanwhile";
            return Err(LedgerError::new(LedgerErrorKind::Busy, reason));
        };
        if fingerprint != hex(claim) {
            return Ok(Begun::OtherRequest);
        }
        Ok(answer.map_or(Begun::Running, Begun::Finished))
    }
}

/// Actor and key.
fn key(claim: &KeyClaim) -> [Bind<'_>; 2] {
    [text::bind(&claim.actor), text::bind(&claim.key)]
}

fn hex(claim: &KeyClaim) -> String {
    let mut hex = String::with_capacity(64);
    for byte in claim.fingerprint {
        // Writing to a string never fails.
        write!(hex, "{byte:02x}").unwrap_or_default();
    }
    hex
}

/// Actor, key, fingerprint and instant.
fn row(claim: &KeyClaim) -> Result<Vec<Bind<'_>>, LedgerError> {
    let mut binds: Vec<Bind<'_>> = key(claim).into();
    binds.push(Bind::Text(hex(claim).into()));
    binds.push(columns::millis(claim.at)?);
    Ok(binds)
}

fn before(at: UnixMillis, millis: u64) -> Result<Bind<'static>, LedgerError> {
    columns::millis(UnixMillis::new(at.get().saturating_sub(millis)))
}

/// Removes a few keys that are old.
fn forget_some(now: UnixMillis) -> Result<Statement<'static>, LedgerError> {
    Ok(Statement::new(
        "DELETE FROM idempotency_keys WHERE (actor, name) IN \
         (SELECT actor, name FROM idempotency_keys WHERE begun_at <= ?1 \
         ORDER BY begun_at, actor, name LIMIT ?2)",
        vec![before(now, KEPT)?, Bind::Integer(FEW)],
    ))
}

/// Takes a key that is free, old, or of the same request and not finished in time.
fn take(claim: &KeyClaim) -> Result<Statement<'_>, LedgerError> {
    let mut binds = row(claim)?;
    binds.push(before(claim.at, KEPT)?);
    binds.push(before(claim.at, RUNNING)?);
    Ok(Statement::new(
        "INSERT INTO idempotency_keys (actor, name, fingerprint, begun_at) \
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT (actor, name) DO UPDATE \
         SET fingerprint = excluded.fingerprint, begun_at = excluded.begun_at, \
         status = NULL, body = NULL \
         WHERE idempotency_keys.begun_at <= ?5 OR (idempotency_keys.begun_at <= ?6 \
         AND idempotency_keys.status IS NULL \
         AND idempotency_keys.fingerprint = excluded.fingerprint)",
        binds,
    ))
}

/// Keeps the answer. The first one stays, also where another process took the key over.
pub(super) struct Finish(pub(super) KeyClaim, pub(super) KeptAnswer);

impl Operation for Finish {
    type Answer = ();

    async fn run<S: Session>(&self, session: &mut S) -> Result<(), LedgerError> {
        let Self(claim, answer) = self;
        let mut binds = row(claim)?;
        binds.push(Bind::Integer(answer.status.into()));
        binds.push(text::bind(&answer.body));
        let statement = Statement::new(
            "INSERT INTO idempotency_keys (actor, name, fingerprint, begun_at, status, body) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (actor, name) DO UPDATE \
             SET status = excluded.status, body = excluded.body \
             WHERE idempotency_keys.status IS NULL \
             AND idempotency_keys.fingerprint = excluded.fingerprint",
            binds,
        );
        session.execute(&statement).await?;
        Ok(())
    }
}

/// Lets go of a key, unless another process has taken it over.
pub(super) struct Abandon(pub(super) KeyClaim);

impl Operation for Abandon {
    type Answer = ();

    async fn run<S: Session>(&self, session: &mut S) -> Result<(), LedgerError> {
        let statement = Statement::new(
            "DELETE FROM idempotency_keys WHERE actor = ?1 AND name = ?2 \
             AND fingerprint = ?3 AND begun_at = ?4 AND status IS NULL",
            row(&self.0)?,
        );
        session.execute(&statement).await?;
        Ok(())
    }
}

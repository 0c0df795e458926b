//! A directory on any database that runs operations.
//!
//! A change is a comparison and a write in one statement, so that of two from one generation one
//! takes effect. Its audit names the generation that it made: a change that comes again is told it.

use futures_util::future::BoxFuture;

use super::{
    Bind, Database, LedgerError, LedgerErrorKind, Session, Statement, append::audit_row,
    encode as columns, invalid, schema, text,
};
use crate::{
    Generation, Requester, Subject, UnixMillis,
    directory::{
        AssignedQuery, Begun, Directory, Entries, Entry, EntryChange, KeptAnswer, KeyClaim,
        PlansChange, Replaced, StoredPlans, WindowInForce,
    },
    ledger::{Audit, Page},
};

mod encode;
mod entries;
mod in_force;
mod keys;
mod plans;

pub(super) use self::entries::empty;
#[cfg(test)]
pub(in crate::ledger) use self::entries::{assigned, entries};

impl<D: Database> Directory for D {
    fn entries<'a>(
        &'a self,
        requester: &'a Requester,
    ) -> BoxFuture<'a, Result<Entries, LedgerError>> {
        self.read(entries::OfRequester(requester.clone()))
    }

    fn entry<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Entry, LedgerError>> {
        self.read(entries::OfSubject(subject.clone()))
    }

    fn replace<'a>(
        &'a self,
        change: &'a EntryChange,
    ) -> BoxFuture<'a, Result<Replaced, LedgerError>> {
        self.write(change.clone())
    }

    fn assigned<'a>(
        &'a self,
        query: &'a AssignedQuery,
    ) -> BoxFuture<'a, Result<Page<Subject, Subject>, LedgerError>> {
        self.read(query.clone())
    }

    fn plans(&self) -> BoxFuture<'_, Result<StoredPlans, LedgerError>> {
        self.read(plans::All)
    }

    fn change_plans<'a>(
        &'a self,
        change: &'a PlansChange,
    ) -> BoxFuture<'a, Result<Replaced, LedgerError>> {
        self.write(change.clone())
    }

    fn put_in_force(
        &self,
        windows: Vec<WindowInForce>,
        now: UnixMillis,
    ) -> BoxFuture<'_, Result<Vec<UnixMillis>, LedgerError>> {
        self.write(in_force::PutInForce { windows, now })
    }

    fn begin<'a>(&'a self, claim: &'a KeyClaim) -> BoxFuture<'a, Result<Begun, LedgerError>> {
        self.write(keys::Begin(claim.clone()))
    }

    fn finish<'a>(
        &'a self,
        claim: &'a KeyClaim,
        answer: &'a KeptAnswer,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.write(keys::Finish(claim.clone(), answer.clone()))
    }

    fn abandon<'a>(&'a self, claim: &'a KeyClaim) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.write(keys::Abandon(claim.clone()))
    }
}

/// The generation that a change made which came before; `None` if it did not.
///
/// A change of something else that has the same id by mistake is refused: told that it was made, it
/// would be lost.
async fn made<S: Session>(
    session: &mut S,
    audit: &Audit,
) -> Result<Option<Generation>, LedgerError> {
    let statement = Statement::new(
        "SELECT generation, action, tenant, target_kind, target FROM audits WHERE id = ?1",
        vec![Bind::Id(audit.id)],
    );
    let found = session.rows(&statement, |row| {
        let about = (
            text::read(row, 1)?,
            columns::tenant(row, 2)?,
            row.text(3)?,
            text::read(row, 4)?,
        );
        Ok((row.optional_integer(0)?, about))
    });
    let Some((generation, (action, tenant, kind, name))) = found.await?.pop() else {
        return Ok(None);
    };
    let is_same = action == audit.action
        && tenant == audit.tenant
        && kind == audit.target.kind()
        && name == audit.target.name();
    match generation.map(u64::try_from) {
        Some(Ok(generation)) if is_same => Ok(Some(Generation(generation))),
        _ => Err(invalid("the id of the audit is that of another act")),
    }
}

/// Keeps the audit of a change that took effect.
async fn audit<S: Session>(
    session: &mut S,
    audit: &Audit,
    generation: i64,
) -> Result<(), LedgerError> {
    let mut row = audit_row(audit)?;
    row.push(Bind::Integer(generation));
    let is_new = session.insert_new(&schema::CHANGES, &[row]).await?;
    if is_new == [true] {
        return Ok(());
    }
    // The same change took effect meanwhile: done again, this one finds it.
    let reason = "the same change is under way";
    Err(LedgerError::new(LedgerErrorKind::Busy, reason))
}

/// A generation as the database has it.
fn integer(generation: Generation) -> Result<i64, LedgerError> {
    i64::try_from(generation.0).map_err(|_| invalid("a generation is too large"))
}

/// The generation that follows.
fn next(generation: i64) -> Result<i64, LedgerError> {
    generation
        .checked_add(1)
        .ok_or_else(|| invalid("a generation is too large"))
}

//! How changes are made: the directory and its audit first, then the counter store, then the answer.

use std::{sync::Arc, time::Duration};

use quota_store::{
    Act, Administered, Generation, Operation, OperationId, StoreError, Subject, UnixMillis,
    directory::{Entries, Entry, EntryChange, Replaced},
    ledger::{Audit, Batch, Ledger, LedgerError, Target},
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    AdminError, Administration, Doing, json,
    position::{requester_of, scope_of},
};

/// How often a change is worked out anew because somebody else changed the same.
pub(super) const MAX_CONFLICTS: usize = 32;

/// How long the store, or the ledger, is given before it is asked once more.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(300),
    Duration::from_millis(600),
];

/// How long a ledger that does not take a record is left alone, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An id that follows from another one, so that what is done again has it again.
pub(crate) fn derived(id: Uuid, label: &str) -> Uuid {
    let digest = Sha256::new()
        .chain_update(id.as_bytes())
        .chain_update(label)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// What is changed, and by whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) subject: &'a Subject,
    pub(super) action: &'static str,
    pub(super) doing: &'a Doing,
}

impl Change<'_> {
    /// The audit that tells of it.
    pub(super) fn audit(&self, at: UnixMillis, before: Value, after: Value) -> Audit {
        let (tenant, target) = match self.subject {
            Subject::User { tenant, user } => (tenant.clone(), Target::User(user.clone())),
            Subject::Tenant(tenant) => (Some(tenant.clone()), Target::Tenant),
        };
        Audit {
            id: self.doing.id,
            at,
            actor: self.doing.actor.clone(),
            tenant,
            target,
            action: self.action.to_owned(),
            before,
            after,
            reason: self.doing.reason.clone(),
            idempotency_key: self.doing.idempotency_key.clone(),
        }
    }
}

impl Administration {
    /// What the directory knows of a subject and its tenant.
    pub(super) async fn entries(&self, subject: &Subject) -> Result<Entries, AdminError> {
        let requester = requester_of(subject);
        let entries = self.directory()?.entries(&requester).await;
        entries.map_err(AdminError::Ledger)
    }

    /// Replaces what the directory knows of a subject; `None` where somebody else did meanwhile.
    pub(super) async fn replace(
        &self,
        change: Change<'_>,
        before: &Entry,
        after: Entry,
    ) -> Result<Option<Generation>, AdminError> {
        let at = self.shared.store.now();
        let replacing = EntryChange {
            subject: change.subject.clone(),
            audit: change.audit(at, json::entry(before), json::entry(&after)),
            entry: Entry {
                generation: before.generation,
                ..after
            },
        };
        match self.directory()?.replace(&replacing).await {
            Ok(Replaced::Done(generation)) => Ok(Some(generation)),
            Ok(Replaced::Outdated(_)) => Ok(None),
            Err(error) => Err(AdminError::Ledger(error)),
        }
    }

    /// Lets every process know, before its next admission, that a subject changed.
    pub(super) async fn advance(
        &self,
        change: Change<'_>,
        generation: Generation,
    ) -> Result<(), AdminError> {
        let label = format!("generation/{}", generation.0);
        let operation = Operation {
            id: OperationId(derived(change.doing.id, &label)),
            requester: requester_of(change.subject),
            act: Act::AdvanceGeneration(scope_of(change.subject), generation),
        };
        self.administer(&operation).await.map(|_| ())
    }

    /// Lets every process know, before its next admission, that plans changed.
    pub(super) async fn advance_plans(&self, generation: Generation) -> Result<(), AdminError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            match self.shared.store.advance_plans(generation).await {
                Ok(()) => return Ok(()),
                Err(error) => wait(&mut pauses, error).await?,
            }
        }
    }

    /// Does one act, and again where its outcome is not known: it takes effect once.
    pub(super) async fn administer(
        &self,
        operation: &Operation,
    ) -> Result<Administered, AdminError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            match self.shared.store.administer(operation).await {
                Ok(administered) => return Ok(administered),
                Err(error) => wait(&mut pauses, error).await?,
            }
        }
    }

    /// Puts records into the ledger. Where it does not take them in time the answer is an error,
    /// and they go on by themselves.
    pub(super) async fn append(&self, batch: Batch) -> Result<(), AdminError> {
        let Some(ledger) = self.shared.ledger() else {
            return Ok(());
        };
        let appended = append(Arc::clone(ledger), batch).await;
        appended.map_err(AdminError::Ledger)
    }
}

/// Puts records into a ledger. Where it does not take them in time the answer is an error, and they
/// go on by themselves.
pub(crate) async fn append(ledger: Arc<dyn Ledger>, batch: Batch) -> Result<(), LedgerError> {
    let batch = Arc::new(batch);
    let Err(error) = append_once(&*ledger, &batch).await else {
        return Ok(());
    };
    if !error.is_worth_repeating() {
        return Err(error);
    }
    tokio::time::sleep(PAUSES[0]).await;
    let Err(error) = append_once(&*ledger, &batch).await else {
        return Ok(());
    };
    tokio::spawn(append_until_taken(ledger, batch));
    Err(error)
}

async fn wait(
    pauses: &mut impl Iterator<Item = Duration>,
    error: StoreError,
) -> Result<(), AdminError> {
    match pauses.next() {
        Some(pause) if error.kind() != quota_store::StoreErrorKind::Invalid => {
            tokio::time::sleep(pause).await;
            Ok(())
        }
        _ => Err(AdminError::Store(error)),
    }
}

async fn append_once(ledger: &dyn Ledger, batch: &Arc<Batch>) -> Result<(), LedgerError> {
    ledger.append(Arc::clone(batch)).await.map(|_| ())
}

async fn append_until_taken(ledger: Arc<dyn Ledger>, batch: Arc<Batch>) {
    let mut pause = PAUSES[0];
    loop {
        match append_once(&*ledger, &batch).await {
            Ok(()) => return,
            Err(error) if !error.is_worth_repeating() => {
                tracing::error!(
                    target: "quota::ledger",
                    %error,
                    "the ledger refused a record of what an administrator did"
                );
                return;
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Somebody else changed the same again and again.
pub(super) fn too_many_conflicts() -> AdminError {
    AdminError::Conflict(
        "others change the same at the same time; nothing was changed, try again".to_owned(),
    )
}

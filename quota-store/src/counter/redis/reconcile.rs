//! Compares counters with the ledger.
//!
//! A counter may be compared only while nothing of its partition is under way to the ledger: the
//! stream is empty before the ledger is read, and nothing was written to it since. Who compares
//! first learns the last id of the stream, and the script looks at it again.

use super::{
    gather::Answer,
    rebuild::{Hindrance, Keeper, PAGE, PAGE_LENGTH, Step},
    replies,
    script::{Item, Words},
};
use crate::{
    UnixMillis,
    ledger::Balance,
    reconcile::{Difference, Reconciliation, Repair},
};

impl Keeper {
    /// Raises what is too low in one partition, if it is at rest.
    pub(super) async fn mend(&self, partition: u8) {
        let mut found = Reconciliation::default();
        let outcome = self.compare(partition, Repair::Raise, &mut found).await;
        if found.raised > 0 {
            tracing::error!(target: "quota::redis", partition, counters = found.raised,
                "counters said less than the ledger, and were raised: Redis lost some of its data without a trace, or something was charged too late for it"
            );
        }
        if let Err(hindrance) = outcome {
            tracing::debug!(target: "quota::redis", partition, %hindrance, "a partition was not compared with the ledger");
        }
    }

    /// Compares one partition, and raises what is too low where asked to.
    pub(super) async fn compare(
        &self,
        partition: u8,
        repair: Repair,
        found: &mut Reconciliation,
    ) -> Result<(), Hindrance> {
        let Some((now, last_id)) = self.rest(partition).await? else {
            found.skipped.push(partition);
            return Ok(());
        };
        let step = Step {
            partition,
            token: None,
            seen: Some(self.outbox.expected(partition)),
            new: None,
            last_id: &last_id,
            mode: match repair {
                Repair::Report => 'c',
                Repair::Raise => 'r',
            },
        };
        let mut after: Option<Balance> = None;
        loop {
            let ledger = &self.outbox.ledger;
            let page = ledger
                .balances(partition, now, after.as_ref(), PAGE)
                .await?;
            let said = match self.step(&step, &page).await {
                Ok(said) => said,
                Err(Hindrance::Elsewhere) => {
                    found.skipped.push(partition);
                    return Ok(());
                }
                Err(hindrance) => return Err(hindrance),
            };
            note(&page, &said, repair, found);
            match page.last() {
                Some(last) if page.len() == PAGE_LENGTH => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// The store's time and the last id of a partition's stream, where nothing waits in it.
    async fn rest(&self, partition: u8) -> Result<Option<(UnixMillis, String)>, Hindrance> {
        let mut item = Item::new();
        item.keys.push(self.partitions.key(partition, 's'));
        let (head, items) = (Words::default(), std::iter::once(&item));
        let answer = self.link.run(&self.scripts.rest, &head, items).await?;
        let answer = Answer::one(&answer)?;
        let last_id = replies::last_id(&answer)?;
        Ok(last_id.map(|last_id| (UnixMillis::new(answer.now), last_id)))
    }
}

fn note(page: &[Balance], said: &[u64], repair: Repair, found: &mut Reconciliation) {
    for (balance, said) in page.iter().zip(said) {
        found.counters += 1;
        let should = balance.used.get();
        if *said == should {
            continue;
        }
        if *said < should && repair == Repair::Raise {
            found.raised += 1;
        }
        found.add(Difference {
            balance: balance.clone(),
            used: crate::Amount::saturating(*said),
        });
    }
}

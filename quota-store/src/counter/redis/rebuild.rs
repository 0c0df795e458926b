//! Brings counters back from the ledger where Redis lost them.
//!
//! Each partition has an epoch, and the ledger keeps which one it should be. A partition without
//! it serves nothing until its counters say what the ledger says, and has a new epoch then.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::join_all};
use tokio::sync::oneshot;

use super::{
    failure::Failure,
    gather::Answer,
    items,
    keys::{Address, PARTITIONS, Partitions, append_field},
    link::{Link, jittered},
    outbox::{Outbox, reason_of},
    replies,
    script::{Item, LedgerScripts, Words},
};
use crate::{
    Epoch, UnixMillis,
    ledger::{Balance, LedgerError},
    reconcile::ReconcileError,
};

/// How long one process has a partition for itself, from its last step on.
const LOCK: Duration = Duration::from_secs(3);
/// How many counters are written in one step.
pub(super) const PAGE: u32 = 250;
/// How many partitions get their epochs in one step of the ledger.
const TOGETHER: usize = 32;
/// How many partitions are worked on at once.
const AT_ONCE: usize = 16;
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often one partition is compared with the ledger while nothing happens.
const BETWEEN_COMPARISONS: Duration = Duration::from_secs(2);
/// How often after a loss: what relays had in their hands comes into the ledger only now.
const BETWEEN_COMPARISONS_AFTER_A_LOSS: Duration = Duration::from_millis(20);
/// Every partition, twice.
const COMPARISONS_AFTER_A_LOSS: usize = 2 * PARTITIONS;

/// Looks after the epochs of all partitions, and compares their counters with the ledger.
pub(super) struct Keeper {
    pub(super) link: Arc<Link>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) scripts: LedgerScripts,
    pub(super) partitions: Partitions,
    pub(super) memory: Duration,
    /// What this process locks partitions with.
    pub(super) token: String,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

/// Why something is not done yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Hindrance {
    #[error("Redis: {0}")]
    Redis(#[from] Failure),
    #[error("{}", reason_of(.0))]
    Ledger(#[from] LedgerError),
    #[error("another process is doing it")]
    Elsewhere,
}

/// What is there, and what should be.
struct View {
    now: UnixMillis,
    present: Vec<Option<Epoch>>,
    expected: Vec<Option<Epoch>>,
}

/// A partition that serves nothing: the epoch it has, and the one it gets.
#[derive(Clone, Copy)]
struct Damage {
    partition: u8,
    seen: Option<Epoch>,
    new: Epoch,
    is_loss: bool,
}

/// One step of `rebuild.lua`.
pub(super) struct Step<'a> {
    pub(super) partition: u8,
    pub(super) token: Option<&'a str>,
    pub(super) seen: Option<Epoch>,
    pub(super) new: Option<Epoch>,
    pub(super) last_id: &'a str,
    pub(super) mode: char,
}

impl From<Hindrance> for ReconcileError {
    fn from(hindrance: Hindrance) -> Self {
        match hindrance {
            Hindrance::Redis(failure) => Self::Store(failure.into()),
            Hindrance::Ledger(error) => Self::Ledger(error),
            Hindrance::Elsewhere => Self::Store(Failure::of_a_part().into()),
        }
    }
}

impl Keeper {
    /// Works for ever. When everything was right for the first time, `first` hears of it.
    pub(super) async fn run(self: Arc<Self>, first: oneshot::Sender<()>) {
        let mut first = Some(first);
        let mut pause = SHORTEST_PAUSE;
        let mut is_told = false;
        let mut next = rand::random();
        let mut hurry = 0;
        loop {
            self.link.ready().await;
            match self.look_after_all(&mut is_told).await {
                Ok(()) => {
                    if is_told {
                        hurry = COMPARISONS_AFTER_A_LOSS;
                    }
                    (pause, is_told) = (SHORTEST_PAUSE, false);
                    if let Some(first) = first.take() {
                        // Nobody waits where `connect` was dropped or went on.
                        first.send(()).unwrap_or_default();
                    }
                    self.keep_comparing(&mut next, &mut hurry).await;
                    // Many requests ring at once.
                    tokio::time::sleep(jittered(SHORTEST_PAUSE)).await;
                }
                Err(hindrance) => {
                    if !matches!(hindrance, Hindrance::Elsewhere) {
                        tracing::warn!(target: "quota::redis", %hindrance, "counters are not brought back from the ledger yet");
                    }
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Compares one partition after the other until there is something to look after.
    async fn keep_comparing(&self, next: &mut u8, hurry: &mut usize) {
        loop {
            let pause = match hurry {
                0 => BETWEEN_COMPARISONS,
                _ => BETWEEN_COMPARISONS_AFTER_A_LOSS,
            };
            tokio::select! {
                () = self.outbox.alarm.notified() => return,
                () = self.link.broken() => return,
                () = tokio::time::sleep(jittered(pause)) => {}
            }
            *hurry = hurry.saturating_sub(1);
            *next = next.wrapping_add(1);
            self.mend(*next).await;
        }
    }

    async fn look_after_all(&self, is_told: &mut bool) -> Result<(), Hindrance> {
        let view = self.view().await?;
        let mut damaged = Vec::new();
        let mut adopted = Vec::new();
        let mut repaired = 0;
        for (partition, pair) in (0..=u8::MAX).zip(view.present.iter().zip(&view.expected)) {
            match pair {
                (Some(present), Some(expected)) if present == expected => {
                    let known = self.outbox.expected(partition);
                    // Another process brought it back; what this one charged last is lost too.
                    if known != Epoch(0) && known != *present {
                        repaired += 1;
                    }
                    self.outbox.expect(partition, *present);
                }
                // The ledger is new to these counters.
                (Some(present), None) => adopted.push((partition, *present)),
                (seen, expected) => damaged.push(Damage {
                    partition,
                    seen: *seen,
                    new: seen.unwrap_or_else(|| Epoch(rand::random_range(1..=u64::MAX))),
                    is_loss: expected.is_some(),
                }),
            }
        }
        if !adopted.is_empty() {
            self.outbox.ledger.set_epochs(adopted.clone()).await?;
            for (partition, epoch) in adopted {
                self.outbox.expect(partition, epoch);
            }
        }
        let lost = repaired + damaged.iter().filter(|damage| damage.is_loss).count();
        if lost > 0 && !*is_told {
            self.tell(view.now, lost);
            *is_told = true;
        }
        if lost == 0 {
            self.outbox.calm();
        }
        self.rebuild_all(view.now, damaged).await
    }

    fn tell(&self, now: UnixMillis, partitions: usize) {
        let loss = self.outbox.lose(now, partitions);
        metrics::counter!("quota_store_epoch_changes_total").increment(1);
        tracing::error!(target: "quota::redis", partitions, records_at_most = loss.records_at_most,
            "counters were lost: Redis restarted without its data, or was flushed; they are brought back from the ledger, which may lack what was charged last"
        );
    }

    /// Redis first: an epoch that comes later into Redis is in the ledger before.
    async fn view(&self) -> Result<View, Hindrance> {
        let mut item = Item::new();
        for key in self.partitions.each('e') {
            item.keys.push(key);
        }
        let head = Words::default();
        let items = std::iter::once(&item);
        let answer = self.link.run(&self.scripts.look, &head, items).await?;
        let mut now = UnixMillis::new(0);
        let mut present = Vec::with_capacity(PARTITIONS);
        for answer in Answer::all(&answer)? {
            let answer = answer?;
            now = UnixMillis::new(answer.now);
            present.push(replies::epoch(&answer)?);
        }
        let mut expected = vec![None; PARTITIONS];
        for (partition, epoch) in self.outbox.ledger.epochs().await? {
            expected[usize::from(partition)] = Some(epoch);
        }
        Ok(View {
            now,
            present,
            expected,
        })
    }

    async fn rebuild_all(&self, now: UnixMillis, damaged: Vec<Damage>) -> Result<(), Hindrance> {
        let mut outcome = Ok(());
        let (mut partitions, mut counters) = (0, 0);
        for some in damaged.chunks(TOGETHER) {
            let mut epochs = Vec::new();
            for few in some.chunks(AT_ONCE) {
                let restored = few.iter().map(|damage| self.restore(now, damage).boxed());
                let restored: Vec<_> = restored.collect();
                for (damage, restored) in few.iter().zip(join_all(restored).await) {
                    match restored {
                        Ok(count) => {
                            counters += count;
                            epochs.push(*damage);
                        }
                        Err(hindrance) => outcome = Err(hindrance),
                    }
                }
            }
            if epochs.is_empty() {
                continue;
            }
            let written = epochs.iter().map(|damage| (damage.partition, damage.new));
            self.outbox.ledger.set_epochs(written.collect()).await?;
            // Redis last: what it has is in the ledger.
            let served = epochs.iter().map(|damage| self.serve(damage).boxed());
            for served in join_all(served.collect::<Vec<_>>()).await {
                match served {
                    Ok(()) => partitions += 1,
                    Err(hindrance) => outcome = Err(hindrance),
                }
            }
        }
        if partitions > 0 {
            tracing::info!(target: "quota::redis", partitions, counters, "partitions have the counters of the ledger");
        }
        outcome
    }

    /// Gives a partition its epoch, so that it is served.
    async fn serve(&self, damage: &Damage) -> Result<(), Hindrance> {
        let step = self.step_of(damage, Some(damage.new));
        self.step(&step, &[]).await?;
        self.outbox.expect(damage.partition, damage.new);
        Ok(())
    }

    /// Restores all counters of a partition, and says how many there are.
    async fn restore(&self, now: UnixMillis, damage: &Damage) -> Result<usize, Hindrance> {
        let step = self.step_of(damage, None);
        // The lock comes first: what is read before it may be old.
        self.step(&step, &[]).await?;
        let mut count = 0;
        let mut after: Option<Balance> = None;
        loop {
            let ledger = &self.outbox.ledger;
            let page = ledger
                .balances(damage.partition, now, after.as_ref(), PAGE)
                .await?;
            if page.is_empty() {
                return Ok(count);
            }
            self.step(&step, &page).await?;
            count += page.len();
            match page.last() {
                Some(last) if page.len() == PAGE_LENGTH => after = Some(last.clone()),
                _ => return Ok(count),
            }
        }
    }

    fn step_of(&self, damage: &Damage, new: Option<Epoch>) -> Step<'_> {
        Step {
            partition: damage.partition,
            token: Some(&self.token),
            seen: damage.seen,
            new,
            last_id: "",
            mode: 'r',
        }
    }

    /// One step of a rebuild, which must take effect; what each counter said before.
    pub(super) async fn step(
        &self,
        step: &Step<'_>,
        page: &[Balance],
    ) -> Result<Vec<u64>, Hindrance> {
        let mut item = Item::new();
        for letter in ['e', 'l', 's'] {
            item.keys.push(self.partitions.key(step.partition, letter));
        }
        for balance in page {
            let requester = balance.subject.requester();
            let address = Address::of(&self.partitions, &requester);
            address.push_subject(&mut item.keys, balance.counter.scope);
            item.arguments
                .word(|bytes| append_field(bytes, &balance.counter))
                .push(balance.used);
        }
        let mut head = Words::default();
        let lock = step.token.map_or(0, |_| items::duration_millis(LOCK));
        head.push(items::duration_millis(self.memory))
            .push(step.token.unwrap_or_default())
            .push(lock)
            .word(|bytes| items::append_optional_epoch(bytes, step.seen))
            .word(|bytes| items::append_optional_epoch(bytes, step.new))
            .push(step.last_id)
            .push(step.mode)
            .push(page.len());
        let items = std::iter::once(&item);
        let answer = self.link.run(&self.scripts.rebuild, &head, items).await?;
        replies::rebuilt(&Answer::one(&answer)?)?.ok_or(Hindrance::Elsewhere)
    }
}

/// The length of a full page.
pub(super) const PAGE_LENGTH: usize = 250;

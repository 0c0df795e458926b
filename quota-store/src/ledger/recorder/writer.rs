//! The one task that writes.

use std::{ops::ControlFlow, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    Gauges,
    lot::{Item, Lot},
    monotonic_now,
    sampler::Sampler,
    standing::Standing,
};
use crate::ledger::{Attempt, Ledger, LedgerError, LedgerErrorKind};

/// The first pause after a failure, and the longest one, in milliseconds.
const PAUSE_MS: (u64, u64) = (20, 2_000);

/// How often metrics are shown, and minutes looked for that are over.
const TICK: Duration = Duration::from_secs(1);

/// What the task is asked for.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all orders are of the large kind"
)]
pub(super) enum Order {
    Write(Item),
    /// Everything of before, and every note.
    Drain(oneshot::Sender<()>),
}

/// What the task works with.
pub(super) struct Writer {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) notes: mpsc::Receiver<Item>,
    pub(super) standing: Arc<Standing>,
    pub(super) sampler: Arc<Sampler>,
    pub(super) batch: usize,
    pub(super) gauges: Gauges,
}

impl Writer {
    /// Writes until all recorders are gone and nothing is left.
    pub(super) async fn run(mut self) {
        let mut orders = Vec::new();
        let mut sweep_at = monotonic_now() + TICK;
        loop {
            let gathered = self.gather(&mut orders, sweep_at).await;
            let (items, drains) = sort(&mut orders);
            self.write_with_notes(items).await;
            if !drains.is_empty() || gathered.is_break() {
                self.write_all_notes().await;
            }
            for drained in drains {
                // Nobody may wait any more.
                drained.send(()).unwrap_or_default();
            }
            if gathered.is_break() {
                return;
            }
            let now = monotonic_now();
            if sweep_at <= now {
                let over = self.sampler.take_over(now);
                self.write_counts(over).await;
                sweep_at = monotonic_now() + TICK;
            }
        }
    }

    /// Waits until there is something to do. Breaks when nothing more will come.
    async fn gather(&mut self, orders: &mut Vec<Order>, sweep_at: Instant) -> ControlFlow<()> {
        let is_open = self.sampler.is_open();
        tokio::select! {
            biased;
            received = self.orders.recv_many(orders, self.batch) => {
                if received == 0 {
                    return ControlFlow::Break(());
                }
            }
            // Both kinds of senders are gone at the same time; the other branch says so.
            Some(note) = self.notes.recv() => orders.push(Order::Write(note)),
            () = tokio::time::sleep_until(sweep_at), if is_open => {}
        }
        ControlFlow::Continue(())
    }

    /// Writes items, and as many notes as there is room for beside them.
    async fn write_with_notes(&mut self, mut items: Vec<Item>) {
        while items.len() < self.batch
            && let Ok(note) = self.notes.try_recv()
        {
            items.push(note);
        }
        if !items.is_empty() {
            self.write(Lot::new(items)).await;
        }
    }

    /// Writes all notes that wait now, and what was only counted.
    async fn write_all_notes(&mut self) {
        for _ in 0..self.notes.len().div_ceil(self.batch) {
            self.write_with_notes(Vec::new()).await;
        }
        let counts = self.sampler.take_all();
        self.write_counts(counts).await;
    }

    async fn write_counts(&mut self, counts: Vec<Attempt>) {
        let now = monotonic_now();
        let mut counts = counts.into_iter().map(|count| Item::note(count, now));
        loop {
            let some: Vec<_> = counts.by_ref().take(self.batch).collect();
            if some.is_empty() {
                return;
            }
            self.write(Lot::new(some)).await;
        }
    }

    /// Writes a lot, or what is left of it without the records that the ledger refuses.
    async fn write(&self, lot: Lot) {
        let mut lots = vec![lot];
        while let Some(lot) = lots.pop() {
            if let Some(oldest) = lot.oldest() {
                self.standing.set_oldest(oldest);
            }
            let appended = self.append(&lot).await;
            match appended {
                Err(_) if lot.len() > 1 => {
                    let [first, second] = lot.halves();
                    lots.extend([second, first]);
                    continue;
                }
                Ok(()) => {
                    self.standing.remove(lot.charged());
                    lot.written();
                }
                Err(error) => {
                    self.standing.remove(lot.charged());
                    lot.refused(error);
                }
            }
            self.publish();
        }
    }

    /// Shows in the metrics what waits, unless somebody else does.
    fn publish(&self) {
        if self.gauges == Gauges::Recorder {
            self.standing.publish(monotonic_now());
        }
    }

    /// Appends a lot, as often as it takes. Only what is wrong with the lot itself comes back: a
    /// ledger that can't be read either may be mended, and what was charged waits for that.
    async fn append(&self, lot: &Lot) -> Result<(), LedgerError> {
        let mut pause_ms = PAUSE_MS.0;
        let mut failures = 0_u32;
        loop {
            let error = match self.showing(self.append_once(lot)).await {
                Ok(()) => {
                    if failures > 0 {
                        tracing::info!(target: "quota::ledger", failures, "the ledger takes records again");
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == LedgerErrorKind::Invalid => return Err(error),
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            if failures == 1 {
                tracing::error!(
                    target: "quota::ledger",
                    error = &error as &dyn std::error::Error,
                    "the ledger takes no records: they wait, and are sent again"
                );
            } else {
                tracing::debug!(target: "quota::ledger", %error, failures, "the ledger still takes no records");
            }
            // Several processes must not come again at the same time.
            let jittered = rand::random_range(pause_ms / 2..=pause_ms);
            self.showing(tokio::time::sleep(Duration::from_millis(jittered)))
                .await;
            pause_ms = (pause_ms * 2).min(PAUSE_MS.1);
        }
    }

    async fn append_once(&self, lot: &Lot) -> Result<(), LedgerError> {
        let appending = async { self.ledger.append(lot.batch()).await };
        match AssertUnwindSafe(appending).catch_unwind().await {
            Ok(appended) => appended.map(|_| ()),
            Err(_) => Err(LedgerError::new(
                LedgerErrorKind::Unknown,
                "the ledger panicked",
            )),
        }
    }

    /// Waits for something, and keeps the metrics true meanwhile.
    async fn showing<T>(&self, waited_for: impl Future<Output = T>) -> T {
        let mut waited_for = std::pin::pin!(waited_for);
        loop {
            self.publish();
            tokio::select! {
                biased;
                answer = &mut waited_for => return answer,
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }
}

/// Records, and who waits for all of them.
fn sort(orders: &mut Vec<Order>) -> (Vec<Item>, Vec<oneshot::Sender<()>>) {
    let (mut items, mut drains) = (Vec::with_capacity(orders.len()), Vec::new());
    for order in orders.drain(..) {
        match order {
            Order::Write(item) => items.push(item),
            Order::Drain(drained) => drains.push(drained),
        }
    }
    (items, drains)
}

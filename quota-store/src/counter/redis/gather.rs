//! Gathers operations that wait at the same time into one call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    stream::{FuturesUnordered, StreamExt as _},
};
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};

use super::{
    failure::Failure,
    link::Link,
    script::{Item, Script, Words},
};
use crate::StoreErrorKind;

/// The most operations in one call.
pub(super) const MOST_GATHERED: usize = 64;
/// The most calls in flight.
const MOST_CALLS: usize = 4;
/// The most calls in flight before one that is not full waits: the next is under way to Redis
/// while it runs the last.
const PARTIAL_CALLS: usize = 2;
/// How many operations may wait for a call.
const MOST_WAITING: usize = 64 * MOST_GATHERED;

/// What a script answered to one operation; `common.lua` says how it is written.
#[derive(Debug)]
pub(super) struct Answer {
    /// The store's time in milliseconds.
    pub(super) now: u64,
    pub(super) code: u8,
    /// The numbers, then the text.
    pub(super) body: SmallVec<[u8; 40]>,
}

impl Answer {
    const UNREADABLE: u8 = 255;
    const NOT_SERVING: u8 = 254;

    /// Takes an answer of a script apart.
    pub(super) fn all(
        answer: &[u8],
    ) -> Result<impl Iterator<Item = Result<Self, Failure>>, Failure> {
        let (now, mut rest) = answer
            .split_first_chunk()
            .ok_or_else(|| Failure::unreadable("its time"))?;
        let now = u64::from_le_bytes(*now);
        Ok(std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let item = split_item(&mut rest).ok_or_else(|| Failure::unreadable("whole items"));
            Some(item.and_then(|(code, body)| {
                Self {
                    now,
                    code,
                    body: body.into(),
                }
                .readable()
            }))
        }))
    }

    /// Takes the answer to one operation apart.
    pub(super) fn one(answer: &[u8]) -> Result<Self, Failure> {
        Self::all(answer)?
            .next()
            .unwrap_or_else(|| Err(Failure::unreadable("an item")))
    }

    fn readable(self) -> Result<Self, Failure> {
        if self.code == Self::UNREADABLE {
            let text = String::from_utf8_lossy(&self.body);
            return Err(Failure::new(
                StoreErrorKind::Corrupt,
                format!("Redis holds something unreadable: {text:?}"),
            ));
        }
        if self.code == Self::NOT_SERVING {
            return Err(Failure::of_a_part());
        }
        Ok(self)
    }
}

/// The code and the body of the next item.
fn split_item<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (length, after) = rest.split_first_chunk()?;
    let (item, after) = after.split_at_checked(u16::from_le_bytes(*length).into())?;
    *rest = after;
    item.split_first().map(|(code, body)| (*code, body))
}

/// Whether an operation was sent, as the one who waits and the one who sends both must know.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim(Arc<AtomicU8>);

impl Claim {
    const WAITING: u8 = 0;
    const SENT: u8 = 1;
    const GIVEN_UP: u8 = 2;
    const REPEATED: u8 = 3;

    // Relaxed throughout: the swap decides, and nothing else is ordered by it.
    fn send(&self) -> bool {
        self.0.swap(Self::SENT, Ordering::Relaxed) != Self::GIVEN_UP
    }

    /// Makes it ready for another send, after the last one was answered.
    pub(super) fn renew(&self) {
        self.0.store(Self::WAITING, Ordering::Relaxed);
    }

    /// Makes it ready for another send, while the last one may still take effect.
    pub(super) fn repeat(&self) {
        self.0.store(Self::REPEATED, Ordering::Relaxed);
    }

    /// Keeps it from being sent; fails where it has been.
    fn give_up(&self) -> bool {
        self.0.swap(Self::GIVEN_UP, Ordering::Relaxed) == Self::WAITING
    }

    /// Waits for what is done under this claim, for so long.
    // No `async fn`: it would hold the work twice.
    pub(super) fn within<T>(
        &self,
        timeout: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> impl Future<Output = Result<T, Failure>> {
        tokio::time::timeout(timeout, work).map(|outcome| match outcome {
            Ok(outcome) => outcome,
            Err(_) if self.give_up() => Err(Failure::unreachable()),
            Err(_) => Err(Failure::unknown()),
        })
    }

    /// Marks as sent what goes out without being gathered.
    pub(super) fn sent() -> Self {
        Self(Arc::new(AtomicU8::new(Self::SENT)))
    }
}

#[derive(Debug)]
struct Job {
    item: Item,
    claim: Claim,
    reply: oneshot::Sender<Result<Answer, Failure>>,
}

/// The door to a task that sends operations.
#[derive(Debug)]
pub(super) struct Gatherer(mpsc::Sender<Job>);

impl Gatherer {
    /// Starts the task; it ends when the gatherer is dropped and everything was sent.
    pub(super) fn start(
        link: Arc<Link>,
        script: Script,
        head: impl Fn(usize) -> Words + Send + Sync + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        tokio::spawn(send_all(link, script, head, receiver));
        Self(sender)
    }

    /// Sends one operation, alone or with others; its answer is to be waited for.
    pub(super) fn send(&self, item: Item, claim: &Claim) -> Reply {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            item,
            claim: claim.clone(),
            reply,
        };
        match self.0.try_send(job) {
            Ok(()) => Reply(Some(answer)),
            Err(_) => Reply(None),
        }
    }
}

/// An answer that is under way; none where too many operations wait already.
#[derive(Debug)]
pub(super) struct Reply(Option<oneshot::Receiver<Result<Answer, Failure>>>);

impl Reply {
    pub(super) async fn wait(self) -> Result<Answer, Failure> {
        let Some(answer) = self.0 else {
            return Err(Failure::new(
                StoreErrorKind::NotServing,
                format!("{MOST_WAITING} operations wait for Redis already"),
            ));
        };
        answer.await.unwrap_or_else(|_| Err(Failure::unknown()))
    }
}

/// Sends at once when hardly a call is in flight, and gathers what comes while some are. Full calls
/// do not wait for each other.
async fn send_all(
    link: Arc<Link>,
    script: Script,
    head: impl Fn(usize) -> Words,
    mut jobs: mpsc::Receiver<Job>,
) {
    let mut calls = FuturesUnordered::new();
    let mut batch: Vec<Job> = Vec::with_capacity(MOST_GATHERED);
    loop {
        let room = MOST_GATHERED - batch.len();
        tokio::select! {
            biased;
            Some(()) = calls.next() => {}
            received = jobs.recv_many(&mut batch, room), if room > 0 => {
                if received == 0 {
                    break;
                }
            }
        }
        let may_send = match batch.len() {
            0 => false,
            MOST_GATHERED => calls.len() < MOST_CALLS,
            _ => calls.len() < PARTIAL_CALLS,
        };
        if may_send {
            let jobs = std::mem::replace(&mut batch, Vec::with_capacity(MOST_GATHERED));
            calls.push(send(&link, &script, &head, jobs));
        }
    }
    calls.push(send(&link, &script, &head, batch));
    while calls.next().await.is_some() {}
}

/// Sends what nobody gave up, whoever still waits for it.
async fn send(link: &Link, script: &Script, head: &impl Fn(usize) -> Words, mut batch: Vec<Job>) {
    batch.retain(|job| job.claim.send());
    if batch.is_empty() {
        return;
    }
    let items = batch.iter().map(|job| &job.item);
    let outcome = link.run(script, &head(batch.len()), items).await;
    reply_all(batch, &outcome);
}

fn reply_all(batch: Vec<Job>, outcome: &Result<Vec<u8>, Failure>) {
    let answers = outcome.as_ref().map_err(Failure::clone);
    match answers.and_then(|answer| Answer::all(answer)) {
        Ok(mut answers) => {
            for job in batch {
                let answer = answers
                    .next()
                    .unwrap_or_else(|| Err(Failure::unreadable("every item")));
                // Whoever asked may have gone.
                drop(job.reply.send(answer));
            }
        }
        Err(failure) => {
            for job in batch {
                drop(job.reply.send(Err(failure.clone())));
            }
        }
    }
}

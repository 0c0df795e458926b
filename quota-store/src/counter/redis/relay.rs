//! Moves what the scripts wrote into the streams to the ledger.
//!
//! Any number of processes do it at once. An entry is delivered to one of them, goes into the
//! ledger, and only then out of the stream; what a process leaves undone another one takes over.
//! Whatever breaks in between, an entry is brought again and never lost, and the ledger takes it
//! once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ::redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection};

use self::entries::{Found, Moved};
use super::{
    connector::Connector,
    failure::Failure,
    keys::Partitions,
    link::{self, jittered},
    outbox::{Outbox, monotonic_now, reason_of},
    script::{Item, LedgerScripts, Script, Words},
};
use crate::{
    StoreErrorKind,
    ledger::{Batch, LedgerErrorKind},
};

mod entries;

/// All processes are one consumer: what was delivered and stays is taken over by its age alone.
const GROUP: &str = "relay";
/// How long an entry may be under way before somebody else takes it.
const TAKEN_OVER_AFTER: Duration = Duration::from_secs(3);
/// How many entries of one stream are read at once.
const READ_AT_ONCE: usize = 64;
/// How many entries go into the ledger in one step.
const BATCH: usize = 500;
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(80);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How long Redis may take: longer than for a request, since nobody waits.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One process' part of the work.
pub(super) struct Relay {
    connector: Connector,
    outbox: Arc<Outbox>,
    streams: Vec<String>,
    aside: Vec<String>,
    places: HashMap<Vec<u8>, usize>,
    acknowledge: Script,
}

impl Relay {
    pub(super) fn new(connector: Connector, outbox: Arc<Outbox>, prefix: &str) -> Self {
        let partitions = Partitions::new(prefix);
        let streams: Vec<String> = partitions.each('s').collect();
        let places = streams
            .iter()
            .enumerate()
            .map(|(place, stream)| (stream.clone().into_bytes(), place))
            .collect();
        Self {
            connector,
            outbox,
            aside: partitions.each('d').collect(),
            places,
            streams,
            acknowledge: LedgerScripts::new().acknowledge,
        }
    }

    /// Works for ever.
    pub(super) async fn run(self) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let since = monotonic_now();
            let failure = match self.open().await {
                Ok(redis) => {
                    let moving = self.keep_moving(redis.clone());
                    tokio::select! {
                        failure = moving => failure,
                        failure = self.keep_looking(redis) => failure,
                    }
                }
                Err(failure) => failure,
            };
            if since.elapsed() > LONGEST_RETRY {
                pause = SHORTEST_PAUSE;
            }
            tell(&failure);
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_RETRY);
        }
    }

    async fn open(&self) -> Result<MultiplexedConnection, Failure> {
        let mut redis = self.connector.open(|| {}).await?;
        redis.set_response_timeout(TIMEOUT);
        Ok(redis)
    }

    /// Moves entries until something fails.
    async fn keep_moving(&self, mut redis: MultiplexedConnection) -> Failure {
        let mut pause = SHORTEST_PAUSE;
        let mut taken_over = None;
        loop {
            let now = monotonic_now();
            let is_due = taken_over.is_none_or(|at| now.duration_since(at) >= TAKEN_OVER_AFTER);
            let found = if is_due {
                self.take_over(&mut redis).await
            } else {
                self.read_new(&mut redis).await
            };
            let found = match found {
                Ok(found) => found,
                Err(error) if error.code() == Some("NOGROUP") => {
                    self.outbox.suspect();
                    match self.make_groups(&mut redis).await {
                        Ok(()) => continue,
                        Err(error) => return error.into(),
                    }
                }
                Err(error) => return error.into(),
            };
            if is_due && found.len() < READ_AT_ONCE {
                taken_over = Some(now);
            }
            for some in found.chunks(BATCH) {
                if let Err(failure) = self.bring(&mut redis, some).await {
                    return failure;
                }
            }
            pause = match found.len() {
                0 => (pause * 2).min(LONGEST_PAUSE),
                // What comes meanwhile goes together.
                1..BATCH => SHORTEST_PAUSE,
                _ => Duration::ZERO,
            };
            tokio::time::sleep(jittered(pause)).await;
            pause = pause.max(SHORTEST_PAUSE);
        }
    }

    /// New streams, or streams that were lost, have no group.
    async fn make_groups(&self, redis: &mut MultiplexedConnection) -> redis::RedisResult<()> {
        let mut pipeline = Pipeline::with_capacity(self.streams.len());
        for stream in &self.streams {
            // From the beginning: what was written before is moved too.
            pipeline
                .cmd("XGROUP")
                .arg("CREATE")
                .arg(stream)
                .arg(GROUP)
                .arg("0")
                .arg("MKSTREAM");
        }
        for answer in all(redis, &pipeline).await? {
            match answer.extract_error() {
                Err(error) if error.code() != Some("BUSYGROUP") => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    async fn read_new(&self, redis: &mut MultiplexedConnection) -> redis::RedisResult<Vec<Found>> {
        let mut command = Cmd::new();
        command
            .arg("XREADGROUP")
            .arg("GROUP")
            .arg(GROUP)
            .arg(GROUP)
            .arg("COUNT")
            .arg(READ_AT_ONCE)
            .arg("STREAMS")
            .arg(&self.streams);
        for _ in &self.streams {
            command.arg(">");
        }
        let answer = redis.send_packed_command(&command).await?.extract_error()?;
        Ok(entries::of_streams(answer, &self.places))
    }

    async fn take_over(&self, redis: &mut MultiplexedConnection) -> redis::RedisResult<Vec<Found>> {
        let mut pipeline = Pipeline::with_capacity(self.streams.len());
        for stream in &self.streams {
            pipeline
                .cmd("XAUTOCLAIM")
                .arg(stream)
                .arg(GROUP)
                .arg(GROUP)
                .arg(TAKEN_OVER_AFTER.as_secs() * 1_000)
                .arg("0-0")
                .arg("COUNT")
                .arg(READ_AT_ONCE);
        }
        let mut found = Vec::new();
        for (place, answer) in all(redis, &pipeline).await?.into_iter().enumerate() {
            entries::of_claim(answer.extract_error()?, place, &mut found);
        }
        Ok(found)
    }

    /// Brings entries to the ledger, however long that takes, and takes them out of the streams.
    async fn bring(
        &self,
        redis: &mut MultiplexedConnection,
        found: &[Found],
    ) -> Result<(), Failure> {
        let mut moved: Vec<Moved<'_>> = found.iter().map(Moved::read).collect();
        let mut waiting: Vec<Vec<usize>> = vec![(0..moved.len()).collect()];
        while let Some(places) = waiting.pop() {
            let batch = batch_of(&moved, &places);
            if batch.attempts.is_empty() && batch.postings.is_empty() {
                continue;
            }
            match self.append(Arc::new(batch)).await {
                Ok(()) => {}
                Err(reason) => {
                    if let [place] = *places {
                        moved[place].refuse(&reason);
                    } else {
                        // The record at fault is found by halves, and the others go on.
                        let (first, second) = places.split_at(places.len() / 2);
                        waiting.extend([first.to_vec(), second.to_vec()]);
                    }
                }
            }
        }
        self.acknowledge(redis, &moved).await
    }

    /// Appends until the ledger takes it, or refuses it for good.
    async fn append(&self, batch: Arc<Batch>) -> Result<(), String> {
        let mut pause = SHORTEST_PAUSE;
        let mut is_told = false;
        loop {
            match self.outbox.ledger.append(Arc::clone(&batch)).await {
                Ok(_) => {
                    if is_told {
                        tracing::info!(target: "quota::ledger", "the ledger takes records again");
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == LedgerErrorKind::Invalid => {
                    return Err(reason_of(&error));
                }
                Err(error) => {
                    if !is_told {
                        tracing::error!(target: "quota::ledger", cause = reason_of(&error),
                            "the ledger takes no records; they wait in Redis, and nothing is lost"
                        );
                        is_told = true;
                    }
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(LONGEST_RETRY);
                }
            }
        }
    }

    async fn acknowledge(
        &self,
        redis: &mut MultiplexedConnection,
        moved: &[Moved<'_>],
    ) -> Result<(), Failure> {
        let mut by_stream: HashMap<usize, (Vec<&str>, Vec<&str>)> = HashMap::new();
        for one in moved {
            let (good, bad) = by_stream.entry(one.found.place).or_default();
            if one.is_refused() { bad } else { good }.push(&one.found.id);
        }
        let items: Vec<Item> = by_stream
            .into_iter()
            .map(|(place, (good, bad))| {
                let mut item = Item::new();
                item.keys
                    .push(&self.streams[place])
                    .push(&self.aside[place]);
                for ids in [good, bad] {
                    item.arguments.push(ids.len());
                    for id in ids {
                        item.arguments.push(id);
                    }
                }
                item
            })
            .collect();
        let mut head = Words::default();
        head.push(GROUP);
        link::run_on(redis, &self.acknowledge, &head, items.iter()).await?;
        Ok(())
    }

    /// Looks once a second how much waits, until something fails.
    async fn keep_looking(&self, mut redis: MultiplexedConnection) -> Failure {
        loop {
            if let Err(error) = self.look(&mut redis).await {
                return error.into();
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn look(&self, redis: &mut MultiplexedConnection) -> redis::RedisResult<()> {
        let charged = self.outbox.charged();
        let mut pipeline = Pipeline::with_capacity(self.streams.len() + 1);
        pipeline.cmd("EXISTS").arg(&self.streams);
        for stream in &self.streams {
            pipeline.cmd("XLEN").arg(stream);
        }
        let mut answers = all(redis, &pipeline).await?.into_iter();
        let there = answers.next().map_or(0, |there| entries::count(&there));
        if there < self.streams.len() {
            // Who moves entries makes them again; until then the last figures stand.
            self.outbox.suspect();
            return Ok(());
        }
        let mut records = 0;
        let mut heads = Pipeline::new();
        heads.cmd("TIME");
        for (stream, answer) in self.streams.iter().zip(answers) {
            let length = entries::count(&answer.extract_error()?);
            if length > 0 {
                records += length;
                heads
                    .cmd("XRANGE")
                    .arg(stream)
                    .arg("-")
                    .arg("+")
                    .arg("COUNT")
                    .arg(1);
            }
        }
        let age = if records > 0 {
            entries::age_of_oldest(all(redis, &heads).await?)
        } else {
            Duration::ZERO
        };
        self.outbox.see(records, age, charged);
        Ok(())
    }
}

/// Requests report an outage, and nothing is lost by it; nobody else reports what the relay may not
/// do.
fn tell(failure: &Failure) {
    if failure.kind == StoreErrorKind::Forbidden {
        tracing::error!(target: "quota::redis", %failure,
            "nothing is brought to the ledger: this user of Redis lacks a right; allow it with ACL SETUSER ... +@stream +del"
        );
    } else {
        tracing::debug!(target: "quota::redis", %failure, "the relay lost Redis");
    }
}

/// All answers of a pipeline, errors among them.
async fn all(
    redis: &mut MultiplexedConnection,
    pipeline: &Pipeline,
) -> redis::RedisResult<Vec<Value>> {
    redis
        .send_packed_commands(pipeline, 0, pipeline.len())
        .await
}

fn batch_of(moved: &[Moved<'_>], places: &[usize]) -> Batch {
    let mut batch = Batch::default();
    for place in places {
        if let Ok(event) = &moved[*place].event {
            event.clone().append_to(&mut batch);
        }
    }
    batch
}

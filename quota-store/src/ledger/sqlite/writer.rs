//! The one thread that writes.

use std::{fs::File, thread};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{LedgerError, LedgerErrorKind, LedgerStartError, Operation};

/// How many operations may wait, and how many share a transaction. More callers wait for room.
const WAITING: usize = 1_024;
const TOGETHER: usize = 256;

/// Hands operations to the thread that writes.
pub(super) struct Writer(mpsc::Sender<Order>);

enum Order {
    Write(Job),
    Close(oneshot::Sender<()>),
}

/// Runs one operation in the open transaction, or answers why that can't be.
type Job = Box<dyn FnOnce(Result<&mut Connection, LedgerError>) -> Option<Reply> + Send>;

/// Answers, once it is known whether the transaction is in the file.
type Reply = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;

impl Writer {
    /// Starts the thread. It ends with the value and keeps the claim until then.
    pub(super) fn start(
        connection: Connection,
        claim: Option<File>,
    ) -> Result<Self, LedgerStartError> {
        let (sender, orders) = mpsc::channel(WAITING);
        thread::Builder::new()
            .name("quota-ledger".to_owned())
            .spawn(move || write(connection, orders, claim))
            .map_err(|error| LedgerError::new(LedgerErrorKind::Unreachable, error))?;
        Ok(Self(sender))
    }

    pub(super) async fn run<O: Operation>(&self, operation: O) -> Result<O::Answer, LedgerError> {
        let (sender, answer) = oneshot::channel();
        let order = Order::Write(job(operation, sender));
        if self.0.send(order).await.is_err() {
            return Err(closed());
        }
        answer.await.map_err(|_| closed())?
    }

    pub(super) async fn close(&self) {
        let (sender, closed) = oneshot::channel();
        // An error means that it is closed already.
        if self.0.send(Order::Close(sender)).await.is_ok() {
            closed.await.unwrap_or_default();
        }
    }
}

fn closed() -> LedgerError {
    LedgerError::new(LedgerErrorKind::Unreachable, "the ledger was closed")
}

fn job<O: Operation>(operation: O, sender: oneshot::Sender<Result<O::Answer, LedgerError>>) -> Job {
    Box::new(move |connection| {
        let answer = connection.and_then(|connection| run_alone(&operation, connection));
        match answer {
            Ok(answer) => Some(Box::new(move |ended| {
                // Nobody may wait any more.
                sender.send(ended.map(|()| answer)).unwrap_or_default();
            })),
            Err(error) => {
                sender.send(Err(error)).unwrap_or_default();
                None
            }
        }
    })
}

/// Runs one operation so that its failure takes nothing of the others along.
fn run_alone<O: Operation>(
    operation: &O,
    connection: &mut Connection,
) -> Result<O::Answer, LedgerError> {
    connection.execute_batch("SAVEPOINT one")?;
    match super::run(operation, connection) {
        Ok(answer) => {
            connection.execute_batch("RELEASE one")?;
            Ok(answer)
        }
        Err(error) => {
            // Where SQLite has rolled everything back by itself there is nothing to go back to.
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK TO one; RELEASE one")?;
            }
            Err(error)
        }
    }
}

fn write(mut connection: Connection, mut orders: mpsc::Receiver<Order>, claim: Option<File>) {
    while let Some(order) = orders.blocking_recv() {
        let mut jobs = Vec::new();
        let mut closing = None;
        let mut next = Some(order);
        while let Some(order) = next {
            match order {
                Order::Write(job) => jobs.push(job),
                Order::Close(done) => {
                    closing = Some(done);
                    break;
                }
            }
            next = if jobs.len() < TOGETHER {
                orders.try_recv().ok()
            } else {
                None
            };
        }
        if !jobs.is_empty() {
            commit_together(&mut connection, jobs);
        }
        if let Some(done) = closing {
            drop(connection);
            drop(claim);
            done.send(()).unwrap_or_default();
            return;
        }
    }
}

/// Runs operations in one transaction, and answers when it is in the file.
fn commit_together(connection: &mut Connection, jobs: Vec<Job>) {
    let began = connection.execute_batch("BEGIN IMMEDIATE");
    let mut broken = began.err().map(LedgerError::from);
    let mut replies = Vec::with_capacity(jobs.len());
    for job in jobs {
        let place = match &broken {
            None => Ok(&mut *connection),
            Some(error) => Err(again(error)),
        };
        replies.extend(job(place));
        if broken.is_none() && connection.is_autocommit() {
            let reason = "SQLite took the whole transaction back";
            broken = Some(LedgerError::new(LedgerErrorKind::Unknown, reason));
        }
    }
    if broken.is_none() {
        let ended = connection.execute_batch("COMMIT");
        broken = ended.err().map(LedgerError::from);
    }
    if !connection.is_autocommit() {
        // What it undoes was not acknowledged; if this fails too, the next begin says so.
        connection.execute_batch("ROLLBACK").unwrap_or_default();
    }
    for reply in replies {
        reply(broken.as_ref().map_or(Ok(()), |error| Err(again(error))));
    }
}

/// The same failure for one more operation.
fn again(error: &LedgerError) -> LedgerError {
    let reason = std::error::Error::source(error).unwrap_or(error);
    LedgerError::new(error.kind(), reason.to_string())
}

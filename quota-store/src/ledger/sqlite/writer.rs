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
    Write(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// One operation that somebody waits for.
trait Job: Send {
    /// Runs it in the open transaction. It may be run again in another one.
    fn run(&mut self, connection: &mut Connection) -> Result<(), LedgerError>;

    /// Answers, once it is known whether the transaction is in the file.
    fn answer(self: Box<Self>, ended: Result<(), LedgerError>);
}

struct Waiting<O: Operation> {
    operation: O,
    answer: Option<O::Answer>,
    sender: oneshot::Sender<Result<O::Answer, LedgerError>>,
}

impl<O: Operation> Job for Waiting<O> {
    fn run(&mut self, connection: &mut Connection) -> Result<(), LedgerError> {
        self.answer = Some(super::run(&self.operation, connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, ended: Result<(), LedgerError>) {
        let Self { answer, sender, .. } = *self;
        let answer = ended.and_then(|()| answer.ok_or_else(closed));
        // Nobody may wait any more.
        sender.send(answer).unwrap_or_default();
    }
}

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
        let (sender, answered) = oneshot::channel();
        let waiting = Waiting {
            operation,
            answer: None,
            sender,
        };
        let order = Order::Write(Box::new(waiting));
        if self.0.send(order).await.is_err() {
            return Err(closed());
        }
        answered.await.map_err(|_| closed())?
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
///
/// If one of them fails, each gets a transaction of its own: savepoints would cost every batch a
/// copy of the pages it changes, and failures are rare.
fn commit_together(connection: &mut Connection, mut jobs: Vec<Box<dyn Job>>) {
    match commit(connection, &mut jobs) {
        Err(_) if jobs.len() > 1 => {
            for mut job in jobs {
                let ended = commit(connection, std::slice::from_mut(&mut job));
                job.answer(ended);
            }
        }
        Ok(()) => jobs.into_iter().for_each(|job| job.answer(Ok(()))),
        Err(error) => {
            if let Some(job) = jobs.pop() {
                job.answer(Err(error));
            }
        }
    }
}

fn commit(connection: &mut Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), LedgerError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let ended = jobs
        .iter_mut()
        .try_for_each(|job| job.run(connection))
        .and_then(|()| Ok(connection.execute_batch("COMMIT")?));
    if !connection.is_autocommit() {
        // It was not acknowledged; if this fails too, the next begin says so.
        connection.execute_batch("ROLLBACK").unwrap_or_default();
    }
    ended
}

//! Clients that never rest.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use super::{Ask, USERS, at_rest, user};
use crate::processes::Node;

/// Clients that ask all processes in turn until it is over.
#[derive(Clone, Default)]
pub(super) struct Load(Arc<State>);

#[derive(Default)]
struct State {
    nodes: Mutex<Vec<Arc<Node>>>,
    is_over: AtomicBool,
    /// Requests that were answered with 200, and whose they were.
    seen: Mutex<Vec<Ask>>,
    /// Requests that were answered with 503.
    refused: AtomicU64,
    clients: Mutex<JoinSet<()>>,
}

impl Load {
    pub(super) fn start(nodes: Vec<Arc<Node>>, clients: u64) -> Self {
        let load = Self::default();
        *load.nodes() = nodes;
        let mut tasks = load.0.clients.lock().unwrap();
        for client in 0..clients {
            tasks.spawn(load.clone().keep_asking(client));
        }
        drop(tasks);
        load
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Ask>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::SeqCst)
    }

    async fn keep_asking(self, client: u64) {
        let mut turn = client;
        while !self.0.is_over.load(Ordering::SeqCst) {
            turn += 1;
            let node = {
                let nodes = self.nodes();
                let place = usize::try_from(turn).unwrap() % nodes.len();
                Arc::clone(&nodes[place])
            };
            let status = if turn.is_multiple_of(4) { 500 } else { 200 };
            let ask = Ask::status(status, &user(turn.wrapping_mul(7) % USERS));
            match node.ask(&ask).await {
                Some(200) => self.seen().push(ask),
                Some(500) => {}
                Some(503) => {
                    self.0.refused.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Some(other) => panic!("{other} for {ask:?}"),
                // It is dead. The others go on.
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Waits until so many more requests were answered with 200.
    pub(super) async fn pass(&self, more: usize) {
        let until = self.seen().len() + more;
        at_rest(|| async {
            let seen = self.seen().len();
            (seen >= until)
                .then_some(())
                .ok_or_else(|| format!("{seen} of {until} answers"))
        })
        .await;
    }

    /// Ends it, and gives what was answered with 200.
    pub(super) async fn end(&self) -> Vec<Ask> {
        self.0.is_over.store(true, Ordering::SeqCst);
        let mut clients = std::mem::take(&mut *self.0.clients.lock().unwrap());
        while let Some(client) = clients.join_next().await {
            client.expect("no client panics");
        }
        self.seen().clone()
    }
}

//! A TCP proxy that does to a connection what networks do.

mod connection;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::processes::free_port;
use connection::Connection;

/// What the proxy does, to the connections that it has and to new ones.
///
/// A *reply* is whatever comes from the server, a *request* whatever goes to it. Delays are in
/// real time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Passes everything on.
    #[default]
    Pass,
    /// Passes requests on and swallows replies. When another fault is set, a connection that
    /// lost a reply is closed.
    DropReplies,
    /// Passes requests on and holds replies back. When another fault is set they are delivered,
    /// late.
    HoldReplies,
    /// Each piece of a reply waits this long.
    DelayReplies(Duration),
    /// Each piece of a request waits this long.
    DelayRequests(Duration),
    /// Passes on this many bytes of replies, counted per connection since this was set, then
    /// resets the connection when there would be one more.
    ResetAfterReplyBytes(u64),
    /// The same for requests: the server sees this many bytes and then the end.
    ResetAfterRequestBytes(u64),
    /// Nothing listens at the address, and the connections there were are reset.
    Refuse,
    /// Connections are accepted, and nothing passes in either direction. What was sent meanwhile
    /// passes when another fault is set.
    BlackHole,
}

/// A proxy in front of one server; dropping it closes all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    orders: watch::Sender<Order>,
    /// The number of the last order that the acceptor has carried out.
    obeyed: watch::Receiver<u64>,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

/// A fault, numbered, so that counts can begin anew with each.
#[derive(Clone, Copy, Debug, Default)]
struct Order {
    number: u64,
    fault: Fault,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    open: AtomicU64,
    request_bytes: AtomicU64,
    reply_bytes: AtomicU64,
    withheld_reply_bytes: AtomicU64,
}

impl FaultProxy {
    /// Listens on a free loopback port and passes everything on to `server`.
    pub async fn start(server: SocketAddr) -> Self {
        let (listener, address) = loop {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            // Another process may have taken the port since.
            if let Ok(listener) = TcpListener::bind(address).await {
                break (listener, address);
            }
        };
        let (orders, inbox) = watch::channel(Order::default());
        let counts = Arc::new(Counts::default());
        let (obeyed_sender, obeyed) = watch::channel(0);
        let acceptor = Acceptor {
            address,
            server,
            orders: inbox,
            obeyed: obeyed_sender,
            counts: Arc::clone(&counts),
        };
        Self {
            address,
            orders,
            obeyed,
            counts,
            accepting: tokio::spawn(acceptor.run(listener)),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Does `fault` from now on: to every byte that is read after this, and with `Refuse` no
    /// connection is accepted any more when this returns.
    pub async fn set(&self, fault: Fault) {
        let mut number = 0;
        self.orders.send_modify(|order| {
            order.number += 1;
            order.fault = fault;
            number = order.number;
        });
        let mut obeyed = self.obeyed.clone();
        obeyed
            .wait_for(|&done| done >= number)
            .await
            .expect("the acceptor runs as long as the proxy");
    }

    /// The connections that were accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// The connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// The bytes that were passed to the server.
    #[must_use]
    pub fn request_bytes(&self) -> u64 {
        self.counts.request_bytes.load(Ordering::Relaxed)
    }

    /// The bytes that were passed to clients.
    #[must_use]
    pub fn reply_bytes(&self) -> u64 {
        self.counts.reply_bytes.load(Ordering::Relaxed)
    }

    /// The bytes that the server sent while replies were swallowed or held back: above zero, it
    /// has carried out a request whose client does not know.
    #[must_use]
    pub fn withheld_reply_bytes(&self) -> u64 {
        self.counts.withheld_reply_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The connections' tasks are owned by this one.
        self.accepting.abort();
    }
}

/// Accepts connections, or refuses them, and owns their tasks.
struct Acceptor {
    address: SocketAddr,
    server: SocketAddr,
    orders: watch::Receiver<Order>,
    obeyed: watch::Sender<u64>,
    counts: Arc<Counts>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
        let mut listener = Some(listener);
        let mut connections = JoinSet::new();
        loop {
            let order = *self.orders.borrow_and_update();
            if order.fault == Fault::Refuse {
                listener = None;
                // Each of them resets itself when it sees the order.
                while connections.join_next().await.is_some() {}
            } else if listener.is_none() {
                let again = TcpListener::bind(self.address).await;
                listener = Some(again.expect("the proxy's port is still free"));
            }
            self.obeyed.send_replace(order.number);
            tokio::select! {
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                accepted = accept(listener.as_ref()) => {
                    self.counts.connections.fetch_add(1, Ordering::Relaxed);
                    let connection =
                        Connection::new(self.orders.clone(), Arc::clone(&self.counts));
                    connections.spawn(connection.run(accepted, self.server));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => loop {
            // An error concerns a client that has gone before it was accepted.
            if let Ok((client, _)) = listener.accept().await {
                return client;
            }
        },
        None => std::future::pending().await,
    }
}

//! One connection through the proxy.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::sleep,
};

use super::{Counts, Fault, Order};

/// Both directions of one connection.
pub(super) struct Connection {
    orders: watch::Receiver<Order>,
    counts: Arc<Counts>,
}

/// How a connection is ended.
#[derive(PartialEq)]
enum End {
    Close,
    Reset,
}

impl Connection {
    pub(super) fn new(orders: watch::Receiver<Order>, counts: Arc<Counts>) -> Self {
        counts.open.fetch_add(1, Ordering::Relaxed);
        Self { orders, counts }
    }

    pub(super) async fn run(mut self, mut client: TcpStream, server: SocketAddr) {
        let mut orders = self.orders.clone();
        let end = tokio::select! {
            end = self.pass_both_ways(&mut client, server) => end,
            _ = orders.wait_for(|order| order.fault == Fault::Refuse) => End::Reset,
        };
        if end == End::Reset {
            // Closing it now sends RST. It fails for a client that is gone, as it may be.
            client.set_zero_linger().ok();
        }
    }

    async fn pass_both_ways(&mut self, client: &mut TcpStream, server: SocketAddr) -> End {
        let is_open = |order: &Order| order.fault != Fault::BlackHole;
        if self.orders.wait_for(is_open).await.is_err() {
            return End::Close;
        }
        let Ok(mut server) = TcpStream::connect(server).await else {
            return End::Reset;
        };
        for stream in [&*client, &server] {
            // It fails for a peer that is gone, which the first read finds out.
            stream.set_nodelay(true).ok();
        }
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let requests = Direction::new(self, &self.counts.request_bytes, to_server);
        let replies = Direction::new(self, &self.counts.reply_bytes, to_client);
        tokio::select! {
            end = requests.pass_requests(from_client) => end,
            end = replies.pass_replies(from_server) => end,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of the two directions.
struct Direction<'a, W> {
    orders: watch::Receiver<Order>,
    counts: &'a Counts,
    passed: &'a AtomicU64,
    /// The order for which bytes were counted last, and how many.
    counted: (u64, u64),
    to: W,
}

impl<'a, W: AsyncWrite + Unpin> Direction<'a, W> {
    fn new(connection: &'a Connection, passed: &'a AtomicU64, to: W) -> Self {
        Self {
            orders: connection.orders.clone(),
            counts: &connection.counts,
            passed,
            counted: (0, 0),
            to,
        }
    }

    async fn pass_requests(mut self, mut from: impl AsyncRead + Unpin) -> End {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let Ok(length) = from.read(&mut buffer).await else {
                return End::Close;
            };
            let Ok(order) = self.order_out_of_the_hole().await else {
                return End::Close;
            };
            if length == 0 {
                // A client may close its half and still wait for the answer, so that the
                // server's end decides.
                self.to.shutdown().await.ok();
                return std::future::pending().await;
            }
            let limit = match order.fault {
                Fault::DelayRequests(delay) => {
                    sleep(delay).await;
                    None
                }
                Fault::ResetAfterRequestBytes(limit) => Some(limit),
                _ => None,
            };
            if let Err(end) = self.pass(&buffer[..length], order, limit).await {
                return end;
            }
        }
    }

    async fn pass_replies(mut self, mut from: impl AsyncRead + Unpin) -> End {
        let mut buffer = vec![0; 16 * 1024];
        let mut held = Vec::new();
        let mut has_lost = false;
        let mut has_ended = false;
        loop {
            let fault = self.orders.borrow_and_update().fault;
            if fault == Fault::DropReplies && !held.is_empty() {
                held.clear();
                has_lost = true;
            } else if fault != Fault::DropReplies && has_lost {
                return End::Close;
            } else if fault != Fault::HoldReplies {
                let late = std::mem::take(&mut held);
                if let Err(end) = self.pass_reply(&late).await {
                    return end;
                }
                if has_ended && fault != Fault::BlackHole {
                    return End::Close;
                }
            }
            let length = tokio::select! {
                read = from.read(&mut buffer), if !has_ended => read.unwrap_or(0),
                changed = self.orders.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return End::Close,
                },
            };
            has_ended = length == 0;
            let reply = &buffer[..length];
            let fault = self.orders.borrow().fault;
            match fault {
                Fault::DropReplies if !has_ended => {
                    self.count_withheld(length);
                    has_lost = true;
                }
                Fault::HoldReplies => {
                    self.count_withheld(length);
                    held.extend_from_slice(reply);
                }
                _ => {
                    if let Err(end) = self.pass_reply(reply).await {
                        return end;
                    }
                }
            }
        }
    }

    async fn pass_reply(&mut self, reply: &[u8]) -> Result<(), End> {
        if reply.is_empty() {
            return Ok(());
        }
        let order = self.order_out_of_the_hole().await?;
        let limit = match order.fault {
            Fault::DelayReplies(delay) => {
                sleep(delay).await;
                None
            }
            Fault::ResetAfterReplyBytes(limit) => Some(limit),
            _ => None,
        };
        self.pass(reply, order, limit).await
    }

    /// Waits as long as nothing may pass, then gives the order in force.
    async fn order_out_of_the_hole(&mut self) -> Result<Order, End> {
        self.orders
            .wait_for(|order| order.fault != Fault::BlackHole)
            .await
            .map(|order| *order)
            .map_err(|_| End::Close)
    }

    /// Passes `bytes` on, or as many of them as `limit` leaves and then asks for the reset.
    async fn pass(&mut self, bytes: &[u8], order: Order, limit: Option<u64>) -> Result<(), End> {
        if self.counted.0 != order.number {
            self.counted = (order.number, 0);
        }
        let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.counted.1));
        let allowed = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let written = self.to.write_all(&bytes[..allowed]).await;
        written.map_err(|_| End::Close)?;
        let count = u64::try_from(allowed).expect("a buffer's length fits in 64 bits");
        self.counted.1 += count;
        self.passed.fetch_add(count, Ordering::Relaxed);
        if allowed < bytes.len() {
            return Err(End::Reset);
        }
        Ok(())
    }

    fn count_withheld(&self, length: usize) {
        let count = u64::try_from(length).expect("a buffer's length fits in 64 bits");
        let withheld = &self.counts.withheld_reply_bytes;
        withheld.fetch_add(count, Ordering::Relaxed);
    }
}

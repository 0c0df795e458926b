//! How often a client may be wrong.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::extract::ConnectInfo;
use http::Extensions;
use quota_layer::ClientAddress;
use quota_store::UnixMillis;

/// How many wrong tokens of one client in a minute are answered as such.
const WRONG_MAX: u32 = 10;

const MINUTE: Duration = Duration::from_mins(1);

/// How many clients are remembered; all others are counted as one.
const CLIENTS_MAX: usize = 1024;

/// Counts wrong tokens by client.
///
/// Only wrong ones are counted and refused, so that nobody can keep a right one out.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<Client, Wrong>>);

/// An address, or the /64 of an IPv6 address; `None` for all that have none or are too many.
type Client = Option<IpAddr>;

#[derive(Debug)]
struct Wrong {
    since: UnixMillis,
    count: u32,
}

impl Throttle {
    /// Counts a wrong token.
    ///
    /// # Errors
    ///
    /// How many seconds the client has to wait where it was wrong too often.
    pub(super) fn count(&self, client: Client, now: UnixMillis) -> Result<(), u64> {
        let mut clients = self.lock();
        let is_over = |wrong: &Wrong| now.saturating_since(wrong.since) >= MINUTE;
        if clients.len() >= CLIENTS_MAX && !clients.contains_key(&client) {
            clients.retain(|_, wrong| !is_over(wrong));
        }
        let is_known = clients.len() < CLIENTS_MAX || clients.contains_key(&client);
        let client = client.filter(|_| is_known);
        let wrong = clients.entry(client).or_insert(Wrong {
            since: now,
            count: 0,
        });
        if is_over(wrong) {
            *wrong = Wrong {
                since: now,
                count: 0,
            };
        }
        wrong.count = wrong.count.saturating_add(1);
        if wrong.count <= WRONG_MAX {
            return Ok(());
        }
        let passed = now.saturating_since(wrong.since);
        Err(MINUTE.saturating_sub(passed).as_secs().max(1))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Client, Wrong>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address of the connection's other end, if it is known.
pub(super) fn client(extensions: &Extensions) -> Client {
    let given = extensions.get().map(|ClientAddress(address)| *address);
    let peer = || {
        let info = extensions.get::<ConnectInfo<SocketAddr>>();
        info.map(|ConnectInfo(address)| address.ip())
    };
    given
        .or_else(peer)
        .map(|address| match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn count(throttle: &Throttle, number: u32, at: UnixMillis) -> Result<(), u64> {
        throttle.count(Some(Ipv4Addr::from_bits(number).into()), at)
    }

    #[test]
    fn a_client_is_throttled_for_the_rest_of_a_minute() {
        let throttle = Throttle::default();
        let at = |seconds: u64| UnixMillis::from_seconds(1_000 + seconds);
        for _ in 0..WRONG_MAX {
            assert_eq!(count(&throttle, 1, at(0)), Ok(()));
        }
        assert_eq!(count(&throttle, 1, at(20)), Err(40));
        assert_eq!(count(&throttle, 2, at(20)), Ok(()));
        assert_eq!(count(&throttle, 1, at(60)), Ok(()));
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory_and_is_throttled_as_one() {
        let throttle = Throttle::default();
        let at = UnixMillis::from_seconds(1_000);
        let most = u32::try_from(CLIENTS_MAX).unwrap();
        let denied = (0..10 * most)
            .filter(|number| count(&throttle, *number, at).is_err())
            .count();
        assert!(throttle.lock().len() <= CLIENTS_MAX + 1);
        assert_eq!(denied, 9 * CLIENTS_MAX - 10);
    }
}

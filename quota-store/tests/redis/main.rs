//! The store on Redis, tried on real servers.

#[cfg(test)]
mod administration;
#[cfg(all(feature = "sqlite", feature = "test-util"))]
#[cfg(test)]
mod contract;
#[cfg(feature = "sqlite")]
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod faults;
#[cfg(feature = "sqlite")]
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod layout;
#[cfg(feature = "sqlite")]
#[cfg(test)]
mod outbox;
#[cfg(test)]
mod protocol;
#[cfg(feature = "sqlite")]
#[cfg(test)]
mod relay;
#[cfg(test)]
mod server;
#[cfg(test)]
mod start;

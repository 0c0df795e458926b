//! The store on Redis, tried on real servers.

#[cfg(test)]
mod administration;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod layout;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod server;
#[cfg(test)]
mod start;

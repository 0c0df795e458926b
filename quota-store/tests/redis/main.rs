//! The store on Redis, tried on real servers.

mod faults;
mod kit;
mod layout;
mod protocol;
mod server;
mod start;

//! The ledgers, tried on real files and servers.

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod sqlite;

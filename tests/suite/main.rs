//! The promises to users, one module for each, run against real servers.

// A test binary is always built with `cfg(test)`; said of a module, it lets its helper functions
// unwrap like the tests themselves.
#[cfg(test)]
mod support_kit;
#[cfg(test)]
mod tidy;

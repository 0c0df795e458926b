//! The promises to users, one module for each, run against real servers.

// A test binary is always built with `cfg(test)`; said of a module, it lets its helper functions
// unwrap like the tests themselves.
#[cfg(test)]
mod docs;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod full_memory;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod protocol_model;
#[cfg(test)]
mod proxy_faults;
#[cfg(test)]
mod redis_faults;
#[cfg(test)]
mod secure_redis;
#[cfg(test)]
mod spine;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod support_kit;
#[cfg(test)]
mod tidy;

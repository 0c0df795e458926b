//! The APIs, asked as clients ask them.

// A test binary is always built with `cfg(test)`; said of a module, it lets its helper functions
// unwrap like the tests themselves.
#[cfg(test)]
mod access;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod mended;
#[cfg(test)]
mod offers;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod parameters;
#[cfg(test)]
mod records;
#[cfg(test)]
mod tenancy;

//! The APIs, asked as clients ask them.

mod access;
mod changes;
mod hostile;
mod keys;
mod kit;
mod openapi;
mod parameters;
mod records;

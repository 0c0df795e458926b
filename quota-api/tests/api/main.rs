//! The APIs, asked as clients ask them.

mod access;
mod kit;
mod openapi;
mod parameters;
mod records;

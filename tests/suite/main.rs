//! Promises to users, one file per promise.

mod protocol_model;

//! A tower layer that reserves quota before a request runs and commits it when the answer is a
//! success.

mod identity;

pub use identity::*;

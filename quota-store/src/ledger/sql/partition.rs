//! Which partition a subject's counters lie in.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The first byte of the SHA-256 of the encoded tenant, or of the user where there is no tenant: the
/// same as in the counter store.
pub(super) fn of(tenant: &str, user: &str) -> u8 {
    let owner = if tenant.is_empty() { user } else { tenant };
    let mut encoded = String::with_capacity(owner.len());
    for byte in owner.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            write!(encoded, "%{byte:02X}").unwrap_or_default();
        }
    }
    Sha256::digest(encoded)[0]
}

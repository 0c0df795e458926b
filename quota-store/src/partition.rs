//! Which partition an owner's counters lie in, the same in every store and ledger.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

/// The partition of an owner, by its encoded id: the first byte of the SHA-256.
pub(crate) fn of(owner: &str) -> u8 {
    Sha256::digest(owner)[0]
}

/// An id with everything but letters, digits and `-._~@` written as `%XX`.
pub(crate) fn encoded(id: &str) -> Cow<'_, str> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
    if id.bytes().all(is_plain) {
        return id.into();
    }
    let mut text = String::new();
    for byte in id.bytes() {
        if is_plain(byte) {
            text.push(char::from(byte));
        } else {
            let digit = |number: u8| char::from(DIGITS[usize::from(number & 15)]);
            text.extend(['%', digit(byte >> 4), digit(byte)]);
        }
    }
    text.into()
}

/// What [`encoded`] made of an id; `None` where it made it of none.
#[cfg(feature = "redis")]
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut id = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, plain) = part.split_at_checked(2)?;
        id.push(u8::from_str_radix(digits, 16).ok()?);
        id.extend_from_slice(plain.as_bytes());
    }
    String::from_utf8(id).ok()
}

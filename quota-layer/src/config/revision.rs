//! What tells one configuration from another.

use std::fmt::{self, Debug, Write};

use sha2::{Digest, Sha256};

/// The first 12 hex digits of the SHA-256 of what is effective.
///
/// `effective` shows its secrets as redacted, so that they are left out.
pub(super) fn revision(effective: &impl Debug) -> String {
    struct Hashed(Sha256);
    impl Write for Hashed {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text);
            Ok(())
        }
    }
    let mut hashed = Hashed(Sha256::new());
    write!(hashed, "{effective:?}").expect("hashing does not fail");
    let digest = hashed.0.finalize();
    digest[..6].iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing into a String does not fail");
        hex
    })
}

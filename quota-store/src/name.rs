//! Names of quotas and plans.

use std::{borrow::Borrow, fmt, sync::Arc};

/// The text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name starts with a-z and goes on with a-z, 0-9 and single `_`, 63 characters at most")]
pub struct InvalidName;

/// Checks `[a-z][a-z0-9_]{0,62}` without `__`, which separates levels in environment variables.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_')
        && !text.contains("__")
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text and makes a name of it.
            ///
            /// # Errors
            ///
            /// [`InvalidName`] where the text is not `[a-z][a-z0-9_]{0,62}` without `__`.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName)
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
    };
}

name! {
    /// The name of a quota, such as `messages`.
    QuotaName
}

name! {
    /// The name of a plan, such as `free`.
    PlanName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_words() {
        for good in [
            "a",
            "messages",
            "api_calls_l3_detect",
            "x9",
            &"a".repeat(63),
        ] {
            assert!(QuotaName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "9a",
            "_a",
            "A",
            "a-b",
            "a__b",
            "é",
            "a b",
            &"a".repeat(64),
        ] {
            assert!(QuotaName::new(bad).is_err(), "{bad}");
        }
    }
}

//! Words, names and plain text.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// Anything that is written as one word, such as a quota or an outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<T>(pub(crate) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WordVisitor(PhantomData))
    }
}

struct WordVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> de::Visitor<'_> for WordVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map(Named).map_err(E::custom)
    }
}

/// A text of people: not blank, at most 1000 bytes, and without control characters but line feeds
/// and tabs.
#[derive(Clone, Debug)]
pub(crate) struct PlainText(pub(crate) String);

impl PlainText {
    /// The longest one, in bytes.
    pub(crate) const BYTES_MAX: usize = 1000;
}

impl FromStr for PlainText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.trim().is_empty() {
            return Err("it is blank: say in a few words why");
        }
        if text.len() > Self::BYTES_MAX {
            return Err("it is longer than 1000 bytes");
        }
        if text
            .chars()
            .any(|c| c.is_control() && !"\n\r\t".contains(c))
        {
            return Err("it holds a control character: only line feeds and tabs may be in it");
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for PlainText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Named::deserialize(deserializer).map(|Named(text)| text)
    }
}

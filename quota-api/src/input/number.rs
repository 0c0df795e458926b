//! Numbers.

use std::{fmt, marker::PhantomData};

use quota_store::Amount;
use serde::{Deserialize, Deserializer, de};

/// How many rows a page has at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) u32);

/// A part of a limit in hundredths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near(pub(crate) u16);

/// An amount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Units(pub(crate) Amount);

impl Default for Size {
    fn default() -> Self {
        Self(50)
    }
}

/// A number that is made from a whole one, written in digits in a query, as a number in a body.
trait Whole: Sized {
    const EXPECTED: &'static str;

    fn new(number: u64) -> Option<Self>;
}

impl Whole for Size {
    const EXPECTED: &'static str = "a whole number from 1 to 1000";

    fn new(number: u64) -> Option<Self> {
        let number = u32::try_from(number).ok()?;
        (1..=1000).contains(&number).then_some(Self(number))
    }
}

impl Whole for Near {
    const EXPECTED: &'static str = "a whole number of percent from 0 to 1000";

    fn new(number: u64) -> Option<Self> {
        let number = u16::try_from(number).ok()?;
        (0..=1000).contains(&number).then_some(Self(number))
    }
}

impl Whole for Units {
    const EXPECTED: &'static str = "a whole number from 0 to 9007199254740991";

    fn new(number: u64) -> Option<Self> {
        Amount::new(number).map(Self)
    }
}

struct WholeVisitor<T>(PhantomData<T>);

impl<T: Whole> de::Visitor<'_> for WholeVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::new(number)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &T::EXPECTED))
    }
}

struct DigitsVisitor<T>(PhantomData<T>);

impl<T: Whole> de::Visitor<'_> for DigitsVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_digits.then(|| text.parse().ok()).flatten();
        number
            .and_then(T::new)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &T::EXPECTED))
    }
}

/// Sizes and percentages come in queries only.
macro_rules! in_digits {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(DigitsVisitor(PhantomData))
            }
        }
    )*};
}

in_digits!(Size, Near);

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(WholeVisitor(PhantomData))
    }
}

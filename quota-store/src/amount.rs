//! Amounts of quota: whole, never negative, exact to the digit.

use std::fmt;

/// A number of units, from 0 to 2^53 - 1.
///
/// The upper bound is the largest integer that JSON readers, Lua and structured header fields
/// all keep exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u64);

impl Amount {
    /// No units.
    pub const ZERO: Self = Self(0);
    /// One unit.
    pub const ONE: Self = Self(1);
    /// The largest amount, 2^53 - 1; `used` and `hard` stop here.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// Makes an amount, or `None` above [`Amount::MAX`].
    #[must_use]
    pub const fn new(units: u64) -> Option<Self> {
        if units <= Self::MAX.0 {
            Some(Self(units))
        } else {
            None
        }
    }

    /// Makes an amount, cut off at [`Amount::MAX`].
    #[must_use]
    pub const fn saturating(units: u64) -> Self {
        if units <= Self::MAX.0 {
            Self(units)
        } else {
            Self::MAX
        }
    }

    /// The number of units.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether there are no units.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` above [`Amount::MAX`].
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        Self::new(self.0 + other.0)
    }

    /// The sum, cut off at [`Amount::MAX`].
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::saturating(self.0 + other.0)
    }

    /// The difference, or zero where it would be negative.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Adds a signed difference, kept between zero and [`Amount::MAX`].
    #[must_use]
    pub const fn saturating_add_signed(self, difference: i64) -> Self {
        Self::saturating(self.0.saturating_add_signed(difference))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u64> for Amount {
    type Error = AmountOutOfRange;

    fn try_from(units: u64) -> Result<Self, AmountOutOfRange> {
        Self::new(units).ok_or(AmountOutOfRange)
    }
}

impl From<Amount> for u64 {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}

/// The number does not fit an [`Amount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount is at most 9007199254740991 (2^53 - 1)")]
pub struct AmountOutOfRange;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_amount_is_exact_and_the_next_is_refused() {
        assert_eq!(Amount::new((1 << 53) - 1), Some(Amount::MAX));
        assert_eq!(Amount::new(1 << 53), None);
        assert_eq!(Amount::MAX.checked_add(Amount::ONE), None);
        assert_eq!(Amount::MAX.saturating_add(Amount::MAX), Amount::MAX);
    }

    #[test]
    fn signed_differences_stop_at_both_ends() {
        assert_eq!(Amount::ONE.saturating_add_signed(i64::MIN), Amount::ZERO);
        assert_eq!(Amount::MAX.saturating_add_signed(i64::MAX), Amount::MAX);
    }
}

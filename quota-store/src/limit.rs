//! Limits: how much of a quota a window holds.

use smallvec::SmallVec;

use crate::{Amount, QuotaName, Scope, Window};

/// How much may be used, if there is a bound at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// At most this much.
    AtMost(Amount),
    /// Counted, and never denied.
    Unlimited,
}

impl Bound {
    /// The amount, or `None` where there is no bound.
    #[must_use]
    pub const fn amount(self) -> Option<Amount> {
        match self {
            Self::AtMost(amount) => Some(amount),
            Self::Unlimited => None,
        }
    }

    /// Whether `total` is within the bound.
    #[must_use]
    pub fn admits(self, total: u64) -> bool {
        self.amount().is_none_or(|most| total <= most.get())
    }
}

/// A whole number of hundredths, such as the 30 of `"30%"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// Makes a percentage.
    #[must_use]
    pub const fn new(hundredths: u16) -> Self {
        Self(hundredths)
    }

    /// The number before the percent sign.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// That part of the amount, rounded down, cut off at [`Amount::MAX`].
    #[must_use]
    pub fn of(self, amount: Amount) -> Amount {
        let part = u128::from(amount.get()) * u128::from(self.0) / 100;
        Amount::saturating(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// Whether `used` is at least that part of `limit`, compared in integers.
    #[must_use]
    pub fn is_reached(self, used: Amount, limit: Amount) -> bool {
        u128::from(used.get()) * 100 >= u128::from(limit.get()) * u128::from(self.0)
    }
}

/// An amount of a quota per window, with what happens around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The span the amount is for.
    pub window: Window,
    /// The amount. Zero means that the plan does not include the quota.
    pub bound: Bound,
    /// How far beyond the limit requests still pass.
    pub grace: Percent,
    /// From which parts of the limit on the user is warned, lowest first.
    pub warn_at: SmallVec<[Percent; 2]>,
}

impl Limit {
    /// The bound that denies: `floor(limit x (100 + grace) / 100)`, at most [`Amount::MAX`].
    #[must_use]
    pub fn hard(&self) -> Bound {
        match self.bound {
            Bound::AtMost(limit) => Bound::AtMost(limit.saturating_add(self.grace.of(limit))),
            Bound::Unlimited => Bound::Unlimited,
        }
    }
}

/// All limits that a plan sets on one quota in one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaLimits {
    /// The quota.
    pub quota: QuotaName,
    /// Whose limits these are.
    pub scope: Scope,
    /// One limit per window, in the order of the file.
    pub limits: Vec<Limit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_hard(limit: u64, grace: u16, expected: u64) {
        let limit = Limit {
            window: Window::Day,
            bound: Bound::AtMost(Amount::new(limit).unwrap()),
            grace: Percent::new(grace),
            warn_at: SmallVec::new(),
        };
        assert_eq!(limit.hard(), Bound::AtMost(Amount::new(expected).unwrap()));
    }

    #[test]
    fn the_hard_limit_is_rounded_down_and_stops_at_the_largest_amount() {
        check_hard(100, 30, 130);
        check_hard(5, 30, 6);
        check_hard(1, 99, 1);
        check_hard(0, 30, 0);
        check_hard(Amount::MAX.get(), 30, Amount::MAX.get());
    }

    #[test]
    fn a_warning_is_reached_at_the_percent_and_not_before() {
        let limit = Amount::new(5).unwrap();
        assert!(!Percent::new(80).is_reached(Amount::new(3).unwrap(), limit));
        assert!(Percent::new(80).is_reached(Amount::new(4).unwrap(), limit));
    }
}

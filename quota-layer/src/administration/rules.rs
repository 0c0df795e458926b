//! What a change of plan does to what was used, in numbers.

use quota_store::{Amount, Bound, UnixMillis, WindowSpan};

/// Each plan's share of the window by time: `floor((old x elapsed + new x left) / length)`.
///
/// `None` for a window without an end. Where one of both is unlimited, so is the window.
pub(super) fn prorated(old: Bound, new: Bound, span: WindowSpan, now: UnixMillis) -> Option<Bound> {
    let end = span.end()?;
    let (Bound::AtMost(old), Bound::AtMost(new)) = (old, new) else {
        return Some(Bound::Unlimited);
    };
    let length = u128::from(end.get() - span.start().get());
    let elapsed = u128::from(now.get().saturating_sub(span.start().get())).min(length);
    let weighed = u128::from(old.get()) * elapsed + u128::from(new.get()) * (length - elapsed);
    let share = u64::try_from(weighed / length).unwrap_or(u64::MAX);
    Some(Bound::AtMost(Amount::saturating(share)))
}

/// What was left of the old limit, added to the new one, beside what was used:
/// `max(old, used) + new`.
pub(super) fn added(old: Bound, used: Amount, new: Bound) -> Bound {
    let (Bound::AtMost(old), Bound::AtMost(new)) = (old, new) else {
        return Bound::Unlimited;
    };
    Bound::AtMost(old.max(used).saturating_add(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(limit: Option<u64>) -> Bound {
        limit.map_or(Bound::Unlimited, |limit| {
            Bound::AtMost(Amount::saturating(limit))
        })
    }

    #[track_caller]
    fn check_prorated(old: Option<u64>, new: Option<u64>, elapsed: u64, expected: Option<u64>) {
        let start = UnixMillis::new(1_000);
        let span = WindowSpan::new(start, UnixMillis::new(1_000 + 30)).unwrap();
        let now = UnixMillis::new(1_000 + elapsed);
        let share = prorated(bound(old), bound(new), span, now);
        assert_eq!(share, Some(bound(expected)));
    }

    #[test]
    fn each_plan_has_its_share_of_the_window_rounded_down() {
        check_prorated(Some(100), Some(1_000), 10, Some(700));
        check_prorated(Some(1_000), Some(100), 10, Some(400));
        check_prorated(Some(5), Some(8), 7, Some(7));
        check_prorated(Some(100), Some(1_000), 0, Some(1_000));
        check_prorated(Some(0), Some(90), 29, Some(3));
    }

    #[test]
    fn what_is_unlimited_on_either_side_stays_unlimited() {
        check_prorated(None, Some(10), 5, None);
        check_prorated(Some(10), None, 5, None);
        assert_eq!(
            added(bound(None), Amount::ZERO, bound(Some(5))),
            Bound::Unlimited
        );
    }

    #[test]
    fn the_largest_amounts_are_not_passed() {
        let most = Amount::MAX.get();
        check_prorated(Some(most), Some(most), 11, Some(most));
        let sum = added(bound(Some(most)), Amount::ZERO, bound(Some(most)));
        assert_eq!(sum, bound(Some(most)));
    }

    #[test]
    fn a_lifetime_has_no_shares() {
        let now = UnixMillis::new(5);
        let share = prorated(bound(Some(1)), bound(Some(2)), WindowSpan::LIFETIME, now);
        assert_eq!(share, None);
    }

    #[test]
    fn what_was_left_is_added_and_what_was_overdrawn_is_not_given_twice() {
        let used = Amount::saturating;
        assert_eq!(
            added(bound(Some(100)), used(30), bound(Some(50))),
            bound(Some(150))
        );
        assert_eq!(
            added(bound(Some(100)), used(130), bound(Some(50))),
            bound(Some(180))
        );
    }
}

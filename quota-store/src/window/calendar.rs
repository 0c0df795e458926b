//! Windows on the calendar of a time zone.
//!
//! A *civil* window (day, week, month, year) begins at the first instant at which the zone's clock
//! shows its first midnight or later. Where the clock jumps over that midnight, this is the instant
//! of the jump; where midnight comes twice, it is the first. A day that the zone left out has no
//! window. As these beginnings follow each other in the order of the dates, no instant is in two
//! windows and none is in no window.
//!
//! A *clock* window (hour, minute, second) begins at a full hour, minute or second of the zone's
//! clock. Where the clock is put forward or back by a part of the unit, one window ends and the
//! next begins there.

use jiff::{
    Timestamp,
    civil::{Date, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};

use super::NEVER;
use crate::{Anchor, UnixMillis, Window, WindowSpan};

#[cfg(test)]
mod tests;

const DAY_SECONDS: i64 = 86_400;

impl Window {
    /// The window of this kind that contains `now`.
    ///
    /// Windows of one kind are contiguous: every instant is in exactly one. The first begins no
    /// earlier than the epoch, and where the calendar ends, with the year 9999, the last has no
    /// end. A zone with daylight saving needs several look-ups in its table: a caller in a hurry
    /// keeps the span until it ends.
    #[must_use]
    pub fn span_at(self, now: UnixMillis, zone: &TimeZone, anchor: Anchor) -> WindowSpan {
        match self {
            // Offsets are whole seconds, so a second is one in every zone.
            Self::Second => fixed_length(now, 0, 1),
            Self::Minute => clock_window(now, zone, 60),
            Self::Hour => clock_window(now, zone, 3_600),
            Self::Day => civil_window(now, zone, Civil::Day),
            Self::Week => civil_window(now, zone, Civil::week(zone, anchor)),
            Self::Month => civil_window(now, zone, Civil::month(zone, anchor)),
            Self::Year => civil_window(now, zone, Civil::year(zone, anchor)),
            Self::Lifetime => WindowSpan::LIFETIME,
            Self::Seconds(seconds) => {
                let origin = match anchor {
                    Anchor::Calendar => 0,
                    Anchor::Subscription(start) => i128::from(start.get()),
                };
                fixed_length(now, origin, i128::from(seconds.get()))
            }
        }
    }
}

/// A span from `start` to before `end` in milliseconds, cut off at the ends of [`UnixMillis`].
fn span(start: i128, end: Option<i128>) -> WindowSpan {
    WindowSpan {
        start: UnixMillis::new(u64::try_from(start).unwrap_or(0)),
        end: end
            .and_then(|end| u64::try_from(end).ok())
            .map_or(NEVER, UnixMillis::new),
    }
}

/// The window of a fixed length, counted from `origin_ms`, that contains `now`.
fn fixed_length(now: UnixMillis, origin_ms: i128, seconds: i128) -> WindowSpan {
    let length_ms = seconds * 1000;
    let now_ms = i128::from(now.get());
    let start = now_ms - (now_ms - origin_ms).rem_euclid(length_ms);
    span(start, Some(start + length_ms))
}

/// The instant on jiff's timeline; the last one where the calendar has ended.
fn timestamp(now: UnixMillis) -> Timestamp {
    i64::try_from(now.get())
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::MAX)
}

// === Clock windows ===

fn clock_window(now: UnixMillis, zone: &TimeZone, unit_seconds: i64) -> WindowSpan {
    if *zone == TimeZone::UTC {
        return fixed_length(now, 0, i128::from(unit_seconds));
    }
    let at = timestamp(now);
    let second = at.as_second();
    let offset = i64::from(zone.to_offset(at).seconds());
    let mut start = second - (second + offset).rem_euclid(unit_seconds);
    let mut end = start + unit_seconds;
    let next_second = Timestamp::from_second(second + 1).unwrap_or(Timestamp::MAX);
    let breaks_unit = |transition: Timestamp| breaks_unit(zone, transition, unit_seconds);
    if let Some(transition) = zone
        .preceding(next_second)
        .map(|transition| transition.timestamp())
        .take_while(|transition| transition.as_second() > start)
        .find(|transition| breaks_unit(*transition))
    {
        start = transition.as_second();
    }
    if let Some(transition) = zone
        .following(at)
        .map(|transition| transition.timestamp())
        .take_while(|transition| transition.as_second() < end)
        .find(|transition| breaks_unit(*transition))
    {
        end = transition.as_second();
    }
    let end = (end <= Timestamp::MAX.as_second()).then(|| i128::from(end) * 1000);
    span(i128::from(start) * 1000, end)
}

/// Whether the zone's clock is moved by a part of the unit at the transition.
fn breaks_unit(zone: &TimeZone, transition: Timestamp, unit_seconds: i64) -> bool {
    let Ok(before) = Timestamp::from_second(transition.as_second() - 1) else {
        return false;
    };
    let moved = zone.to_offset(transition).seconds() - zone.to_offset(before).seconds();
    i64::from(moved) % unit_seconds != 0
}

// === Civil windows ===

/// Which dates begin a window.
#[derive(Clone, Copy, Debug)]
enum Civil {
    Day,
    Week { first: Weekday },
    Month { day: i8 },
    Year { month: i8, day: i8 },
}

impl Civil {
    fn week(zone: &TimeZone, anchor: Anchor) -> Self {
        Self::Week {
            first: billing_date(zone, anchor).map_or(Weekday::Monday, Date::weekday),
        }
    }

    fn month(zone: &TimeZone, anchor: Anchor) -> Self {
        Self::Month {
            day: billing_date(zone, anchor).map_or(1, Date::day),
        }
    }

    fn year(zone: &TimeZone, anchor: Anchor) -> Self {
        let (month, day) =
            billing_date(zone, anchor).map_or((1, 1), |date| (date.month(), date.day()));
        Self::Year { month, day }
    }

    /// The beginning of the window that `date` is in.
    fn begin(self, date: Date) -> Option<Date> {
        match self {
            Self::Day => Some(date),
            Self::Week { first } => {
                let days = i64::from(first.until(date.weekday()));
                date.checked_sub(jiff::Span::new().days(days)).ok()
            }
            Self::Month { day } => {
                let begin = clamped(date.year(), date.month(), day)?;
                if begin <= date {
                    return Some(begin);
                }
                let (year, month) = match date.month() {
                    1 => (date.year() - 1, 12),
                    month => (date.year(), month - 1),
                };
                clamped(year, month, day)
            }
            Self::Year { month, day } => {
                let begin = clamped(date.year(), month, day)?;
                if begin <= date {
                    return Some(begin);
                }
                clamped(date.year() - 1, month, day)
            }
        }
    }

    /// The beginning of the window after the one that begins at `begin`.
    fn next(self, begin: Date) -> Option<Date> {
        match self {
            Self::Day => begin.tomorrow().ok(),
            Self::Week { .. } => begin.checked_add(jiff::Span::new().weeks(1)).ok(),
            Self::Month { day } => match begin.month() {
                12 => clamped(begin.year() + 1, 1, day),
                month => clamped(begin.year(), month + 1, day),
            },
            Self::Year { month, day } => clamped(begin.year() + 1, month, day),
        }
    }
}

/// The date, or the month's last day where the month is shorter.
fn clamped(year: i16, month: i8, day: i8) -> Option<Date> {
    let first = Date::new(year, month, 1).ok()?;
    Date::new(year, month, day.min(first.days_in_month())).ok()
}

/// The date in the zone at which the subscription began.
fn billing_date(zone: &TimeZone, anchor: Anchor) -> Option<Date> {
    match anchor {
        Anchor::Calendar => None,
        Anchor::Subscription(start) => Some(zone.to_datetime(timestamp(start)).date()),
    }
}

fn civil_window(now: UnixMillis, zone: &TimeZone, civil: Civil) -> WindowSpan {
    if let (Civil::Day, true) = (civil, *zone == TimeZone::UTC) {
        return fixed_length(now, 0, i128::from(DAY_SECONDS));
    }
    let at = timestamp(now);
    let Some(mut begin) = civil.begin(zone.to_datetime(at).date()) else {
        return WindowSpan::LIFETIME;
    };
    // Where the clock went back over midnight, the date is that of the window before.
    let end = loop {
        let Some(next) = civil.next(begin) else {
            break None;
        };
        match first_instant(zone, next) {
            Some(instant) if instant <= at => begin = next,
            end => break end,
        }
    };
    let start = first_instant(zone, begin).unwrap_or(Timestamp::UNIX_EPOCH);
    span(
        i128::from(start.as_millisecond()),
        end.map(|end| i128::from(end.as_millisecond())),
    )
}

/// The first instant at which the zone's clock shows midnight of the date, or later.
fn first_instant(zone: &TimeZone, date: Date) -> Option<Timestamp> {
    let midnight = date.to_datetime(jiff::civil::Time::midnight());
    match zone.to_ambiguous_timestamp(midnight).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(midnight).ok()
        }
        AmbiguousOffset::Gap { before, after } => {
            let earlier = after.to_timestamp(midnight).ok()?;
            let latest = before.to_timestamp(midnight).ok()?;
            let jump = zone
                .following(earlier)
                .take_while(|transition| transition.timestamp() <= latest)
                .find(|transition| transition.offset() == after);
            Some(jump.map_or(latest, |transition| transition.timestamp()))
        }
    }
}

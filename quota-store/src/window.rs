//! The spans that limits cover.

use std::{fmt, num::NonZeroU64, str::FromStr};

use crate::UnixMillis;

mod calendar;

/// The kind of span that a flow limit covers before it starts again at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// One second of the clock.
    Second,
    /// One minute of the clock.
    Minute,
    /// One hour of the clock.
    Hour,
    /// One civil day, 23 to 25 hours long where daylight saving begins or ends.
    Day,
    /// One week from Monday to Sunday.
    Week,
    /// One calendar month.
    Month,
    /// One calendar year.
    Year,
    /// All of time: it never starts again.
    Lifetime,
    /// A fixed number of seconds, counted from the epoch or from the anchor.
    Seconds(NonZeroU64),
}

/// Where the windows of a subject begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Anchor {
    /// With the calendar: months on the first, weeks on Monday, durations from the epoch.
    #[default]
    Calendar,
    /// With the subject's billing day: weeks, months and years begin at midnight of that day of
    /// the week, month or year (its last day where the month is shorter); durations are counted
    /// from this instant. Seconds, minutes, hours and days follow the calendar all the same.
    Subscription(UnixMillis),
}

/// One concrete window: from `start`, included, to `end`, excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowSpan {
    start: UnixMillis,
    // `NEVER` for a lifetime, so that every span is compared alike.
    end: UnixMillis,
}

/// An instant that does not come.
const NEVER: UnixMillis = UnixMillis::new(u64::MAX);

impl WindowSpan {
    /// All of time.
    pub const LIFETIME: Self = Self {
        start: UnixMillis::new(0),
        end: NEVER,
    };

    /// A span from `start` to before `end`; `None` where it would be empty.
    #[must_use]
    pub fn new(start: UnixMillis, end: UnixMillis) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// The first instant in it.
    #[must_use]
    pub const fn start(self) -> UnixMillis {
        self.start
    }

    /// The first instant after it; `None` for a lifetime.
    #[must_use]
    pub const fn end(self) -> Option<UnixMillis> {
        if self.end.get() == NEVER.get() {
            None
        } else {
            Some(self.end)
        }
    }

    /// Whether the instant is in it.
    #[must_use]
    pub fn contains(self, now: UnixMillis) -> bool {
        self.start <= now && now < self.end
    }
}

/// The text is not a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a window is second, minute, hour, day, week, month, year, lifetime, or a duration such as `15m`, `3h` or `30d`"
)]
pub struct InvalidWindow;

impl Window {
    /// The words for the windows that have one.
    const WORDS: [(&'static str, Self); 8] = [
        ("second", Self::Second),
        ("minute", Self::Minute),
        ("hour", Self::Hour),
        ("day", Self::Day),
        ("week", Self::Week),
        ("month", Self::Month),
        ("year", Self::Year),
        ("lifetime", Self::Lifetime),
    ];
}

impl FromStr for Window {
    type Err = InvalidWindow;

    fn from_str(text: &str) -> Result<Self, InvalidWindow> {
        if let Some((_, window)) = Self::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*window);
        }
        let (digits, unit_seconds) = match text.as_bytes().last() {
            Some(b's') => (&text[..text.len() - 1], 1),
            Some(b'm') => (&text[..text.len() - 1], 60),
            Some(b'h') => (&text[..text.len() - 1], 3_600),
            Some(b'd') => (&text[..text.len() - 1], 86_400),
            _ => return Err(InvalidWindow),
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidWindow);
        }
        let count: u64 = digits.parse().map_err(|_| InvalidWindow)?;
        let seconds = count.checked_mul(unit_seconds).ok_or(InvalidWindow)?;
        // A hundred years: beyond it the window is a lifetime, and the calendar's range ends.
        let seconds = NonZeroU64::new(seconds)
            .filter(|seconds| seconds.get() <= 36_525 * 86_400)
            .ok_or(InvalidWindow)?;
        Ok(Self::Seconds(seconds))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Seconds(seconds) = self {
            let seconds = seconds.get();
            return match seconds {
                _ if seconds.is_multiple_of(86_400) => write!(f, "{}d", seconds / 86_400),
                _ if seconds.is_multiple_of(3_600) => write!(f, "{}h", seconds / 3_600),
                _ if seconds.is_multiple_of(60) => write!(f, "{}m", seconds / 60),
                _ => write!(f, "{seconds}s"),
            };
        }
        let (word, _) = Self::WORDS
            .iter()
            .find(|(_, window)| window == self)
            .expect("every window but a duration has a word");
        f.write_str(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let shown = text.parse::<Window>().ok().map(|window| window.to_string());
        assert_eq!(shown.as_deref(), expected, "{text}");
    }

    #[test]
    fn windows_are_words_or_durations() {
        check("month", Some("month"));
        check("lifetime", Some("lifetime"));
        check("15m", Some("15m"));
        check("90m", Some("90m"));
        check("120m", Some("2h"));
        check("30d", Some("30d"));
        check("45s", Some("45s"));
        for bad in [
            "",
            "m",
            "0s",
            "-1h",
            "1w",
            "1.5h",
            "months",
            "+5m",
            "99999999999999999999d",
        ] {
            check(bad, None);
        }
    }
}

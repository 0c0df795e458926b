//! Instants.

use std::{fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use quota_store::{UnixMillis, ledger::Span};
use serde::{Deserialize, Deserializer, de};

use crate::problem::Problem;

/// An instant, written in RFC 3339 or as Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct When(pub(crate) UnixMillis);

const EXPECTED: &str = "a time such as 2026-01-31T12:00:00Z, or Unix seconds, from 1970 to 9999; \
     in a query write + as %2B";

/// The end of the year 9999, in Unix seconds.
pub(super) const LAST_SECOND: u64 = 253_402_300_799;

impl When {
    fn from_seconds(seconds: u64) -> Option<Self> {
        (seconds <= LAST_SECOND).then(|| Self(UnixMillis::from_seconds(seconds)))
    }
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text
                .parse()
                .ok()
                .and_then(Self::from_seconds)
                .ok_or(EXPECTED);
        }
        let at: Timestamp = text.parse().map_err(|_| EXPECTED)?;
        let millis = u64::try_from(at.as_millisecond()).map_err(|_| EXPECTED)?;
        Ok(Self(UnixMillis::new(millis)))
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WhenVisitor;

        impl de::Visitor<'_> for WhenVisitor {
            type Value = When;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<When, E> {
                text.parse()
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &EXPECTED))
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<When, E> {
                When::from_seconds(seconds)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(seconds), &EXPECTED))
            }
        }

        deserializer.deserialize_any(WhenVisitor)
    }
}

/// An instant as answers have it; `None` beyond the year 9999.
pub(crate) fn rfc3339(instant: UnixMillis) -> Option<String> {
    let millis = i64::try_from(instant.get()).ok()?;
    Timestamp::from_millisecond(millis)
        .ok()
        .map(|at| at.to_string())
}

/// From `from`, by default `length` before the end, to `to`, by default now.
pub(crate) fn span(
    from: Option<When>,
    to: Option<When>,
    now: UnixMillis,
    length: Duration,
) -> Result<Span, Problem> {
    // What is written at this very millisecond is in it.
    let to = to.map_or(UnixMillis::new(now.get() + 1), |When(to)| to);
    let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let from = from.map_or(
        UnixMillis::new(to.get().saturating_sub(length_ms)),
        |When(from)| from,
    );
    check(Span { from, to })
}

/// From `from`, by default the beginning, to `to`, by default now.
pub(crate) fn whole_span(from: Option<When>, to: Option<When>) -> Result<Span, Problem> {
    let span = Span {
        from: from.map_or(Span::ALL.from, |When(at)| at),
        to: to.map_or(Span::ALL.to, |When(at)| at),
    };
    check(span)
}

/// The whole hours or days of UTC that a time touches.
pub(crate) fn widened(span: Span, unit: Duration) -> Span {
    let unit = u64::try_from(unit.as_millis()).unwrap_or(u64::MAX).max(1);
    let whole = |at: u64| UnixMillis::new(at / unit * unit);
    Span {
        from: whole(span.from.get()),
        to: whole(span.to.get().saturating_add(unit - 1)),
    }
}

fn check(span: Span) -> Result<Span, Problem> {
    if span.from < span.to {
        return Ok(span);
    }
    Err(Problem::parameter("from", "It must be earlier than `to`."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(text: &str, expected: Option<u64>) {
        let at = text.parse::<When>().ok().map(|When(at)| at.get());
        assert_eq!(at, expected, "{text}");
    }

    #[test]
    fn times_are_rfc_3339_or_unix_seconds() {
        check_text("0", Some(0));
        check_text("1767225600", Some(1_767_225_600_000));
        check_text("2026-01-01T00:00:00Z", Some(1_767_225_600_000));
        check_text("2026-01-01T01:00:00.5+01:00", Some(1_767_225_600_500));
        for bad in [
            "",
            "-1",
            "yesterday",
            "2026-01-01",
            "1960-01-01T00:00:00Z",
            "99999999999999999999",
            "1e9",
        ] {
            check_text(bad, None);
        }
    }
}

//! Durations, as they are written.

use std::time::Duration;

use super::{
    findings::{Findings, Problem},
    reader::Item,
};

/// The longest duration: a hundred years, which no sum of two can overflow.
const LONGEST: Duration = Duration::from_hours(36_525 * 24);

/// Reads a whole number and one of the units ms, s, m, h and d.
pub(super) fn parse_duration(text: &str) -> Result<Duration, Problem> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit_millis = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let number = digits.parse::<u64>().ok();
    let (Some(unit_millis), Some(number)) = (unit_millis, number) else {
        return Err(Problem::new(
            format!("`{text}` is not a duration"),
            "write a whole number and a unit, such as \"50ms\", \"30s\", \"15m\" or \"1h\"",
        ));
    };
    number
        .checked_mul(unit_millis)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| {
            Problem::new(
                format!("`{text}` is too long"),
                "a duration is at most a hundred years",
            )
        })
}

/// Reads a duration.
pub(super) fn duration(
    item: &Item<'_>,
    example: &str,
    findings: &mut Findings,
) -> Option<Duration> {
    item.parsed(example, parse_duration, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, millis) in [
            ("50ms", 50),
            ("30s", 30_000),
            ("15m", 900_000),
            ("1h", 3_600_000),
            ("400d", 34_560_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        }
        for bad in ["", "5", "s", "1.5s", "-1s", "5 s", "1w", "99999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}

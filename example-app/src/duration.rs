//! Durations on the command line.

use std::time::Duration;

/// A century and more: what is longer is a slip of the hand.
const LONGEST: Duration = Duration::from_hours(24 * 36_600);

/// Reads `90s`, `30m`, `1h` or `7d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    read(text)
        .filter(|duration| !duration.is_zero() && *duration <= LONGEST)
        .ok_or_else(|| "write a whole number and a unit, such as 90s, 30m, 1h or 7d".to_owned())
}

fn read(text: &str) -> Option<Duration> {
    let digits = text.find(|next: char| !next.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(seconds)
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_make_a_duration() {
        let seconds = |text| parse(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("30m"), Ok(1_800));
        assert_eq!(seconds("1h"), Ok(3_600));
        assert_eq!(seconds("7d"), Ok(604_800));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "1",
            "h",
            "-1h",
            "1.5h",
            "0s",
            "1w",
            "1h ",
            "99999999999999999999d",
            "9999999d",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}

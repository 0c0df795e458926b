//! Amounts and percents, as they are written.

use std::ops::RangeInclusive;

use quota_store::{Amount, Percent};

use super::{
    findings::{Findings, Problem},
    node::Value,
    reader::Item,
};

/// What stands after a number, and what it multiplies by.
const SUFFIXES: [(&str, u64); 9] = [
    ("", 1),
    ("K", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const EXAMPLES: &str = "an amount is a whole number such as 500, 10_000, 50K or 10GiB";

/// Reads digits with `_` between them and a suffix.
pub(super) fn parse_amount(text: &str) -> Result<Amount, Problem> {
    if text.starts_with('-') {
        return Err(negative(text));
    }
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '_'))
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(split);
    let well_formed = !digits.is_empty()
        && !digits.starts_with('_')
        && !digits.ends_with('_')
        && !digits.contains("__");
    let Some((_, factor)) = SUFFIXES
        .iter()
        .find(|(known, _)| well_formed && *known == suffix)
    else {
        return Err(Problem::new(
            format!("`{text}` is not an amount"),
            better_spelling(digits, suffix).unwrap_or_else(|| EXAMPLES.to_owned()),
        ));
    };
    let units = digits
        .replace('_', "")
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .and_then(Amount::new);
    units.ok_or_else(|| too_large(text))
}

/// What was probably meant by a suffix that does not exist.
fn better_spelling(digits: &str, suffix: &str) -> Option<String> {
    if digits.is_empty() {
        return None;
    }
    let word = suffix.trim();
    let mut letters = word.chars();
    let first = letters.next()?.to_ascii_uppercase();
    let rest = letters.as_str();
    if !matches!(first, 'K' | 'M' | 'G' | 'T') {
        return None;
    }
    match rest.to_ascii_lowercase().as_str() {
        "" => Some(format!("write {digits}{first}")),
        "b" => Some(format!("write {digits}{first} or {digits}{first}iB")),
        "i" | "ib" => Some(format!("write {digits}{first}iB")),
        _ => None,
    }
}

fn negative(text: &str) -> Problem {
    Problem::new(format!("`{text}` is negative"), "an amount is 0 or more")
}

fn too_large(text: &str) -> Problem {
    Problem::new(
        format!("`{text}` is too large"),
        "an amount is at most 9007199254740991 (2^53 - 1)",
    )
}

/// Reads an amount from an integer or a text.
pub(super) fn amount(item: &Item<'_>, findings: &mut Findings) -> Option<Amount> {
    let result = match &item.node.value {
        Value::Integer(integer) => match u64::try_from(*integer).map(Amount::new) {
            Ok(Some(amount)) => Ok(amount),
            Err(_) if *integer < 0 => Err(Problem::new(
                format!("`{}` is negative", item.path),
                "an amount is 0 or more",
            )),
            Ok(None) | Err(_) => Err(Problem::new(
                format!("`{}` is too large", item.path),
                "an amount is at most 9007199254740991 (2^53 - 1)",
            )),
        },
        Value::String(text) => parse_amount(text).map_err(|problem| problem.at(&item.path)),
        Value::Float(text) => Err(Problem::new(
            format!("`{}` is an amount, and `{text}` is not whole", item.path),
            EXAMPLES,
        )),
        Value::Boolean(_) | Value::Datetime(_) | Value::List(_) | Value::Table(_) => {
            Err(Problem::new(
                format!("`{}` is an amount, not {}", item.path, item.node.kind()),
                EXAMPLES,
            ))
        }
    };
    findings.keep(item.place(), result)
}

/// Reads a whole number before a percent sign.
pub(super) fn parse_percent(text: &str, range: &RangeInclusive<u16>) -> Result<Percent, Problem> {
    let number = text
        .strip_suffix('%')
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u16>().ok());
    let hint = format!(
        "write a whole percentage from \"{}%\" to \"{}%\"",
        range.start(),
        range.end()
    );
    match number {
        Some(number) if range.contains(&number) => Ok(Percent::new(number)),
        Some(_) => Err(Problem::new(format!("`{text}` is out of range"), hint)),
        None => Err(Problem::new(format!("`{text}` is not a percentage"), hint)),
    }
}

/// Reads a percentage.
pub(super) fn percent(
    item: &Item<'_>,
    range: &RangeInclusive<u16>,
    findings: &mut Findings,
) -> Option<Percent> {
    item.parsed("30%", |text| parse_percent(text, range), findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: u64) {
        assert_eq!(parse_amount(text).map(Amount::get), Ok(expected), "{text}");
    }

    #[track_caller]
    fn check_hint(text: &str, expected: &str) {
        assert_eq!(parse_amount(text).unwrap_err().hint, expected, "{text}");
    }

    #[test]
    fn amounts_have_digits_and_a_suffix() {
        check("0", 0);
        check("10_000", 10_000);
        check("50K", 50_000);
        check("3M", 3_000_000);
        check("2G", 2_000_000_000);
        check("1T", 1_000_000_000_000);
        check("1KiB", 1024);
        check("1MiB", 1_048_576);
        check("10GiB", 10_737_418_240);
        check("1TiB", 1_099_511_627_776);
        check("9007199254740991", 9_007_199_254_740_991);
    }

    #[test]
    fn a_wrong_suffix_tells_the_right_one() {
        check_hint("10GB", "write 10G or 10GiB");
        check_hint("10gb", "write 10G or 10GiB");
        check_hint("10k", "write 10K");
        check_hint("10 M", "write 10M");
        check_hint("10kib", "write 10KiB");
        check_hint("10Mi", "write 10MiB");
        check_hint("ten", EXAMPLES);
        check_hint("1.5K", EXAMPLES);
        check_hint("NaN", EXAMPLES);
        check_hint("1__0", EXAMPLES);
        check_hint("_1", EXAMPLES);
        check_hint("", EXAMPLES);
    }

    #[test]
    fn amounts_from_2_to_the_53_on_are_too_large() {
        for text in ["9007199254740992", "9008T", "99999999999999999999999"] {
            let problem = parse_amount(text).unwrap_err();
            assert_eq!(problem.message, format!("`{text}` is too large"));
        }
    }
}

//! Which language a client wants.

use http::{HeaderMap, header};

/// The best of the languages that there are, by `Accept-Language`; the first where none fits.
pub(crate) fn choose<'a>(headers: &HeaderMap, locales: &'a [String]) -> &'a str {
    let wanted = headers
        .get_all(header::ACCEPT_LANGUAGE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut ranges: Vec<(u32, &str)> = wanted.filter_map(range).collect();
    // Stable, so that what is wanted alike keeps its order.
    ranges.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let fitting = ranges
        .iter()
        .filter(|(weight, _)| *weight > 0)
        .find_map(|(_, tag)| locales.iter().find(|locale| fits(tag, locale)));
    fitting.or(locales.first()).map_or("en", String::as_str)
}

/// A tag with its weight in thousandths.
fn range(text: &str) -> Option<(u32, &str)> {
    let mut parts = text.split(';').map(str::trim);
    let tag = parts.next().filter(|tag| !tag.is_empty())?;
    let weight = parts
        .find_map(|part| part.strip_prefix("q="))
        .map_or(Some(1000), thousandths)?;
    Some((weight, tag))
}

/// `0.8` is 800; at most three digits behind the point (RFC 9110, section 12.4.2).
fn thousandths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let whole: u32 = whole.parse().ok()?;
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u32 = format!("{part:0<3}").parse().ok()?;
    Some((whole * 1000 + part).min(1000)).filter(|_| whole <= 1)
}

/// `fr-CM` fits `fr`, and `fr` fits `fr-CM`.
fn fits(tag: &str, locale: &str) -> bool {
    let primary = |text: &str| text.split('-').next().unwrap_or("").to_ascii_lowercase();
    tag == "*" || primary(tag) == primary(locale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: &str) {
        let locales = ["en".to_owned(), "fr".to_owned()];
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
        assert_eq!(choose(&headers, &locales), expected, "{accept}");
    }

    #[test]
    fn the_language_that_weighs_most_is_chosen() {
        check("fr", "fr");
        check("fr-CM, en;q=0.5", "fr");
        check("en;q=0.5, FR;q=0.501", "fr");
        check("de, fr;q=0.1", "fr");
        check("de, *;q=0.1", "en");
        check("fr;q=0", "en");
        check("nonsense;;;, ;q=2", "en");
        check("", "en");
    }
}

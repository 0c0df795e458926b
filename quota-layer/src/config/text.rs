//! Text that people are shown, in one language or several.

use std::collections::BTreeMap;

use quota_store::Text;

use super::{findings::Findings, node::Value, reader::Item, settings::UnitForms};

/// Reads a text, or a table of texts by language.
pub(super) fn text(item: &Item<'_>, findings: &mut Findings) -> Option<Text> {
    let example = format!("{} = \"Messages\"", item.key());
    let texts = by_language(item, findings, |item, findings| {
        item.words(&example, findings).map(str::to_owned)
    })?;
    Some(Text(texts))
}

/// Reads the words for one unit and several, or a table of them by language.
pub(super) fn unit(
    item: &Item<'_>,
    findings: &mut Findings,
) -> Option<BTreeMap<String, UnitForms>> {
    by_language(item, findings, forms)
}

fn by_language<T>(
    item: &Item<'_>,
    findings: &mut Findings,
    mut read: impl FnMut(&Item<'_>, &mut Findings) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    if !matches!(item.node.value, Value::Table(_)) {
        return read(item, findings).map(|value| BTreeMap::from([(String::new(), value)]));
    }
    let languages = item.table(findings)?.items();
    if languages.is_empty() {
        findings.error(
            item.place(),
            format!("`{}` has no language", item.path),
            "write the text by itself, or by language: { en = \"...\" }",
        );
    }
    let mut texts = BTreeMap::new();
    for (language, item) in languages {
        if !is_language(language) {
            findings.error(
                item.key_place,
                format!("`{language}` is not a language"),
                "use a tag such as en, fr or pt-BR",
            );
        }
        if let Some(value) = read(&item, findings) {
            texts.insert(language.to_owned(), value);
        }
    }
    Some(texts).filter(|texts| !texts.is_empty())
}

/// The usual part of BCP 47: a language, then letters and digits between hyphens.
fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or_default();
    (2..=3).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_lowercase())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

fn forms(item: &Item<'_>, findings: &mut Findings) -> Option<UnitForms> {
    const EXAMPLE: &str = "[\"message\", \"messages\"]";
    let Value::List(nodes) = &item.node.value else {
        let one = item.words("unit = \"message\"", findings)?;
        return Some(UnitForms {
            one: one.to_owned(),
            other: plural(one),
        });
    };
    if nodes.len() != 2 {
        findings.error(
            item.place(),
            format!("`{}` is two words, for one unit and for several", item.path),
            format!("write it like {EXAMPLE}"),
        );
        return None;
    }
    let words: Vec<&str> = item
        .one_or_more()
        .iter()
        .filter_map(|word| word.words(EXAMPLE, findings))
        .collect();
    let [one, other] = words.as_slice() else {
        return None;
    };
    Some(UnitForms {
        one: (*one).to_owned(),
        other: (*other).to_owned(),
    })
}

/// The regular English plural; where it is wrong, the file gives both words.
fn plural(word: &str) -> String {
    let before_last = word.chars().rev().nth(1).unwrap_or('a');
    if let Some(stem) = word.strip_suffix('y')
        && !matches!(before_last, 'a' | 'e' | 'i' | 'o' | 'u')
    {
        return format!("{stem}ies");
    }
    let hisses = ["s", "x", "z", "ch", "sh"];
    if hisses.iter().any(|ending| word.ends_with(ending)) {
        return format!("{word}es");
    }
    format!("{word}s")
}

#[cfg(test)]
mod tests {
    use super::plural;

    #[test]
    fn regular_words_get_their_plural() {
        for (one, other) in [
            ("message", "messages"),
            ("byte", "bytes"),
            ("query", "queries"),
            ("day", "days"),
            ("batch", "batches"),
        ] {
            assert_eq!(plural(one), other);
        }
    }
}

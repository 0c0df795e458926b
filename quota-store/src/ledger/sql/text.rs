//! Text without NUL, which Postgres takes nowhere.
//!
//! NUL is written as `␀0`, and `␀` itself (U+2400) as `␀␀`. Ids of anonymous clients begin with
//! one.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Bind, Fields, LedgerError, unreadable};

const MARK: char = '\u{2400}';

/// As the database has it.
pub(super) fn to_sql(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', MARK]) {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\0' => written.extend([MARK, '0']),
            MARK => written.extend([MARK, MARK]),
            other => written.push(other),
        }
    }
    Cow::Owned(written)
}

/// As it was before [`to_sql`].
pub(super) fn from_sql(text: String) -> String {
    if !text.contains(MARK) {
        return text;
    }
    let mut read = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            MARK => read.push(if letters.next() == Some(MARK) {
                MARK
            } else {
                '\0'
            }),
            other => read.push(other),
        }
    }
    read
}

/// A text that is bound.
pub(super) fn bind(text: &str) -> Bind<'_> {
    Bind::Text(to_sql(text))
}

/// A text that may be missing.
pub(super) fn bind_optional(text: Option<&str>) -> Bind<'_> {
    text.map_or(Bind::Null, bind)
}

/// The empty text stands for no id.
pub(super) fn bind_or_empty(text: Option<&str>) -> Bind<'_> {
    bind(text.unwrap_or_default())
}

/// JSON as the database has it.
pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Bind<'static>, LedgerError> {
    let text = serde_json::to_string(value).map_err(super::invalid)?;
    if !text.contains("\\u0000") && !text.contains(MARK) {
        return Ok(Bind::Json(text));
    }
    let mut value: Value = serde_json::from_str(&text).map_err(super::invalid)?;
    each_text(&mut value, &|text| to_sql(&text).into_owned());
    Ok(Bind::Json(value.to_string()))
}

/// Reads JSON that [`json`] wrote.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, LedgerError> {
    if !text.contains(MARK) {
        return serde_json::from_str(text).map_err(unreadable);
    }
    let mut value: Value = serde_json::from_str(text).map_err(unreadable)?;
    each_text(&mut value, &from_sql);
    serde_json::from_value(value).map_err(unreadable)
}

/// Reads what an application attached, or nothing of what can't be read: JSON may be written deeper
/// than it may be read, and what was charged must stay readable.
pub(super) fn remarks(text: &str) -> Map<String, Value> {
    from_json(text).unwrap_or_else(|error| {
        tracing::error!(
            target: "quota::ledger",
            error = %error,
            "the metadata of an attempt is unreadable; it is left out"
        );
        Map::new()
    })
}

fn each_text(value: &mut Value, change: &dyn Fn(String) -> String) {
    match value {
        Value::String(text) => *text = change(std::mem::take(text)),
        Value::Array(values) => values.iter_mut().for_each(|value| each_text(value, change)),
        Value::Object(fields) => {
            let changed = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                each_text(&mut value, change);
                (change(name), value)
            });
            *fields = changed.collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text column.
pub(super) fn read(row: &dyn Fields, place: usize) -> Result<String, LedgerError> {
    row.text(place).map(from_sql)
}

/// A text column that may be null.
pub(super) fn read_optional(row: &dyn Fields, place: usize) -> Result<Option<String>, LedgerError> {
    Ok(row.optional_text(place)?.map(from_sql))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_and_holds_no_nul() {
        for text in [
            "",
            "a",
            "\0ip:::1",
            "\u{2400}",
            "\u{2400}0",
            "\0\u{2400}\0",
            "x\0",
        ] {
            let written = to_sql(text).into_owned();
            assert!(!written.contains('\0'));
            assert_eq!(from_sql(written), text);
        }
    }

    #[test]
    fn metadata_that_is_too_deep_to_be_read_is_left_out() {
        let deep = (0..200).fold(Value::Null, |value, _| serde_json::json!([value]));
        let Bind::Json(text) = json(&serde_json::json!({ "a": deep })).unwrap() else {
            panic!("JSON is bound as JSON");
        };
        assert_eq!(remarks(&text), Map::new());
        assert_eq!(remarks(r#"{"a":[1]}"#).len(), 1);
    }

    #[test]
    fn json_comes_back_with_every_letter() {
        let value = serde_json::json!({ "a\0": ["\u{2400}", { "b": "\0" }], "c": 1 });
        let Bind::Json(text) = json(&value).unwrap() else {
            panic!("JSON is bound as JSON");
        };
        assert!(!text.contains("u0000"));
        assert_eq!(from_json::<Value>(&text).unwrap(), value);
    }
}

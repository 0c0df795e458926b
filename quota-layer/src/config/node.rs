//! The document as a tree that knows where each part was written.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere in particular: the file as a whole.
    Whole,
    /// Those bytes of the file.
    File(Range<usize>),
    /// The environment variable of that name.
    Variable(String),
    /// Under that path of keys in a plan that the database keeps.
    Body(String),
}

/// A value and its place.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What TOML knows.
#[derive(Clone)]
pub(super) enum Value {
    String(String),
    /// Cut off at the ends of the range, which no key accepts anyway.
    Integer(i128),
    Float(String),
    Boolean(bool),
    Datetime(String),
    List(Vec<Node>),
    Table(Table),
}

/// Keys and values, in the order of the file.
#[derive(Clone, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

/// One key of a table.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) node: Node,
}

/// Where a text that is read comes from.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    File,
    Variable(&'a str),
}

impl Origin<'_> {
    fn place(self, span: Range<usize>) -> Place {
        match self {
            Self::File => Place::File(span),
            Self::Variable(name) => Place::Variable(name.to_owned()),
        }
    }
}

impl Node {
    pub(super) fn from_toml(value: &Spanned<DeValue<'_>>, origin: Origin<'_>) -> Self {
        let place = origin.place(value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Integer(integer) => Value::Integer(
                i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(
                    if integer.as_str().starts_with('-') {
                        i128::MIN
                    } else {
                        i128::MAX
                    },
                ),
            ),
            DeValue::Float(float) => Value::Float(float.as_str().to_owned()),
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| Self::from_toml(item, origin))
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(Table::from_toml(table, origin)),
        };
        Self { place, value }
    }

    /// A value of a plan that the database keeps, at that path of keys.
    pub(super) fn from_json(value: &serde_json::Value, path: &str) -> Self {
        use serde_json::Value as Json;
        let value = match value {
            // What has no value says as much as what is left out.
            Json::Null => Value::Table(Table::default()),
            Json::Bool(boolean) => Value::Boolean(*boolean),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(integer), _) => Value::Integer(integer.into()),
                (None, Some(integer)) => Value::Integer(integer.into()),
                (None, None) => Value::Float(number.to_string()),
            },
            Json::String(text) => Value::String(text.clone()),
            Json::Array(items) => {
                let items = items.iter();
                Value::List(items.map(|item| Self::from_json(item, path)).collect())
            }
            Json::Object(object) => {
                let given = object.iter().filter(|(_, value)| !value.is_null());
                let entries = given.map(|(key, value)| {
                    let path = match path {
                        "" => key.clone(),
                        _ => format!("{path}.{key}"),
                    };
                    Entry {
                        key: key.clone(),
                        node: Self::from_json(value, &path),
                        key_place: Place::Body(path),
                    }
                });
                Value::Table(Table {
                    entries: entries.collect(),
                })
            }
        };
        let place = Place::Body(path.to_owned());
        Self { place, value }
    }

    /// Whether both say the same, wherever they say it.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::String(a), Value::String(b))
            | (Value::Float(a), Value::Float(b))
            | (Value::Datetime(a), Value::Datetime(b)) => a == b,
            (Value::Integer(a), Value::Integer(b)) => a == b,
            (Value::Boolean(a), Value::Boolean(b)) => a == b,
            (Value::List(a), Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.says_the_same(b))
            }
            (Value::Table(a), Value::Table(b)) => {
                a.entries.len() == b.entries.len()
                    && a.entries.iter().all(|entry| {
                        b.get(&entry.key)
                            .is_some_and(|other| entry.node.says_the_same(&other.node))
                    })
            }
            _ => false,
        }
    }

    /// What kind of value it is, with its article.
    pub(super) const fn kind(&self) -> &'static str {
        match self.value {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

impl Table {
    pub(super) fn from_toml(table: &DeTable<'_>, origin: Origin<'_>) -> Self {
        // The parser sorts by key; people read from top to bottom.
        let mut in_order: Vec<_> = table.iter().collect();
        in_order.sort_by_key(|(key, _)| key.span().start);
        let entries = in_order
            .into_iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().clone().into_owned(),
                key_place: origin.place(key.span()),
                node: Node::from_toml(value, origin),
            })
            .collect();
        Self { entries }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

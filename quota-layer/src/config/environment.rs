//! `QUOTA__...` variables, laid over the document.

use toml::de::DeValue;

use super::{
    findings::Findings,
    node::{Entry, Node, Origin, Place, Table, Value},
    source::Source,
};

const PREFIX: &str = "QUOTA__";

/// Puts the value of each variable where its name says.
pub(super) fn apply(source: &Source, document: &mut Table, findings: &mut Findings) {
    let mut variables: Vec<_> = source
        .environment
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    // A table comes before what is in it.
    variables.sort();
    for (name, value) in variables {
        let levels: Vec<String> = name[PREFIX.len()..]
            .split("__")
            .map(str::to_ascii_lowercase)
            .collect();
        if levels.iter().any(String::is_empty) {
            findings.error(
                &Place::Variable(name.clone()),
                format!("`{name}` names no key"),
                "write QUOTA__ and the keys with `__` between them, such as QUOTA__STORE__URL",
            );
            continue;
        }
        if let Err(Blocked { at, is_list }) = put(document, &levels, name, value) {
            let (what, hint) = if is_list {
                (
                    "a list",
                    "replace the list as a whole, with its value in TOML",
                )
            } else {
                ("not a table", "leave out the levels after it")
            };
            findings.error(
                &Place::Variable(name.clone()),
                format!("`{name}` names no key: `{}` is {what}", at.join(".")),
                hint,
            );
        }
    }
}

/// A level of the name is there and cannot hold keys.
struct Blocked {
    at: Vec<String>,
    is_list: bool,
}

fn put(document: &mut Table, levels: &[String], name: &str, value: &str) -> Result<(), Blocked> {
    let Some((last, above)) = levels.split_last() else {
        return Ok(());
    };
    let mut table = document;
    for (depth, level) in above.iter().enumerate() {
        let node = &mut entry(table, level, name).node;
        let is_list = matches!(node.value, Value::List(_));
        let Value::Table(inner) = &mut node.value else {
            return Err(Blocked {
                at: levels[..=depth].to_vec(),
                is_list,
            });
        };
        table = inner;
    }
    let entry = entry(table, last, name);
    entry.key_place = Place::Variable(name.to_owned());
    entry.node = value_of(name, value);
    Ok(())
}

fn entry<'t>(table: &'t mut Table, key: &str, name: &str) -> &'t mut Entry {
    let at = table.entries.iter().position(|entry| entry.key == key);
    let at = at.unwrap_or_else(|| {
        let place = Place::Variable(name.to_owned());
        table.entries.push(Entry {
            key: key.to_owned(),
            key_place: place.clone(),
            node: Node {
                place,
                value: Value::Table(Table::default()),
            },
        });
        table.entries.len() - 1
    });
    &mut table.entries[at]
}

/// TOML where it is TOML, else a text.
fn value_of(name: &str, value: &str) -> Node {
    DeValue::parse(value).map_or_else(
        |_| Node {
            place: Place::Variable(name.to_owned()),
            value: Value::String(value.to_owned()),
        },
        |parsed| Node::from_toml(&parsed, Origin::Variable(name)),
    )
}

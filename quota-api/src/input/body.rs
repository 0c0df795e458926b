//! The body of a request.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::problem::Problem;

/// The largest body that is read.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// Reads a JSON body; the problem names the field at fault.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        let words = error.inner().to_string();
        match missing(&words) {
            Some(name) => Problem::field(format!("{pointer}/{name}"), "It is missing, and needed."),
            None => Problem::field(pointer, format!("It can't be used: {words}.")),
        }
    })?;
    json.end()
        .map_err(|error| Problem::field("", format!("The body is not one JSON value: {error}.")))?;
    Ok(value)
}

fn missing(words: &str) -> Option<&str> {
    let rest = words.strip_prefix("missing field `")?;
    rest.split_once('`').map(|(name, _)| name)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(escaped(key)),
            Segment::Enum { variant } => Some(escaped(variant)),
            Segment::Unknown => None,
        })
        .collect()
}

/// One step of a JSON pointer (RFC 6901).
fn escaped(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

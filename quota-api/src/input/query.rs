//! The query of a request.

use std::collections::BTreeMap;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IntoDeserializer, Visitor, value},
    forward_to_deserialize_any,
};

use crate::{api::Served, problem::Problem};

/// Parameters, of which none is unknown, doubled or wrong.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

/// The same, and `tag.NAME=VALUE` for names that the configuration has.
#[derive(Debug)]
pub(crate) struct QueryWithTags<T> {
    pub(crate) parameters: T,
    pub(crate) tags: BTreeMap<String, String>,
}

/// Nothing: any parameter is a mistake.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// One parameter with its value.
type Pair = (String, String);

impl<S, T> FromRequestParts<S> for Query<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse(pairs(parts.uri.query())?).map(Self)
    }
}

impl<S, T> FromRequestParts<S> for QueryWithTags<T>
where
    S: Send + Sync,
    Served: FromRef<S>,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (tagged, others): (Vec<Pair>, Vec<Pair>) = pairs(parts.uri.query())?
            .into_iter()
            .partition(|(name, _)| name.starts_with("tag."));
        let settings = Served::from_ref(state).settings();
        let mut tags = BTreeMap::new();
        for (name, value) in tagged {
            let tag = name.trim_start_matches("tag.");
            if !settings.tags.iter().any(|known| known == tag) {
                return Err(Problem::parameter(name, no_such_tag(&settings.tags)));
            }
            tags.insert(tag.to_owned(), value);
        }
        let parameters = parse(others)?;
        Ok(Self { parameters, tags })
    }
}

/// What is wrong with the name of a tag that the configuration lacks.
pub(crate) fn no_such_tag(known: &[String]) -> String {
    format!(
        "There is no tag of that name; `[tags] names` has {}.",
        known.join(", ")
    )
}

fn parse<T: DeserializeOwned>(pairs: Vec<Pair>) -> Result<T, Problem> {
    let pairs = pairs.into_iter().map(|(name, value)| (name, Value(value)));
    let query = value::MapDeserializer::<_, value::Error>::new(pairs);
    serde_path_to_error::deserialize(query).map_err(|error| {
        let name = error.path().to_string();
        let detail = format!("It can't be used: {}.", error.inner());
        // A missing parameter is told of at the place where it would be.
        match missing(&detail) {
            Some(missing) => Problem::parameter(missing, "It is missing, and needed."),
            None => Problem::parameter(name, detail),
        }
    })
}

/// The value of a parameter: always text, and there where its name is.
struct Value(String);

impl IntoDeserializer<'_, value::Error> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Value {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, value::Error> {
        visitor.visit_string(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, value::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        let text: value::StringDeserializer<value::Error> = self.0.into_deserializer();
        text.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The name of the parameter that is missing, if that is what serde says.
fn missing(detail: &str) -> Option<String> {
    let (_, rest) = detail.split_once("missing field `")?;
    rest.split_once('`').map(|(name, _)| name.to_owned())
}

fn pairs(query: Option<&str>) -> Result<Vec<Pair>, Problem> {
    let mut pairs: Vec<Pair> = Vec::new();
    let given = query.unwrap_or_default().split('&');
    for pair in given.filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).ok_or_else(|| {
            Problem::parameter("?", "The name of a parameter is not text in UTF-8.")
        })?;
        if pairs.iter().any(|(known, _)| *known == name) {
            return Err(Problem::parameter(name, "It is given twice: give it once."));
        }
        let Some(value) = decode(value) else {
            return Err(Problem::parameter(
                name,
                "Its value is not text in UTF-8 without NUL: percent-encode it.",
            ));
        };
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// Plus signs are spaces, as browsers write them. NUL is in no text that is kept.
fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let text = percent_decode_str(&text).decode_utf8().ok()?;
    // The ids of anonymous clients begin with one.
    let inner = text.strip_prefix('\0').unwrap_or(&text);
    (!inner.contains('\0')).then(|| text.into_owned())
}

//! JSON as a configuration needs it: objects that keep the order of their keys and know of no key
//! given twice.
//!
//! `serde_json` reads; it bounds the nesting by itself. Its own tree would take the last of two
//! equal keys without a word.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The longest configuration, in bytes. The longest known ones name 22,000 classes in a megabyte.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    /// `null`.
    Null,
    /// A truth value.
    Boolean(bool),
    /// A whole number of up to 64 bits.
    Integer(i128),
    /// Any other number.
    Real(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object, in the order of the text.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// What to call the value in a message.
    pub fn describe(&self) -> String {
        match self {
            Json::Null => "null".into(),
            Json::Boolean(value) => value.to_string(),
            Json::Integer(value) => value.to_string(),
            Json::Real(value) => value.to_string(),
            Json::Text(text) => match text.chars().count() {
                0..=40 => format!("{text:?}"),
                _ => format!(
                    "\"{}…\"",
                    text.chars().take(40).collect::<String>().escape_debug()
                ),
            },
            Json::List(_) => "a list".into(),
            Json::Object(_) => "an object".into(),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Real(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object: Vec<(String, Json)> = Vec::new();
        let mut seen = rustc_hash::FxHashSet::default();
        while let Some((key, value)) = entries.next_entry::<String, Json>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("`{key}` is given twice")));
            }
            object.push((key, value));
        }
        Ok(Json::Object(object))
    }
}

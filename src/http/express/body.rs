//! The body of a record that is a whole request by itself.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{self, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::json::{MOST_FIELDS, Text, TextSeed, Value, level_of, message_fits, message_of};
use crate::record::Level;

/// What a JSON body says of its record, as `Params` would where no other source names anything.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body<'a> {
    pub(super) api_key: Option<Cow<'a, str>>,
    pub(super) level: Level,
    pub(super) message: Cow<'a, str>,
}

impl<'a> Body<'a> {
    /// `None` for what is refused, or is no object.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let fields = deserializer.deserialize_map(BodyVisitor).ok()?;
        deserializer.end().ok()?;
        let value = |raw: Option<&'a RawValue>| raw.and_then(Value::of);
        let message = message_of(value(fields.message).or_else(|| value(fields.msg))?).ok()?;
        message_fits(&message).ok()?;
        let level =
            value(fields.level).map_or_else(|| Ok(Level::default()), |value| level_of(&value)).ok()?;
        Some(Self { api_key: value(fields.api_key).map(Value::into_text), level, message })
    }
}

/// Of a repeated field the last.
#[derive(Default)]
struct BodyFields<'a> {
    api_key: Option<&'a RawValue>,
    level: Option<&'a RawValue>,
    message: Option<&'a RawValue>,
    msg: Option<&'a RawValue>,
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = BodyFields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = BodyFields::default();
        let mut count = 0;
        while let Some(Text(name)) = map.next_key_seed(TextSeed)? {
            count += 1;
            if count > MOST_FIELDS {
                return Err(de::Error::custom(format_args!("more than {MOST_FIELDS} fields")));
            }
            let raw = Some(map.next_value::<&RawValue>()?);
            match &*name {
                "api_key" => fields.api_key = raw,
                "level" => fields.level = raw,
                "message" => fields.message = raw,
                "msg" => fields.msg = raw,
                _ => {}
            }
        }
        Ok(fields)
    }
}

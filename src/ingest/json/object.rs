//! Reads the top level of a JSON object over borrowed bytes, without building a tree. A lone
//! surrogate (`"\ud800"`) becomes U+FFFD. Everything else that is not JSON (RFC 8259) is an error.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::ingest::form::PARAMETERS;
use crate::record::Level;

/// Maximum number of members of an object that are kept. The others are counted, because a record has
/// room for few of them.
pub(crate) const MAX_MEMBERS: usize = 4096;

/// A JSON value, as far as parameters distinguish it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A string.
    Text(Cow<'a, str>),
    /// A number, with the digits of the sender.
    Number(&'a str),
    /// `true`, `false`, an object or an array, as JSON text.
    Other(&'a str),
}

impl<'a> Value<'a> {
    /// Returns the value of a JSON text, or `None` for null.
    pub(crate) fn of(raw: &'a RawValue) -> Option<Self> {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'"') => Some(Self::Text(unquote(text))),
            Some(b'-' | b'0'..=b'9') => Some(Self::Number(text)),
            Some(b'n') | None => None,
            Some(_) => Some(Self::Other(text)),
        }
    }

    /// Returns whether the value is an object with members.
    pub(crate) fn is_full_object(&self) -> bool {
        let inside = |text: &&'a str| text.strip_prefix('{').map(str::trim_start);
        matches!(self, Self::Other(text) if inside(text).is_some_and(|inside| !inside.starts_with('}')))
    }

    /// Returns whether the value is the empty text.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }

    /// Returns a string as it is, and any other value as its JSON text. A secret that is not a
    /// string must count as a wrong secret. If it counted as absent, a source of lower precedence
    /// would decide.
    pub(crate) fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text,
            Self::Number(text) | Self::Other(text) => Cow::Borrowed(text),
        }
    }
}

/// The members of the top level, in the order of the text.
#[derive(Debug, Default)]
pub(crate) struct Object<'a> {
    pub(crate) members: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// Number of members past [`MAX_MEMBERS`].
    pub(crate) left_out: usize,
}

impl<'a> Object<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// Fails when the text is not one JSON object.
    pub(crate) fn parse(text: &'a str) -> serde_json::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let object = deserializer.deserialize_map(ObjectVisitor)?;
        deserializer.end()?;
        Ok(object)
    }

    fn push(&mut self, name: Cow<'a, str>, value: &'a RawValue) {
        if self.members.len() < MAX_MEMBERS {
            self.members.push((name, value));
        } else if PARAMETERS.contains(&&*name) {
            // A parameter past the limit takes the place of an earlier one, so their number is bounded.
            let earlier = self.members.iter().skip(MAX_MEMBERS).position(|(field, _)| *field == name);
            match earlier.and_then(|index| self.members.get_mut(MAX_MEMBERS + index)) {
                Some(earlier) => earlier.1 = value,
                None => self.members.push((name, value)),
            }
        } else {
            self.left_out += 1;
        }
    }

    /// Returns the value of a member. If the name is repeated, the last member counts. Null counts
    /// as absent.
    pub(crate) fn get(&self, name: &str) -> Option<Value<'a>> {
        let (_, raw) = self.members.iter().rev().find(|(field, _)| field == name)?;
        Value::of(raw)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Object { members: Vec::with_capacity(4), left_out: 0 };
        while let Some(Text(name)) = map.next_key_seed(TextSeed)? {
            object.push(name, map.next_value::<&RawValue>()?);
        }
        Ok(object)
    }
}

/// Reads a level: a number, the text of a number, or a name.
pub(crate) fn level_of(value: &Value<'_>) -> Result<Level, &'static str> {
    let text = match value {
        Value::Text(text) => text.trim(),
        Value::Number(text) => text,
        Value::Other(_) => "",
    };
    text.parse().map_err(|_| "level must be 0 to 4 or one of debug, info, warning, error, critical")
}

/// Returns the texts of a value: a string or a number, or a list of them.
pub(crate) fn texts_of(value: &Value<'_>) -> Result<Vec<String>, &'static str> {
    const EXPECTED: &str = "expected a string or a list of strings";
    match value {
        Value::Text(text) => Ok(vec![text.clone().into_owned()]),
        Value::Number(text) => Ok(vec![(*text).to_owned()]),
        Value::Other(list) => {
            let list: Vec<&RawValue> = serde_json::from_str(list).map_err(|_| EXPECTED)?;
            let text = |raw| match Value::of(raw) {
                Some(Value::Text(text)) => Ok(text.into_owned()),
                Some(Value::Number(text)) => Ok(text.to_owned()),
                _ => Err(EXPECTED),
            };
            list.into_iter().map(text).collect()
        }
    }
}

/// A string without lone surrogates.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

/// Deserializes a string and replaces its lone surrogates.
pub(crate) struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Text<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // Read as bytes, because serde_json refuses lone surrogates in a string.
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Text(replace_surrogates(Cow::Borrowed(bytes))))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(replace_surrogates(Cow::Borrowed(bytes)).into_owned())))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

/// Returns the text of a string literal that is valid JSON.
fn unquote(literal: &str) -> Cow<'_, str> {
    let inner = literal.get(1..literal.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut deserializer = serde_json::Deserializer::from_str(literal);
    TextSeed
        .deserialize(&mut deserializer)
        .map_or(Cow::Borrowed(inner), |Text(text)| Cow::Owned(text.into_owned()))
}

/// Replaces surrogates in the decoded bytes. The input was valid UTF-8, so every invalid sequence
/// is a surrogate of three bytes, ED A0..BF 80..BF.
fn replace_surrogates(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(without_surrogates(bytes)),
        },
        Cow::Owned(bytes) => Cow::Owned(without_surrogates(&bytes)),
    }
}

fn without_surrogates(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(tail) => {
                text.push_str(tail);
                return text;
            }
            Err(error) => {
                let (valid, broken) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                text.push(char::REPLACEMENT_CHARACTER);
                rest = broken.get(3..).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_of_every_kind_are_read() {
        let text = r#"{"a":"x","b":1.50,"c":null,"d":true,"e":{"f":[1]},"g":"\u00e9\n","a":"last","n":-0}"#;
        let object = Object::parse(text).unwrap();
        assert_eq!(object.get("a"), Some(Value::Text("last".into())));
        assert_eq!(object.get("b"), Some(Value::Number("1.50")));
        assert_eq!(object.get("c"), None);
        assert_eq!(object.get("d"), Some(Value::Other("true")));
        assert_eq!(object.get("e"), Some(Value::Other(r#"{"f":[1]}"#)));
        assert_eq!(object.get("g"), Some(Value::Text("é\n".into())));
        assert_eq!(object.get("missing"), None);
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        let cases = [
            (r#"{"m":"\ud800"}"#, "\u{fffd}"),
            (r#"{"m":"a\udfffb"}"#, "a\u{fffd}b"),
            (r#"{"m":"\ud83d\ude00"}"#, "\u{1f600}"),
            (r#"{"m":"\ud83dx"}"#, "\u{fffd}x"),
            (r#"{"m":"\ud83d\ud83d\ude00"}"#, "\u{fffd}\u{1f600}"),
            (r#"{"\ud800":0,"m":"ok"}"#, "ok"),
        ];
        for (json, expected) in cases {
            let object = Object::parse(json).unwrap();
            assert_eq!(object.get("m"), Some(Value::Text(expected.into())), "{json}");
        }
    }

    #[test]
    fn text_that_is_not_an_object_is_refused() {
        for text in [
            "",
            "[]",
            "1",
            "null",
            "{",
            r#"{"a":}"#,
            r#"{"a":1} x"#,
            r#"{'a':1}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":"\x"}"#,
        ] {
            assert!(Object::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_string_comes_back(message: String, name: String) {
            let text = serde_json::to_string(&std::collections::BTreeMap::from([(name.clone(), message.clone())])).unwrap();
            let object = Object::parse(&text).unwrap();
            prop_assert_eq!(object.get(&name), Some(Value::Text(message.into())));
        }

        #[test]
        fn any_text_is_read_or_refused(text in r#"[\[\]{}:,"\\a-fu0-9 .\-tn\u{e9}]{0,60}"#) {
            let ours = Object::parse(&text).is_ok();
            let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
            // The tree of serde_json refuses more: lone surrogates and numbers beyond a double.
            if theirs.is_ok() {
                prop_assert!(ours);
            }
        }
    }
}

//! The entries of a batch, read over borrowed bytes: from a list of its own, or on the way through the body that it
//! stands in.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{MOST_FIELDS, Object, Text, TextSeed, Value, level_of, message_fits, message_of};
use crate::record::Level;

/// One entry of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BatchEntry<'a> {
    pub(super) level: Level,
    pub(super) message: Cow<'a, str>,
}

/// Why a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BatchError {
    #[error("expected a list of objects")]
    NotAList,
    #[error("more than {0} entries")]
    TooMany(usize),
    #[error("entry {index}: {why}")]
    Entry { index: usize, why: &'static str },
}

/// Reads the list of a batch; `limit` bounds its entries, `check` judges each message.
pub(super) fn parse_batch<'a>(
    text: &'a str,
    limit: usize,
    check: fn(&str) -> Result<(), &'static str>,
) -> Result<Vec<BatchEntry<'a>>, BatchError> {
    let mut refused = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let batch = deserializer.deserialize_seq(BatchVisitor { limit, check, refused: &mut refused });
    match batch.and_then(|batch| deserializer.end().map(|()| batch)) {
        Ok(batch) => Ok(batch),
        Err(_) => Err(refused.unwrap_or(BatchError::NotAList)),
    }
}

/// A body whose list of entries was read on the way: to find its end first, and read it then, costs a third of a
/// batch's time.
#[derive(Debug)]
pub(super) struct BatchBody<'a> {
    /// the other fields
    pub(super) rest: Object<'a>,
    pub(super) entries: Vec<BatchEntry<'a>>,
}

impl<'a> BatchBody<'a> {
    /// `None` where the usual way has to look: no list, two of them, anything that is refused.
    pub(super) fn parse(text: &'a str, limit: usize) -> Option<Self> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let body = deserializer.deserialize_map(BatchBodyVisitor { limit }).ok()?;
        deserializer.end().ok()?;
        Some(body)
    }
}

struct BatchBodyVisitor {
    limit: usize,
}

impl<'de> Visitor<'de> for BatchBodyVisitor {
    type Value = BatchBody<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(4);
        let mut entries = None;
        while let Some(Text(name)) = map.next_key_seed(TextSeed)? {
            if fields.len() == MOST_FIELDS {
                return Err(de::Error::custom(format_args!("more than {MOST_FIELDS} fields")));
            }
            if name != "logs" {
                fields.push((name, map.next_value::<&RawValue>()?));
            } else if entries.replace(map.next_value_seed(ListSeed { limit: self.limit })?).is_some() {
                return Err(de::Error::custom("two lists"));
            }
        }
        let entries = entries.ok_or_else(|| de::Error::custom("no list"))?;
        Ok(BatchBody { rest: Object(fields), entries })
    }
}

struct ListSeed {
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = Vec<BatchEntry<'de>>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // What is wrong with it is found out, and said, by the usual way.
        let mut refused = None;
        deserializer.deserialize_seq(BatchVisitor {
            limit: self.limit,
            check: message_fits,
            refused: &mut refused,
        })
    }
}

struct BatchVisitor<'r> {
    limit: usize,
    check: fn(&str) -> Result<(), &'static str>,
    refused: &'r mut Option<BatchError>,
}

impl<'de> Visitor<'de> for BatchVisitor<'_> {
    type Value = Vec<BatchEntry<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut batch = Vec::new();
        loop {
            let index = batch.len();
            let entry = match seq.next_element_seed(EntrySeed) {
                Ok(None) => return Ok(batch),
                Ok(Some(entry)) if index < self.limit => entry.and_then(|entry| {
                    (self.check)(&entry.message)?;
                    Ok(entry)
                }),
                Ok(Some(_)) => {
                    *self.refused = Some(BatchError::TooMany(self.limit));
                    return Err(de::Error::custom("too many"));
                }
                Err(error) => {
                    *self.refused = Some(BatchError::Entry { index, why: "expected an object" });
                    return Err(error);
                }
            };
            match entry {
                Ok(entry) => batch.push(entry),
                Err(why) => {
                    *self.refused = Some(BatchError::Entry { index, why });
                    return Err(de::Error::custom(why));
                }
            }
        }
    }
}

/// Reads one entry; what is wrong with its values is its result, not an error of the syntax.
struct EntrySeed;

impl<'de> DeserializeSeed<'de> for EntrySeed {
    type Value = Result<BatchEntry<'de>, &'static str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntrySeed {
    type Value = Result<BatchEntry<'de>, &'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut level, mut message, mut msg) = (None, None, None);
        while let Some(Text(name)) = map.next_key_seed(TextSeed)? {
            let raw = map.next_value::<&'de RawValue>()?;
            match &*name {
                "level" => level = Value::of(raw),
                "message" => message = Value::of(raw),
                "msg" => msg = Value::of(raw),
                _ => {}
            }
        }
        Ok(entry(level.as_ref(), message.or(msg)))
    }
}

fn entry<'a>(level: Option<&Value<'_>>, message: Option<Value<'a>>) -> Result<BatchEntry<'a>, &'static str> {
    let level = level.map(level_of).transpose()?.unwrap_or_default();
    let message = message_of(message.ok_or("message is missing")?)?;
    Ok(BatchEntry { level, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANY: fn(&str) -> Result<(), &'static str> = |_| Ok(());

    #[test]
    fn batches_name_the_bad_entry() {
        let bad = |text: &str| parse_batch(text, 3, ANY).unwrap_err().to_string();
        assert!(bad(r#"[{"message":"a"},{"level":9,"message":"b"}]"#).starts_with("entry 1: level"));
        assert!(bad(r#"[{"message":"a"},{}]"#).starts_with("entry 1: message"));
        assert!(bad(r#"[{"message":true}]"#).starts_with("entry 0: message"));
        assert!(bad(r#"[1]"#).starts_with("entry 0: expected an object"));
        assert_eq!(bad(r#"{"message":"a"}"#), "expected a list of objects");
        assert_eq!(bad(r#"[{"msg":1},{"msg":1},{"msg":1},{"msg":1}]"#), "more than 3 entries");
        let good = parse_batch(
            r#"[{"level":"error","msg":1.5},{"level":null,"message":"x","msg":"y","z":[]}]"#,
            3,
            ANY,
        );
        let good: Vec<_> =
            good.unwrap().into_iter().map(|entry| (entry.level, entry.message.into_owned())).collect();
        assert_eq!(good, [(Level::Error, "1.5".to_owned()), (Level::Info, "x".to_owned())]);
    }

    #[test]
    fn a_usual_batch_is_read_on_the_way() {
        let text = r#"{"api_key":"k","logs":[{"level":1,"message":"a"},{"msg":"b\n"}]}"#;
        let body = BatchBody::parse(text, 2).unwrap();
        assert_eq!(body.entries.len(), 2);
        assert_eq!(body.rest.get("api_key"), Some(Value::Text("k".into())));
        for unusual in [
            r#"{"logs":"[]"}"#,
            r#"{"logs":null}"#,
            r#"{"logs":[],"logs":[]}"#,
            r#"{"logs":[{}]}"#,
            r#"{"logs":[{"message":"a"},{"message":"a"},{"message":"a"}]}"#,
            r#"{"logs":[]} x"#,
            r#"{"a":1}"#,
        ] {
            assert!(BatchBody::parse(unusual, 2).is_none(), "{unusual}");
        }
    }

    proptest! {
        #[test]
        fn a_list_read_on_the_way_is_the_list(
            before in r#"("(a|logs)":(1|null|"x"),){0,2}"#,
            list in r#"\[(\{"(message|msg|level|x)":("[a-c\\"\\n]{0,4}"|[0-9]|null|\{\})(,"level":[0-9])?\},?){0,5}\]"#,
            after in r#"(,"(b|logs)":(2|\[\]))?"#,
        ) {
            let text = format!("{{{before}\"logs\":{list}{after}}}");
            if let Some(body) = BatchBody::parse(&text, 4) {
                let usual = Object::parse(&text).unwrap();
                let Some(Value::Other(raw)) = usual.get("logs") else { panic!("{text}") };
                prop_assert_eq!(&body.entries, &parse_batch(raw, 4, message_fits).unwrap());
                prop_assert_eq!(body.rest.get("a"), usual.get("a"));
                prop_assert_eq!(body.rest.get("b"), usual.get("b"));
            }
        }

        #[test]
        fn any_string_comes_back(message: String) {
            let batch = format!("[{{\"message\":{}}}]", serde_json::to_string(&message).unwrap());
            prop_assert_eq!(&parse_batch(&batch, 1, ANY).unwrap()[0].message, &message);
        }

        #[test]
        fn any_text_is_read_or_refused(text in r#"[\[\]{}:,"\\a-fu0-9 .\-tn\u{e9}]{0,60}"#) {
            drop(parse_batch(&text, 4, ANY));
            drop(BatchBody::parse(&text, 4));
        }
    }
}

//! Reads the entries of a batch over borrowed bytes: from the text of a list, or in one pass
//! through the body that contains the list.

use std::borrow::Cow;

use super::object::{MAX_FIELDS, Object, Value, level_of, message_fits, message_of};
use super::scanner::{Malformed, Scanner};
use crate::ingest::batch::Batch;
use crate::record::Level;

/// Why a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchError {
    /// The request has no list.
    #[error("logs is missing")]
    Missing,
    /// The text is not a list, or is not JSON.
    #[error("expected a list of objects")]
    NotAList,
    /// The list has more entries than allowed.
    #[error("more than {0} entries")]
    TooMany(usize),
    /// The entry at `index` is invalid.
    #[error("entry {index}: {why}")]
    Entry { index: usize, why: &'static str },
}

/// Reads the list of a batch. `limit` is the maximum number of entries. `check` checks each
/// message.
pub(crate) fn parse_batch<'a>(
    text: &'a str,
    limit: usize,
    check: fn(&str) -> Result<(), &'static str>,
) -> Result<Batch<'a>, BatchError> {
    let mut scanner = Scanner::new(text);
    let mut refused = BatchError::NotAList;
    let batch = read_list(&mut scanner, limit, check, &mut refused);
    batch.and_then(|batch| scanner.end().map(|()| batch)).map_err(|Malformed| refused)
}

/// A body and its entries, read in one pass. Finding the end of the list first and reading the list
/// later would cost a third of the time of a batch.
#[derive(Debug)]
pub(crate) struct BatchBody<'a> {
    /// All fields except `logs`.
    pub(crate) rest: Object<'a>,
    pub(crate) entries: Batch<'a>,
}

impl<'a> BatchBody<'a> {
    /// Reads a body. Returns `None` when only [`Object::parse`] can decide. This is so for a body
    /// without a list, for one with two lists, and for any body that will be refused.
    pub(crate) fn parse(text: &'a str, limit: usize) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        let (mut rest, mut entries) = (Vec::with_capacity(4), None);
        let body = scanner.object(|scanner, name| {
            if rest.len() == MAX_FIELDS {
                return Err(Malformed);
            }
            if name != "logs" {
                rest.push((name, scanner.raw()?));
                return Ok(());
            }
            // The error is dropped, because `parse_batch` finds it again and reports it.
            let list = read_list(scanner, limit, message_fits, &mut BatchError::NotAList)?;
            if entries.replace(list).is_some() { Err(Malformed) } else { Ok(()) }
        });
        body.and_then(|()| scanner.end()).ok()?;
        Some(Self { rest: Object(rest), entries: entries? })
    }
}

/// Reads a list. `refused` gets the error of the entries.
fn read_list<'a>(
    scanner: &mut Scanner<'a>,
    limit: usize,
    check: fn(&str) -> Result<(), &'static str>,
    refused: &mut BatchError,
) -> Result<Batch<'a>, Malformed> {
    let mut batch = Batch::default();
    let read = scanner.list(|scanner| {
        let index = batch.len();
        *refused = BatchError::Entry { index, why: "expected an object" };
        let entry = read_entry(scanner)?;
        if index == limit {
            *refused = BatchError::TooMany(limit);
            return Err(Malformed);
        }
        match entry.and_then(|(level, message)| check(&message).map(|()| (level, message))) {
            Ok((level, message)) => batch.push(level, message),
            Err(why) => {
                *refused = BatchError::Entry { index, why };
                return Err(Malformed);
            }
        }
        *refused = BatchError::Entry { index: index + 1, why: "expected an object" };
        Ok(())
    });
    read?;
    *refused = BatchError::NotAList;
    Ok(batch)
}

/// The level and the message of an entry.
type JsonEntry<'a> = (Level, Cow<'a, str>);

/// Reads one entry. The inner error is for invalid values, the outer one for invalid JSON.
fn read_entry<'a>(scanner: &mut Scanner<'a>) -> Result<Result<JsonEntry<'a>, &'static str>, Malformed> {
    let (mut level, mut message, mut msg) = (None, None, None);
    scanner.object(|scanner, name| {
        let value = scanner.value()?;
        match &*name {
            "level" => level = value,
            "message" => message = value,
            "msg" => msg = value,
            _ => {}
        }
        Ok(())
    })?;
    Ok(entry(level.as_ref(), message.or(msg)))
}

fn entry<'a>(level: Option<&Value<'_>>, message: Option<Value<'a>>) -> Result<JsonEntry<'a>, &'static str> {
    let level = level.map(level_of).transpose()?.unwrap_or_default();
    let message = message_of(message.ok_or("message is missing")?)?;
    Ok((level, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANY: fn(&str) -> Result<(), &'static str> = |_| Ok(());

    #[test]
    fn error_names_the_invalid_entry() {
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
        let good = good.unwrap();
        let good: Vec<_> =
            good.entries(Level::Debug).iter().map(|entry| (entry.level, entry.message)).collect();
        assert_eq!(good, [(Level::Error, "1.5"), (Level::Info, "x")]);
    }

    #[test]
    fn batch_is_read_in_one_pass_or_left_to_the_object_parser() {
        let text = r#"{"api_key":"k","logs":[{"level":1,"message":"a"},{"msg":"b\n"}]}"#;
        let body = BatchBody::parse(text, 2).unwrap();
        assert_eq!(body.entries.len(), 2);
        assert_eq!(body.rest.get("api_key"), Some(Value::Text("k".into())));
        for other in [
            r#"{"logs":"[]"}"#,
            r#"{"logs":null}"#,
            r#"{"logs":[],"logs":[]}"#,
            r#"{"logs":[{}]}"#,
            r#"{"logs":[{"message":"a"},{"message":"a"},{"message":"a"}]}"#,
            r#"{"logs":[]} x"#,
            r#"{"a":1}"#,
        ] {
            assert!(BatchBody::parse(other, 2).is_none(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn one_pass_reads_the_same_entries_as_two(
            before in r#"("(a|logs)":(1|null|"x"),){0,2}"#,
            list in r#"\[(\{"(message|msg|level|x)":("[a-c\\"\\n]{0,4}"|[0-9]|null|\{\})(,"level":[0-9])?\},?){0,5}\]"#,
            after in r#"(,"(b|logs)":(2|\[\]))?"#,
        ) {
            let text = format!("{{{before}\"logs\":{list}{after}}}");
            if let Some(body) = BatchBody::parse(&text, 4) {
                let object = Object::parse(&text).unwrap();
                let Some(Value::Other(raw)) = object.get("logs") else { panic!("{text}") };
                prop_assert_eq!(&body.entries, &parse_batch(raw, 4, message_fits).unwrap());
                prop_assert_eq!(body.rest.get("a"), object.get("a"));
                prop_assert_eq!(body.rest.get("b"), object.get("b"));
            }
        }

        #[test]
        fn any_string_comes_back(message: String) {
            let batch = format!("[{{\"message\":{}}}]", serde_json::to_string(&message).unwrap());
            let batch = parse_batch(&batch, 1, ANY).unwrap();
            prop_assert_eq!(batch.entries(Level::Debug)[0].message, &message);
        }

        #[test]
        fn any_text_is_read_or_refused(text in r#"[\[\]{}:,"\\a-fu0-9 .\-tn\u{e9}]{0,60}"#) {
            drop(parse_batch(&text, 4, ANY));
            drop(BatchBody::parse(&text, 4));
        }
    }
}

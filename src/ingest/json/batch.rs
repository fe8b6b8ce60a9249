//! Reads the entries of a batch over borrowed bytes: from the text of a list, or in one pass
//! through the body that contains the list.

use std::borrow::Cow;

use super::object::{MAX_MEMBERS, Object};
use super::scanner::{Malformed, Scanner};
use crate::ingest::batch::Batch;
use crate::ingest::body::content::BodyText;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::EntryReader;
use crate::ingest::text::Replaced;

/// The reason for an element that is no object.
const NOT_AN_OBJECT: &str = "expected an object";

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
    Entry { index: usize, why: Cow<'static, str> },
}

/// Reads the list of a batch.
pub(crate) fn parse_batch<'a>(
    text: &'a str,
    replaced: &Replaced,
    rules: &ReadRules<'_>,
) -> Result<Batch<'a>, BatchError> {
    let mut scanner = Scanner::new(text);
    let mut refused = BatchError::NotAList;
    let batch = read_list(&mut scanner, replaced, rules, &mut refused);
    batch.and_then(|batch| scanner.end().map(|()| batch)).map_err(|Malformed| refused)
}

/// A body and its entries, read in one pass. Finding the end of the list first and reading the list
/// later would cost a third of the time of a batch.
#[derive(Debug)]
pub(crate) struct BatchBody<'a> {
    /// All members except `logs`.
    pub(crate) rest: Object<'a>,
    pub(crate) entries: Batch<'a>,
}

impl<'a> BatchBody<'a> {
    /// Reads a body. Returns `None` when only [`Object::parse`] can decide. This is so for a body
    /// without a list, for one with two lists, and for any body that will be refused.
    pub(crate) fn parse(body: BodyText<'a>, rules: &ReadRules<'_>) -> Option<Self> {
        let mut scanner = Scanner::new(body.text);
        let (mut rest, mut entries) = (Vec::with_capacity(4), None);
        let body = scanner.object(|scanner, name| {
            if rest.len() == MAX_MEMBERS {
                return Err(Malformed);
            }
            if name != "logs" {
                rest.push((name, scanner.raw()?));
                return Ok(());
            }
            // The error is dropped, because `parse_batch` finds it again and reports it.
            let list = read_list(scanner, body.replaced, rules, &mut BatchError::NotAList)?;
            if entries.replace(list).is_some() { Err(Malformed) } else { Ok(()) }
        });
        body.and_then(|()| scanner.end()).ok()?;
        Some(Self { rest: Object { members: rest, left_out: 0 }, entries: entries? })
    }
}

/// Reads a list. `refused` gets the error of the entries.
fn read_list<'a>(
    scanner: &mut Scanner<'a>,
    replaced: &Replaced,
    rules: &ReadRules<'_>,
    refused: &mut BatchError,
) -> Result<Batch<'a>, Malformed> {
    let limit = rules.max_batch_entries;
    let mut batch = Batch::default();
    let mut reader = EntryReader::default();
    scanner.list(|scanner| {
        let index = batch.len();
        *refused = BatchError::Entry { index, why: NOT_AN_OBJECT.into() };
        let begin = scanner.position();
        scanner.object(|scanner, name| {
            reader.add(name, scanner.value()?);
            Ok(())
        })?;
        if !replaced.is_empty() && replaced.touches(scanner.text(), begin..scanner.position()) {
            reader.mark_repaired();
        }
        if index == limit {
            *refused = BatchError::TooMany(limit);
            return Err(Malformed);
        }
        if let Err(error) = reader.finish(rules, None, &mut batch) {
            *refused = BatchError::Entry { index, why: error.to_string().into() };
            return Err(Malformed);
        }
        *refused = BatchError::Entry { index: index + 1, why: NOT_AN_OBJECT.into() };
        Ok(())
    })?;
    *refused = BatchError::NotAList;
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::json::object::Value;
    use crate::record::Level;
    use proptest::prelude::*;

    fn at_most<'r>(max_batch_entries: usize) -> ReadRules<'r> {
        ReadRules { max_batch_entries, ..ReadRules::default() }
    }

    fn body_of(text: &str) -> BodyText<'_> {
        BodyText { text, replaced: const { &Replaced::NONE } }
    }

    #[test]
    fn error_names_the_invalid_entry() {
        let bad = |text: &str| parse_batch(text, &Replaced::NONE, &at_most(3)).unwrap_err().to_string();
        assert!(bad(r#"[{"message":"a"},{"level":9}]"#).starts_with("entry 1: The message is missing"));
        assert!(bad(r#"[{"message":"a"},{}]"#).starts_with("entry 1: The message is missing"));
        let long = format!(r#"[{{"msg":"{}"}}]"#, "x".repeat(8193));
        assert!(bad(&long).starts_with("entry 0: The message has 8193 characters"));
        assert!(bad(r#"[1]"#).starts_with("entry 0: expected an object"));
        assert_eq!(bad(r#"{"message":"a"}"#), "expected a list of objects");
        assert_eq!(bad(r#"[{"msg":1},{"msg":1},{"msg":1},{"msg":1}]"#), "more than 3 entries");
        let good = parse_batch(
            r#"[{"level":"error","msg":1.5},{"level":null,"message":"x","msg":"y","z":[]}]"#,
            &Replaced::NONE,
            &at_most(3),
        );
        let good = good.unwrap();
        let good: Vec<_> =
            good.entries(Level::Debug).iter().map(|entry| (entry.level, entry.message)).collect();
        assert_eq!(good, [(Level::Error, "1.5"), (Level::Info, "x")]);
    }

    #[test]
    fn batch_is_read_in_one_pass_or_left_to_the_object_parser() {
        let text = r#"{"api_key":"k","logs":[{"level":1,"message":"a"},{"msg":"b\n"}]}"#;
        let body = BatchBody::parse(body_of(text), &at_most(2)).unwrap();
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
            assert!(BatchBody::parse(body_of(other), &at_most(2)).is_none(), "{other}");
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
            if let Some(body) = BatchBody::parse(body_of(&text), &at_most(4)) {
                let object = Object::parse(&text).unwrap();
                let Some(Value::Other(raw)) = object.get("logs") else { panic!("{text}") };
                prop_assert_eq!(&body.entries, &parse_batch(raw, &Replaced::NONE, &at_most(4)).unwrap());
                prop_assert_eq!(body.rest.get("a"), object.get("a"));
                prop_assert_eq!(body.rest.get("b"), object.get("b"));
            }
        }

        #[test]
        fn any_string_comes_back(message: String) {
            let batch = format!("[{{\"message\":{}}}]", serde_json::to_string(&message).unwrap());
            let batch = parse_batch(&batch, &Replaced::NONE, &at_most(1)).unwrap();
            prop_assert_eq!(batch.entries(Level::Debug)[0].message, &message);
        }

        #[test]
        fn any_text_is_read_or_refused(text in r#"[\[\]{}:,"\\a-fu0-9 .\-tn\u{e9}]{0,60}"#) {
            drop(parse_batch(&text, &Replaced::NONE, &at_most(4)));
            drop(BatchBody::parse(body_of(&text), &at_most(4)));
        }
    }
}

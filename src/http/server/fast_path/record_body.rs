//! Parses the JSON body of a fast path request, which holds one record.

use std::borrow::Cow;

use crate::ingest::batch::{Batch, Changes};
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::EntryReader;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{Malformed, Scanner};
use crate::ingest::level_names::own_level;
use crate::record::{Entry, Level};

/// Holds a JSON body. The values are those that `Params` returns when the query and the headers hold
/// no parameter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Body<'a> {
    pub(crate) api_key: Option<Cow<'a, str>>,
    pub(crate) content: Content<'a>,
}

/// Holds the parts of a body that the store needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// A message without fields. Most records are.
    Plain(Level, Cow<'a, str>),
    /// A batch of one record with fields.
    WithFields(Box<Batch<'a>>),
}

impl Content<'_> {
    /// Returns the record.
    pub(crate) fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::Plain(level, message) => Some(Entry::new(*level, message)),
            Self::WithFields(batch) => batch.first(),
        }
    }

    /// Returns what was changed in the record.
    pub(crate) fn changes(&self) -> Changes {
        match self {
            Self::Plain(..) => Changes::default(),
            Self::WithFields(batch) => batch.changes,
        }
    }
}

impl<'a> Body<'a> {
    /// Parses the body. Returns `None` when it is not an object or is one that the slow path refuses.
    pub(crate) fn parse(body: &'a [u8], rules: &ReadRules<'_>) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        Self::parse_plain(text, rules).or_else(|| Self::parse_any(text, rules))
    }

    /// Parses a body whose record has no fields.
    fn parse_plain(text: &'a str, rules: &ReadRules<'_>) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        let (mut api_key, mut level, mut message, mut msg) = (None, None, None, None);
        // The last of repeated members counts.
        let members = scanner.object(|scanner, name| {
            let slot = match &*name {
                "api_key" => &mut api_key,
                "level" => &mut level,
                "message" => &mut message,
                "msg" => &mut msg,
                _ => return Err(Malformed),
            };
            let value = scanner.value()?;
            // The members of an object become fields, also beside another level.
            if name == "level" && value.as_ref().is_some_and(Value::is_full_object) {
                return Err(Malformed);
            }
            *slot = value;
            Ok(())
        });
        members.and_then(|()| scanner.end()).ok()?;
        // Of two messages, one is a field.
        let message = match (message, msg) {
            (Some(message), None) | (None, Some(message)) => message.into_text(),
            _ => return None,
        };
        let max = rules.max_message_chars;
        if message.len() > max && message.chars().nth(max).is_some() {
            return None;
        }
        let level = match level {
            None => Level::default(),
            Some(level) => own_level(&level.into_text(), rules.scale)?,
        };
        let content = Content::Plain(level, message);
        Some(Self { api_key: api_key.map(Value::into_text), content })
    }

    /// Parses a body whose record may have fields.
    fn parse_any(text: &'a str, rules: &ReadRules<'_>) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        let mut api_key = None;
        let mut reader = EntryReader::default();
        let members = scanner.object(|scanner, name| {
            let value = scanner.value()?;
            match &*name {
                "api_key" => api_key = value,
                // They ask for more than to store the record.
                "dry_run" | "idempotency_key" => return Err(Malformed),
                _ => reader.add(name, value),
            }
            Ok(())
        });
        members.and_then(|()| scanner.end()).ok()?;
        let mut batch = Batch::default();
        reader.finish(rules, None, &mut batch).ok()?;
        let content = Content::WithFields(Box::new(batch));
        Some(Self { api_key: api_key.map(Value::into_text), content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::body::memory::Unlimited;
    use crate::ingest::body::received::{BodyTexts, ReceivedBody};
    use crate::ingest::dialect::{IngestRequest, RequestHead};
    use crate::ingest::dialects;
    use http::HeaderMap;
    use http::header::{CONTENT_TYPE, HeaderValue};
    use proptest::prelude::*;

    /// Returns the key and the record as the slow path reads them.
    fn on_the_slow_path(body: &[u8]) -> Option<(Option<String>, String)> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let (dialect, route) = dialects::find("save-log")?;
        let head = RequestHead { route, path: "/moca-file-log/save-log", query: None, headers: &headers };
        let texts = BodyTexts::default();
        let body = ReceivedBody::new(&headers, body, &texts, &Unlimited);
        let request = IngestRequest { head, body, rules: ReadRules::default() };
        let parameters = dialect.parameters(&request).ok()?;
        let api_key = parameters.api_key().map(Cow::into_owned);
        let batch = dialect.entries(&request, parameters).ok()?;
        let entries = batch.entries(Level::Debug);
        let [entry] = entries.as_slice() else { return None };
        Some((api_key, format!("{entry:?}")))
    }

    #[test]
    fn object_beside_another_level_becomes_fields() {
        let text = br#"{"level":{"name":2},"level":"error","message":true}"#;
        let body = Body::parse(text, &ReadRules::default()).unwrap();
        let (_, on_the_slow_path) = on_the_slow_path(text).unwrap();
        assert_eq!(format!("{:?}", body.content.entry().unwrap()), on_the_slow_path);
        assert!(on_the_slow_path.contains("level.name"), "{on_the_slow_path}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn body_is_read_as_on_the_slow_path(
            members in prop::collection::vec(r#" ?"(message|msg|level|api_key|logs|x|at|severity|levelno|text|a=b)": ?("[a-c\\"n]{0,4}"|[0-9]{1,2}|-?[0-9.]{1,3}|"(error|FATAL)"|null|true|\{\}|\{"(name|x)":[0-9]\}|\[1\]|1795410148)"#, 0..5),
            noise in r#"[{}":,\\a]{0,3}"#,
        ) {
            let object = format!("{{{}}}", members.join(","));
            for text in [object.clone(), format!("{object}{noise}"), format!("{noise}{object}")] {
                let fast = Body::parse(text.as_bytes(), &ReadRules::default());
                let fast = fast.map(|body| {
                    let entry = body.content.entry();
                    (body.api_key.clone().map(Cow::into_owned), format!("{:?}", entry.unwrap()))
                });
                prop_assert_eq!(fast, on_the_slow_path(text.as_bytes()), "{}", text);
            }
        }
    }
}

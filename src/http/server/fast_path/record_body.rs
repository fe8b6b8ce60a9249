//! Parses the JSON body of a fast path request, which holds one record.

use std::borrow::Cow;

use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{Malformed, Scanner};
use crate::ingest::level_names::own_level;
use crate::record::Level;

/// Holds the members of a JSON body. The values are those that `Params` returns when the query and
/// the headers hold no parameter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Body<'a> {
    pub(crate) api_key: Option<Cow<'a, str>>,
    pub(crate) level: Level,
    pub(crate) message: Cow<'a, str>,
}

impl<'a> Body<'a> {
    /// Parses the body. Returns `None` for a body that the slow path reads: one that is no object or
    /// is refused, and one whose record has fields.
    pub(crate) fn parse(body: &'a [u8], rules: &ReadRules<'_>) -> Option<Self> {
        let mut scanner = Scanner::new(std::str::from_utf8(body).ok()?);
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
            *slot = scanner.value()?;
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
        Some(Self { api_key: api_key.map(Value::into_text), level, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::dialect::{IngestRequest, RequestHead};
    use crate::ingest::dialects;
    use http::HeaderMap;
    use http::header::{CONTENT_TYPE, HeaderValue};
    use proptest::prelude::*;

    /// Returns the key, the level and the message as the slow path reads them. `None` for a record with
    /// fields.
    fn on_the_slow_path(body: &[u8]) -> Option<(Option<String>, Level, String)> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let (dialect, route) = dialects::find("save-log")?;
        let head = RequestHead { route, path: "/moca-file-log/save-log", query: None, headers: &headers };
        let request = IngestRequest { head, body, rules: ReadRules::default() };
        let parameters = dialect.parameters(&request).ok()?;
        let api_key = parameters.api_key().map(Cow::into_owned);
        let batch = dialect.entries(&request, parameters).ok()?;
        let entries = batch.entries(Level::Debug);
        let [entry] = entries.as_slice() else { return None };
        if entry.has_fields() {
            return None;
        }
        Some((api_key, entry.level, entry.message.to_owned()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn body_is_read_as_on_the_slow_path(
            members in prop::collection::vec(r#" ?"(message|msg|level|api_key|logs|x)": ?("[a-c\\\\"n]{0,4}"|[0-9]{1,2}|-?[0-9.]{1,3}|"error"|null|true|\{\}|\[1\])"#, 0..5),
            noise in r#"[{}":,\\\\a]{0,3}"#,
        ) {
            let object = format!("{{{}}}", members.join(","));
            for text in [object.clone(), format!("{object}{noise}"), format!("{noise}{object}")] {
                let fast = Body::parse(text.as_bytes(), &ReadRules::default()).map(|body| {
                    (body.api_key.map(Cow::into_owned), body.level, body.message.into_owned())
                });
                prop_assert!(fast.is_none() || fast == on_the_slow_path(text.as_bytes()), "{}", text);
            }
        }
    }
}

//! Parses the JSON body of a fast path request, which holds one record.

use std::borrow::Cow;

use crate::ingest::json::object::{MAX_FIELDS, Value, level_of, message_fits, message_of};
use crate::ingest::json::scanner::{Malformed, Scanner};
use crate::record::Level;

/// Holds the fields of a JSON body. The values are those that `Params` returns when the query and
/// the headers hold no parameter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Body<'a> {
    pub(crate) api_key: Option<Cow<'a, str>>,
    pub(crate) level: Level,
    pub(crate) message: Cow<'a, str>,
}

impl<'a> Body<'a> {
    /// Parses the body. Returns `None` when it is not an object or holds a value that the slow path
    /// refuses.
    pub(crate) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut scanner = Scanner::new(std::str::from_utf8(body).ok()?);
        let (mut api_key, mut level, mut message, mut msg) = (None, None, None, None);
        let mut count = 0;
        // The last of repeated fields counts.
        let fields = scanner.object(|scanner, name| {
            count += 1;
            let value = scanner.value()?;
            match &*name {
                "api_key" => api_key = value,
                "level" => level = value,
                "message" => message = value,
                "msg" => msg = value,
                _ => {}
            }
            if count > MAX_FIELDS { Err(Malformed) } else { Ok(()) }
        });
        fields.and_then(|()| scanner.end()).ok()?;
        let message = message_of(message.or(msg)?).ok()?;
        message_fits(&message).ok()?;
        let level = level.map_or_else(|| Ok(Level::default()), |value| level_of(&value)).ok()?;
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

    /// Returns the key, the level and the message as the slow path reads them.
    fn on_the_slow_path(body: &[u8]) -> Option<(Option<String>, Level, String)> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let (dialect, route) = dialects::find("save-log")?;
        let head = RequestHead { route, path: "/moca-file-log/save-log", query: None, headers: &headers };
        let request = IngestRequest { head, body };
        let parameters = dialect.parameters(&request).ok()?;
        let api_key = parameters.api_key().map(Cow::into_owned);
        let batch = dialect.entries(&request, parameters).ok()?;
        let entries = batch.entries(Level::Debug);
        let [entry] = entries.as_slice() else { return None };
        assert!(!entry.has_fields());
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
                let fast = Body::parse(text.as_bytes()).map(|body| {
                    (body.api_key.map(Cow::into_owned), body.level, body.message.into_owned())
                });
                prop_assert_eq!(fast, on_the_slow_path(text.as_bytes()), "{}", text);
            }
        }
    }
}

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

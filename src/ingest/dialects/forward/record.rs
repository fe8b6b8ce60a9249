//! Makes entries of the events of Fluentd: a time and a map of members, which is read as the members of a
//! JSON object are.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::msgpack::{Broken, Head, MAX_DEPTH, Reader, Token};
use crate::ingest::entry::reader::{EntryReader, can_be_field};
use crate::ingest::flatten::is_message_name;
use crate::ingest::json::object::Value;
use crate::ingest::timestamp::{time_of_number, time_of_text};
use crate::record::SenderTime;

/// Maximum depth of the maps whose members get names of their own. Deeper ones become JSON text.
const MAX_NAMED_DEPTH: usize = 8;

/// Maximum length of the part of a name before the last dot, in bytes. A field keeps fewer characters.
const MAX_PREFIX_BYTES: usize = 1024;

/// The type of the extension with seconds and nanoseconds.
const EVENT_TIME: i8 = 0;

/// The name of the members that Fluent Bit puts beside the time.
const METADATA: &str = "metadata";

/// Where the members of an event go.
pub(super) struct Members<'r, 'a> {
    pub(super) reader: &'r mut EntryReader<'a>,
}

impl<'a> Members<'_, 'a> {
    /// Reads the time of an event, which may have metadata beside it.
    pub(super) fn time(&mut self, input: &mut Reader<'a>) -> Result<Option<SenderTime>, Broken> {
        match input.token()? {
            Token::Head(Head::Array(len)) if len > 0 => {
                let time = time_of(input.token()?)?;
                for _ in 1..len {
                    let mut value = Reader::new(input.skip()?);
                    if matches!(value.clone().token()?, Token::Head(Head::Map(len)) if len > 0) {
                        self.member(Cow::Borrowed(METADATA), &mut value, 1)?;
                    }
                }
                Ok(time)
            }
            token => time_of(token),
        }
    }

    /// Reads the members of an event. Returns false for an event without a map, which counts as absent. A
    /// text in its place is the message.
    pub(super) fn record(&mut self, input: &mut Reader<'a>) -> Result<bool, Broken> {
        match input.token()? {
            Token::Head(Head::Map(len)) => {
                for _ in 0..len {
                    let name = self.name(input)?;
                    if can_be_field(&name) {
                        self.top_member(name, input)?;
                    } else {
                        input.skip()?;
                    }
                }
                Ok(true)
            }
            Token::Text(text) | Token::Binary(text) => {
                let text = self.text(text);
                self.reader.add(Cow::Borrowed("message"), Some(Value::Text(text)));
                Ok(true)
            }
            Token::Head(Head::Nil) => Ok(false),
            Token::Head(_) | Token::Extension(..) => Err(Broken::Invalid),
        }
    }

    fn top_member(&mut self, name: Cow<'a, str>, input: &mut Reader<'a>) -> Result<(), Broken> {
        // A message of any type is its text.
        if matches!(&*name, "message" | "msg") {
            let token = input.token()?;
            let value = self.whole_value(token, input)?;
            self.reader.add(name, value);
            return Ok(());
        }
        let is_text = matches!(input.clone().token()?, Token::Text(_) | Token::Binary(_));
        let is_named = matches!(input.clone().token()?, Token::Head(Head::Map(len)) if len > 0);
        if is_message_name(&name) && !is_text && !is_named {
            // Under these names only a text is a message.
            let token = input.token()?;
            if let Some(value) = self.whole_value(token, input)? {
                self.reader.add_field(name, value);
            }
            return Ok(());
        }
        self.member(name, input, 1)
    }

    /// Adds a member. A map becomes its members with dotted names.
    fn member(&mut self, name: Cow<'a, str>, input: &mut Reader<'a>, depth: usize) -> Result<(), Broken> {
        let token = input.token()?;
        if let Token::Head(Head::Map(len)) = token
            && len > 0
            && depth < MAX_NAMED_DEPTH
        {
            let prefix = prefix_of(&name);
            for _ in 0..len {
                let inner = self.name(input)?;
                self.member(Cow::Owned(format!("{prefix}.{inner}")), input, depth + 1)?;
            }
            return Ok(());
        }
        let value = self.whole_value(token, input)?;
        self.reader.add(name, value);
        Ok(())
    }

    /// Reads the name of a member, which is its JSON text when it is no text.
    fn name(&mut self, input: &mut Reader<'a>) -> Result<Cow<'a, str>, Broken> {
        let token = input.token()?;
        let name = self.whole_value(token, input)?;
        Ok(name.map(Value::into_text).unwrap_or_default())
    }

    /// Reads the rest of a value whose first part is `token`. Returns `None` for nil.
    fn whole_value(&mut self, token: Token<'a>, input: &mut Reader<'a>) -> Result<Option<Value<'a>>, Broken> {
        Ok(Some(Value::Text(match token {
            Token::Head(Head::Nil) => return Ok(None),
            Token::Text(text) | Token::Binary(text) => self.text(text),
            token => {
                let mut json = String::new();
                write_json(token, input, 0, &mut json)?;
                Cow::Owned(json)
            }
        })))
    }

    /// Returns a text, in which bytes that are no UTF-8 are replaced.
    fn text(&mut self, bytes: &'a [u8]) -> Cow<'a, str> {
        let text = String::from_utf8_lossy(bytes);
        if matches!(text, Cow::Owned(_)) {
            self.reader.mark_repaired();
        }
        text
    }
}

/// Returns the part of a name before the last dot, which is bounded.
fn prefix_of(name: &str) -> &str {
    if name.len() <= MAX_PREFIX_BYTES {
        return name;
    }
    let end = (0..=MAX_PREFIX_BYTES).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
    name.get(..end).unwrap_or_default()
}

/// Returns the time of an event. 0 and nil mean that the sender gives none.
fn time_of(token: Token<'_>) -> Result<Option<SenderTime>, Broken> {
    Ok(match token {
        Token::Extension(EVENT_TIME, bytes) => event_time(bytes),
        Token::Head(Head::Unsigned(number)) => time_of_number(&number.to_string()),
        Token::Head(Head::Float(number)) => time_of_number(&number.to_string()),
        Token::Head(Head::ShortFloat(number)) => time_of_number(&number.to_string()),
        // A number below zero is no time, and the groups of Fluent Bit have such a one.
        Token::Head(Head::Signed(number)) => time_of_number(&number.to_string()),
        Token::Head(Head::Nil) | Token::Extension(..) => None,
        Token::Text(text) | Token::Binary(text) => {
            std::str::from_utf8(text).ok().and_then(|text| time_of_text(text, || TimeZone::UTC))
        }
        Token::Head(_) => return Err(Broken::Invalid),
    })
}

/// Returns the time of the extension: seconds and nanoseconds in 32 bits each.
fn event_time(bytes: &[u8]) -> Option<SenderTime> {
    let bytes: [u8; 8] = bytes.try_into().ok()?;
    let number = u64::from_be_bytes(bytes);
    let (seconds, nanos) = (i64::try_from(number >> 32).ok()?, i64::from(number as u32));
    // Fluent Bit marks the groups of its records by the largest two seconds.
    let is_time = seconds > 0 && seconds < i64::from(u32::MAX) - 1;
    SenderTime::from_micros(seconds * 1_000_000 + nanos / 1_000).filter(|_| is_time)
}

/// Writes a value as JSON.
fn write_json<'a>(
    token: Token<'a>,
    input: &mut Reader<'a>,
    depth: usize,
    json: &mut String,
) -> Result<(), Broken> {
    if depth > MAX_DEPTH {
        return Err(Broken::Invalid);
    }
    match token {
        Token::Head(Head::Array(len)) => {
            json.push('[');
            for index in 0..len {
                separate(index, json);
                let token = input.token()?;
                write_json(token, input, depth + 1, json)?;
            }
            json.push(']');
        }
        Token::Head(Head::Map(len)) => {
            json.push('{');
            for index in 0..len {
                separate(index, json);
                write_name(input, depth + 1, json)?;
                json.push(':');
                let token = input.token()?;
                write_json(token, input, depth + 1, json)?;
            }
            json.push('}');
        }
        Token::Text(text) | Token::Binary(text) => quote(&String::from_utf8_lossy(text), json),
        Token::Head(head) => write_number(head, json),
        Token::Extension(EVENT_TIME, bytes) if event_time(bytes).is_some() => {
            let text = event_time(bytes).map(SenderTime::rfc3339).unwrap_or([b' '; 27]);
            // Inside another value, a time is a text as in JSON.
            if depth == 0 {
                json.push_str(&String::from_utf8_lossy(&text));
            } else {
                quote(&String::from_utf8_lossy(&text), json);
            }
        }
        Token::Extension(_, bytes) => {
            let text = data_encoding::BASE64.encode(bytes);
            if depth == 0 { json.push_str(&text) } else { quote(&text, json) }
        }
    }
    Ok(())
}

fn separate(index: usize, json: &mut String) {
    if index > 0 {
        json.push(',');
    }
}

/// Writes the name of a member, which is a text in JSON.
fn write_name(input: &mut Reader<'_>, depth: usize, json: &mut String) -> Result<(), Broken> {
    match input.token()? {
        Token::Text(text) | Token::Binary(text) => quote(&String::from_utf8_lossy(text), json),
        token => {
            let mut name = String::new();
            write_json(token, input, depth, &mut name)?;
            quote(&name, json);
        }
    }
    Ok(())
}

fn quote(text: &str, json: &mut String) {
    // A string always has a form in JSON.
    json.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Writes a value without a payload.
fn write_number(head: Head, json: &mut String) {
    let written = match head {
        Head::Unsigned(number) => write!(json, "{number}"),
        Head::Signed(number) => write!(json, "{number}"),
        Head::Bool(is_true) => write!(json, "{is_true}"),
        Head::Float(number) if number.is_nan() => write!(json, "NaN"),
        Head::ShortFloat(number) if number.is_nan() => write!(json, "NaN"),
        Head::Float(number) if number.is_infinite() => write!(json, "{}", infinity(number)),
        Head::ShortFloat(number) if number.is_infinite() => write!(json, "{}", infinity(number.into())),
        Head::Float(number) => write!(json, "{}", serde_json::to_string(&number).unwrap_or_default()),
        Head::ShortFloat(number) => write!(json, "{}", serde_json::to_string(&number).unwrap_or_default()),
        _ => write!(json, "null"),
    };
    // Writing to a string does not fail.
    written.unwrap_or_default();
}

const fn infinity(number: f64) -> &'static str {
    if number > 0.0 { "Infinity" } else { "-Infinity" }
}

//! Makes one record of a request whose message may stand in several places: a JSON body, the query, a
//! form, or a header. The place of the message gives the fields too.

use std::borrow::Cow;

use super::batch::Batch;
use super::body::content::{BodyText, Content};
use super::entry::read_rules::ReadRules;
use super::entry::reader::{EntryError, EntryReader, can_be_field};
use super::error::IngestError;
use super::flatten::is_message_name;
use super::form::Fields;
use super::json::object::{Object, Value};
use super::params::{LEVEL, MESSAGE, Params};

/// A place where a request can hold its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Json,
    Query,
    Form,
    Text,
    Header,
}

impl<'a> Params<'a> {
    /// Takes the record of the request.
    ///
    /// # Errors
    /// Fails for a request with nothing to store, and for a message that is too long.
    pub(crate) fn take_record(&mut self, rules: &ReadRules<'_>) -> Result<Batch<'a>, IngestError> {
        let mut reader = EntryReader::default();
        let level = self.value_of_level();
        let place = self.place_of_message();
        let has_replacements = self.has_replacements(place);
        match place {
            Place::Json => add_members(&mut reader, self.json.take().unwrap_or_default()),
            Place::Query => add_fields(&mut reader, std::mem::take(&mut self.query)),
            Place::Form => add_fields(&mut reader, std::mem::take(&mut self.form)),
            Place::Text => {
                let text =
                    self.text_body().map(|body| Value::Text(Cow::Borrowed(without_line_end(body.text))));
                reader.add(Cow::Borrowed("message"), text);
            }
            Place::Header => reader.add(Cow::Borrowed("message"), self.header(&MESSAGE)),
        }
        if has_replacements {
            reader.mark_repaired();
        }
        if let Some(level) = level {
            reader.set_level(level);
        }
        let in_header = self.header(&LEVEL).map(Value::into_text);
        let mut batch = Batch::default();
        match reader.finish(rules, in_header, &mut batch) {
            Ok(()) => Ok(batch),
            Err(error @ EntryError::Missing) => {
                Err(IngestError::message(format!("{error} in {}.", self.searched(place))))
            }
            Err(error @ EntryError::TooLong { .. }) => Err(IngestError::message(format!("{error}."))),
        }
    }

    /// Returns the level of the first source that has one. A level that is an object is read with the
    /// other members of its source.
    fn value_of_level(&self) -> Option<Value<'a>> {
        let in_json = self.json.as_ref().and_then(|json| json.get("level"));
        let is_object = in_json.as_ref().is_some_and(Value::is_full_object);
        let in_fields = || filled(&self.query, "level").or_else(|| filled(&self.form, "level"));
        in_json.filter(|_| !is_object).or_else(|| if is_object { None } else { in_fields() })
    }

    /// Returns the body whose whole text is the message.
    const fn text_body(&self) -> Option<BodyText<'a>> {
        match self.content {
            Content::Message(text) => Some(text),
            _ => None,
        }
    }

    /// Returns whether bytes of the source of the message were no text, and were replaced.
    fn has_replacements(&self, place: Place) -> bool {
        match place {
            Place::Json => self.json_has_replacements,
            Place::Query => self.query.has_replacements,
            Place::Form => self.form.has_replacements,
            Place::Text => self.text_body().is_some_and(|body| !body.replaced.is_empty()),
            Place::Header => {
                matches!(self.header(&MESSAGE), Some(Value::Text(Cow::Owned(_))))
            }
        }
    }

    /// Finds the source of the message: the first one with a message that is not blank, the first one
    /// with a blank message, the first one with a text under another name of messages, and else the
    /// first one with anything that can be a field.
    fn place_of_message(&self) -> Place {
        let json = self.json.as_ref();
        let in_json = |name: &str| json.is_some_and(|json| json.get(name).is_some());
        let has_text =
            |fields: &Fields<'_>| ["message", "msg"].iter().any(|name| filled(fields, name).is_some());
        let has_blank = |fields: &Fields<'_>| has_name(fields, |name| name == "message" || name == "msg");
        let has_other_name = |fields: &Fields<'_>| has_name(fields, is_message_name);
        let has_other_member = |json: &Object<'_>| {
            let is_text = |name: &str| matches!(json.get(name), Some(Value::Text(_)));
            json.members.iter().any(|(name, _)| is_message_name(name) && is_text(name))
        };
        let has_field = |fields: &Fields<'_>| has_name(fields, |name| name != "level" && can_be_field(name));
        match self {
            _ if in_json("message") || in_json("msg") => Place::Json,
            _ if has_text(&self.query) => Place::Query,
            _ if has_text(&self.form) => Place::Form,
            _ if self.text_body().is_some() => Place::Text,
            _ if self.header(&MESSAGE).is_some() => Place::Header,
            _ if has_blank(&self.query) => Place::Query,
            _ if has_blank(&self.form) => Place::Form,
            _ if json.is_some_and(has_other_member) => Place::Json,
            _ if has_other_name(&self.query) => Place::Query,
            _ if has_other_name(&self.form) => Place::Form,
            _ if json.is_some() => Place::Json,
            _ if !has_field(&self.query) && has_field(&self.form) => Place::Form,
            _ if !has_field(&self.query) && !self.form.list.is_empty() => Place::Form,
            _ => Place::Query,
        }
    }

    /// Names where a message was looked for.
    const fn searched(&self, place: Place) -> &'static str {
        match place {
            Place::Json => "the JSON body",
            Place::Form => "the form",
            Place::Query | Place::Text | Place::Header => "the query, and for the header MESSAGE",
        }
    }
}

/// Returns the text without one line end at its end.
fn without_line_end(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line))
}

fn add_members<'a>(reader: &mut EntryReader<'a>, object: Object<'a>) {
    for (name, raw) in object.members {
        reader.add(name, Value::of(raw));
    }
    reader.count_left_out(object.left_out);
}

fn add_fields<'a>(reader: &mut EntryReader<'a>, fields: Fields<'a>) {
    for (name, text) in fields.list {
        reader.add_text(name, text);
    }
    reader.count_left_out(fields.left_out);
}

fn has_name(fields: &Fields<'_>, is_wanted: impl Fn(&str) -> bool) -> bool {
    fields.list.iter().any(|(name, _)| is_wanted(name))
}

/// Returns the first value of `name` that is not blank.
fn filled<'a>(fields: &Fields<'a>, name: &str) -> Option<Value<'a>> {
    let (_, text) = fields.list.iter().find(|(field, text)| field == name && !text.is_empty())?;
    Some(Value::Text(text.clone()))
}

//! The two formats of Seq, for Serilog and its relatives: lines of CLEF, and `{"Events":[…]}`.
//!
//! A message template is rendered with the properties of its event, and kept as `template`.

mod template;

use std::borrow::Cow;

use http::header::HeaderValue;
use http::{Method, StatusCode};
use jiff::tz::TimeZone;

use self::template::render;
use crate::ingest::batch::Batch;
use crate::ingest::body::text_records::{TextRecords, Unread, object_text, read_json};
use crate::ingest::dialect::{
    Dialect, DialectRoute, IngestRequest, Outcome, RefusedRequest, Reply, RequestHead, Takes, reply,
};
use crate::ingest::entry::reader::EntryReader;
use crate::ingest::error::IngestError;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{Malformed, Scanner};
use crate::ingest::level_names::{Scale, read_level};
use crate::ingest::params::Params;
use crate::ingest::timestamp::{time_of_number, time_of_text};
use crate::record::SenderTime;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

static ROUTES: [DialectRoute; 2] = [
    DialectRoute {
        path: "/api/events/raw",
        methods: &[Method::POST],
        takes: Takes::Many,
        openapi: Some(include_str!("seq/raw.json")),
    },
    DialectRoute {
        path: "/ingest/clef",
        methods: &[Method::POST],
        takes: Takes::Many,
        openapi: Some(include_str!("seq/clef.json")),
    },
];

/// The dialect.
pub(crate) struct Seq;

impl Dialect for Seq {
    fn name(&self) -> &'static str {
        "seq"
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn entries<'a>(
        &self,
        request: &IngestRequest<'a>,
        _parameters: Params<'a>,
    ) -> Result<Batch<'a>, IngestError> {
        let text = request.body.any_text()?;
        read_json(text, &request.rules, request.body.memory, read_events)
            .map_err(|error| error.into_error("event"))
    }

    fn answer(&self, _head: &RequestHead<'_>, _outcome: &Outcome) -> Reply {
        reply(StatusCode::CREATED, JSON, &b"{\"MinimumLevelAccepted\":null}"[..])
    }

    fn refuse(&self, _head: &RequestHead<'_>, refusal: &RefusedRequest<'_>) -> Option<Reply> {
        let text = serde_json::json!({ "Error": refusal.reason.unwrap_or(refusal.detail) });
        Some(reply(refusal.status, JSON, text.to_string()))
    }
}

/// Reads the events of a body: objects one a line or behind each other, or one object that lists them.
fn read_events(records: &mut TextRecords<'_, '_>) -> Result<(), Unread> {
    let text = records.text();
    let (mut at, mut number) = (0, 0);
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let event = rest.trim_start_matches([' ', '\n', '\r', '\t', ',']);
        if event.is_empty() {
            return Ok(());
        }
        at = text.len() - event.len();
        let mut scanner = Scanner::new(event);
        let raw = scanner.raw().map_err(|Malformed| Unread::Malformed(number))?.get();
        match list_of(raw) {
            Some(list) => number += read_list(records, list, text)?,
            None => {
                read_event(records, raw).map_err(|Malformed| Unread::Malformed(number))?;
                records.finish(at..at + scanner.position())?;
                number += 1;
            }
        }
        at += scanner.position();
    }
}

/// Returns the text of the list `Events` of an object, or of a list.
fn list_of(raw: &str) -> Option<&str> {
    if raw.starts_with('[') {
        return Some(raw);
    }
    memchr::memmem::find(raw.as_bytes(), b"\"Events\"")?;
    let mut list = None;
    let read = Scanner::new(raw).object(|scanner, name| {
        let value = scanner.raw()?;
        if name == "Events" && value.get().starts_with('[') {
            list = Some(value.get());
        }
        Ok(())
    });
    read.ok().and(list)
}

/// Reads the events of a list, which is a part of `text`. Returns their number.
fn read_list<'a>(records: &mut TextRecords<'a, '_>, list: &'a str, text: &'a str) -> Result<usize, Unread> {
    let begin = (list.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let (mut number, mut refused) = (0, None);
    let mut scanner = Scanner::new(list);
    let read = scanner.list(|scanner| {
        let raw = scanner.raw()?.get();
        read_event(records, raw)?;
        let end = begin + scanner.position();
        number += 1;
        records.finish(end - raw.len()..end).map_err(|error| {
            refused = Some(error);
            Malformed
        })
    });
    match (read, refused) {
        (_, Some(error)) => Err(error.into()),
        (Ok(()), None) => Ok(number),
        (Err(Malformed), None) => Err(Unread::Malformed(number)),
    }
}

/// The parts of an event.
#[derive(Default)]
struct Event<'a> {
    message: Option<Cow<'a, str>>,
    template: Option<Cow<'a, str>>,
    exception: Option<Cow<'a, str>>,
    level: Option<Cow<'a, str>>,
    time: Option<(Cow<'a, str>, Value<'a>)>,
    /// The texts of the holes of the template that have a format, in their order.
    renderings: Option<&'a str>,
    properties: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Event<'a> {
    fn add(&mut self, name: Cow<'a, str>, value: Value<'a>) -> Result<(), Malformed> {
        let is_clef = name.starts_with('@');
        match (&*name, value) {
            ("@m" | "RenderedMessage", value) => self.message = Some(value.into_text()),
            ("@mt" | "MessageTemplate", value) => self.template = Some(value.into_text()),
            ("@x" | "Exception", value) => self.exception = Some(value.into_text()),
            ("@l" | "Level", value) => self.level = Some(value.into_text()),
            ("@t" | "Timestamp", value) => self.time = Some((name, value)),
            ("@r", Value::Other(list)) => self.renderings = Some(list),
            ("Properties", value) if object_text(&value).is_some() => {
                let object = object_text(&value).unwrap_or_default();
                Scanner::new(object).object(|scanner, name| {
                    self.properties.extend(scanner.value()?.map(|value| (name, value)));
                    Ok(())
                })?;
            }
            ("Properties", Value::Other("{}")) => {}
            (_, value) if is_clef && name.starts_with("@@") => {
                self.properties.push((without_first(name), value));
            }
            (_, value) => self.properties.push((name, value)),
        }
        Ok(())
    }

    fn finish(self, reader: &mut EntryReader<'a>) {
        let Self { message, template, exception, level, time, renderings, properties } = self;
        let rendered = message.or_else(|| Some(render(template.as_deref()?, &properties, renderings).into()));
        let message = match (rendered, exception) {
            (Some(message), Some(exception)) => Some(Cow::Owned(format!("{message}\n{exception}"))),
            (message, exception) => message.or(exception),
        };
        // An event without a message of Seq is a record like any other.
        let is_plain = message.is_none();
        if let Some(message) = message {
            reader.set_message(message);
        }
        if let Some(level) = level {
            let read = read_level(&level, Scale::Auto);
            match read.is_known {
                true => reader.set_read_level(read.level, read.is_kept.then_some(level)),
                false => reader.set_level(Value::Text(level)),
            }
        }
        if let Some((name, value)) = time {
            match time_of(&value) {
                Some(time) => reader.set_time(time),
                None => reader.add_field(name, value),
            }
        }
        if let Some(template) = template {
            reader.add_field(Cow::Borrowed("template"), Value::Text(template));
        }
        for (name, value) in properties {
            if is_plain { reader.add(name, Some(value)) } else { reader.add_field(name, value) }
        }
    }
}

fn read_event<'a>(records: &mut TextRecords<'a, '_>, object: &'a str) -> Result<(), Malformed> {
    let mut event = Event::default();
    Scanner::new(object).object(|scanner, name| match scanner.value()? {
        Some(value) => event.add(name, value),
        None => Ok(()),
    })?;
    event.finish(records.reader());
    Ok(())
}

fn without_first(name: Cow<'_, str>) -> Cow<'_, str> {
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(name.get(1..).unwrap_or_default()),
        Cow::Owned(name) => Cow::Owned(name.get(1..).unwrap_or_default().to_owned()),
    }
}

fn time_of(value: &Value<'_>) -> Option<SenderTime> {
    match value {
        Value::Text(text) => time_of_text(text, TimeZone::system),
        Value::Number(text) => time_of_number(text),
        Value::Other(_) => None,
    }
}

#[cfg(test)]
#[path = "seq/tests.rs"]
mod tests;

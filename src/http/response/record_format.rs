//! Encodes records for an answer, as the lines of the file or as JSON objects that have a cursor
//! each.

use http::header::HeaderValue;

use super::headers::{JSON, TEXT};
use crate::record::{AnyRecord, LineFields, Stamp, escape_json_into, read_any_line};
use crate::store::{Cursor, CursorKey};

/// Names the format of the records in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordFormat {
    /// The lines of the file, unchanged.
    Text,
    /// One JSON array of objects.
    Json,
    /// One JSON object on each line.
    Ndjson,
}

impl RecordFormat {
    /// All formats, with the names that clients use.
    pub(crate) const ALL: [(&str, Self); 3] =
        [("text", Self::Text), ("json", Self::Json), ("ndjson", Self::Ndjson)];

    /// Returns the media type of the format.
    pub(crate) const fn media_type(self) -> HeaderValue {
        match self {
            Self::Text => TEXT,
            Self::Json => JSON,
            Self::Ndjson => HeaderValue::from_static("application/x-ndjson"),
        }
    }
}

/// Appends the JSON object of a line, without a line end. The members are `time, level, client,
/// key, route, pid, seq, message, fields, cursor`. There is no member `fields` when the record has
/// none. `after` is the cursor after the line. Members that the line does not have are null. A line
/// that does not begin like a record becomes the message.
pub(crate) fn write_object(out: &mut Vec<u8>, line: &[u8], after: Cursor, key: &CursorKey) {
    match read_any_line(line) {
        Some(record) => write_record(out, &record, after, key),
        None => {
            let names = ["time", "level", "client", "key", "route", "pid", "seq"];
            for (index, name) in names.into_iter().enumerate() {
                out.extend_from_slice(if index == 0 { b"{\"" } else { b",\"" });
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":null");
            }
            write_end(out, &String::from_utf8_lossy(line), &LineFields::<String>::default(), after, key);
        }
    }
}

fn write_record(out: &mut Vec<u8>, record: &AnyRecord<'_>, after: Cursor, key: &CursorKey) {
    out.reserve(record.message.len() + 256);
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(&Stamp::from(record.time).rfc3339());
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(record.level.as_str().as_bytes());
    match &record.origin {
        Some(origin) => {
            out.extend_from_slice(b"\",\"client\":");
            write_string(out, &origin.client);
            out.extend_from_slice(b",\"key\":");
            write_string(out, &origin.key);
            out.extend_from_slice(b",\"route\":");
            write_string(out, &origin.route);
        }
        None => out.extend_from_slice(b"\",\"client\":null,\"key\":null,\"route\":null"),
    }
    out.extend_from_slice(b",\"pid\":");
    write_number(out, record.pid);
    out.extend_from_slice(b",\"seq\":");
    write_number(out, record.origin.as_ref().map(|origin| origin.seq));
    write_end(out, &record.message, &record.fields, after, key);
}

fn write_number(out: &mut Vec<u8>, number: Option<impl itoa::Integer>) {
    match number {
        Some(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_end<T: AsRef<str>>(
    out: &mut Vec<u8>,
    message: &str,
    fields: &LineFields<T>,
    after: Cursor,
    key: &CursorKey,
) {
    out.extend_from_slice(b",\"message\":");
    write_string(out, message);
    fields.write_json(out);
    out.extend_from_slice(b",\"cursor\":\"");
    out.extend_from_slice(key.encode(after).as_bytes());
    out.extend_from_slice(b"\"}");
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape_json_into(out, text);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Entry, Field, Level, Line, LineFormat, SenderTime, write_line};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn object_has_every_field_of_the_record(message: String, address: std::net::IpAddr, key: String, micros in 0_i64..4_000_000_000_000_000, seq: u64) {
            let secret = CursorKey::of([7; 16]);
            let stamp = Stamp::from(crate::record::Time { micros, offset: 3600 });
            let (cursor, client) = (Cursor::fixed(42), address.to_string());
            let line = Line { entry: Entry::new(Level::Error, &message), stamp: &stamp, client: &client, key: &key, route: "save-log", pid: 7, seq };
            for format in [LineFormat::Text, LineFormat::Json] {
                let (mut text, mut out) = (Vec::new(), Vec::new());
                write_line(&mut text, format, &line);
                text.pop();
                write_object(&mut out, &text, cursor, &secret);
                prop_assert!(!out.contains(&b'\n'));
                let names: Vec<String> = serde_json::from_slice::<serde_json::Map<_, _>>(&out).unwrap().into_iter().map(|(name, _)| name).collect();
                prop_assert_eq!(names.len(), 9);
                let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
                prop_assert_eq!(value, serde_json::json!({
                    "time": String::from_utf8(stamp.rfc3339().to_vec()).unwrap(), "level": "ERROR", "client": client, "key": key,
                    "route": "save-log", "pid": 7, "seq": seq, "message": message, "cursor": secret.encode(cursor),
                }));
            }
        }
    }

    #[test]
    fn object_has_the_fields_behind_the_message() {
        let secret = CursorKey::of([7; 16]);
        let cursor = Cursor::fixed(9);
        let stamp = Stamp::from(crate::record::Time { micros: 0, offset: 0 });
        let fields = [Field::of_sender("user", "bob"), Field::of_sender("path", "C:\\new \"x\"")];
        let at = SenderTime::from_micros(1_795_410_148_100_000);
        let entry = Entry { at, fields: &fields, ..Entry::new(Level::Info, "m") };
        let line = Line { entry, stamp: &stamp, client: "local", key: "k", route: "r", pid: 7, seq: 1 };
        for format in [LineFormat::Text, LineFormat::Json] {
            let (mut text, mut out) = (Vec::new(), Vec::new());
            write_line(&mut text, format, &line);
            text.pop();
            write_object(&mut out, &text, cursor, &secret);
            let end = r#""message":"m","fields":{"at":"2026-11-23T05:02:28.100000Z","user":"bob","path":"C:\\new \"x\""},"cursor":"#;
            let object = String::from_utf8(out).unwrap();
            assert!(object.contains(end), "{object}");
        }
    }

    #[test]
    fn record_of_version_1_has_a_literal_message_and_no_client() {
        let secret = CursorKey::of([7; 16]);
        let cursor = Cursor::fixed(9);
        let mut out = Vec::new();
        let line = b"[ERROR](2026-11-23 05:02:29+01:00)<root.py|save_log|48|7|140277165046656>opened C:\\new";
        write_object(&mut out, line, cursor, &secret);
        let expected = format!(
            "{{\"time\":\"2026-11-23T05:02:29.000000+01:00\",\"level\":\"ERROR\",\"client\":null,\"key\":null,\
            \"route\":null,\"pid\":7,\"seq\":null,\"message\":\"opened C:\\\\new\",\"cursor\":\"{}\"}}",
            secret.encode(cursor)
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn foreign_line_becomes_the_message() {
        let secret = CursorKey::of([7; 16]);
        let cursor = Cursor::fixed(9);
        let mut out = Vec::new();
        write_object(&mut out, b"no \xff \"line\"", cursor, &secret);
        let expected = format!(
            "{{\"time\":null,\"level\":null,\"client\":null,\"key\":null,\"route\":null,\"pid\":null,\"seq\":null,\
            \"message\":\"no \u{fffd} \\\"line\\\"\",\"cursor\":\"{}\"}}",
            secret.encode(cursor)
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

//! Encodes records for an answer, as the lines of the file or as JSON objects that have a cursor
//! each.

use http::header::HeaderValue;

use super::headers::{JSON, TEXT};
use crate::record::{LineFields, Record, Stamp, escape_json_into, read_line};
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
/// none. `after` is the cursor after the line. A line that is not a record becomes the message, and
/// its unknown members are null.
pub(crate) fn write_object(out: &mut Vec<u8>, line: &[u8], after: Cursor, key: &CursorKey) {
    match read_line(line) {
        Ok(record) => write_record(out, &record, after, key),
        Err(_) => {
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

/// Appends the JSON object of a record. The members are those of [`write_object`].
pub(crate) fn write_record<T: AsRef<str>>(
    out: &mut Vec<u8>,
    record: &Record<T>,
    after: Cursor,
    key: &CursorKey,
) {
    out.reserve(record.message.as_ref().len() + 256);
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(&Stamp::from(record.time).rfc3339());
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(record.level.as_str().as_bytes());
    out.extend_from_slice(b"\",\"client\":");
    write_string(out, record.client.as_ref());
    out.extend_from_slice(b",\"key\":");
    write_string(out, record.key.as_ref());
    out.extend_from_slice(b",\"route\":");
    write_string(out, record.route.as_ref());
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(b",\"pid\":");
    out.extend_from_slice(number.format(record.pid).as_bytes());
    out.extend_from_slice(b",\"seq\":");
    out.extend_from_slice(number.format(record.seq).as_bytes());
    write_end(out, record.message.as_ref(), &record.fields, after, key);
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
        fn object_has_every_field_of_the_record(message: String, client: String, key: String, micros in 0_i64..4_000_000_000_000_000, seq: u64) {
            let secret = CursorKey::of([7; 16]);
            let stamp = Stamp::from(crate::record::Time { micros, offset: 3600 });
            let cursor = Cursor::fixed(42);
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
        let line = Line { entry, stamp: &stamp, client: "c", key: "k", route: "r", pid: 7, seq: 1 };
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

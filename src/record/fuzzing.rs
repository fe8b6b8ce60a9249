//! What holds for every line and every entry, for the fuzz targets in `fuzz/` and the property
//! tests. Each function panics when it does not hold.

use std::borrow::Cow;

use super::{
    Entry, Field, FieldsBuilder, Level, Line, LineFormat, LineHead, MAX_HEAD_BYTES, MAX_SENDER_FIELDS,
    Record, SenderTime, Stamp, Time, parse_line, read_any_line, write_line,
};

/// Returns the line of a parsed record, without its line end.
pub(super) fn written(record: &Record, format: LineFormat) -> Vec<u8> {
    let fields: Vec<Field<'_>> =
        record.fields.iter().map(|(name, value)| Field::of_line(name, value)).collect();
    let line = Line {
        // The sender's time is the first of the parsed fields.
        entry: Entry { level: record.level, message: &record.message, at: None, fields: &fields },
        stamp: &Stamp::from(record.time),
        client: &record.client,
        key: &record.key,
        route: &record.route,
        pid: record.pid,
        seq: record.seq,
    };
    let mut out = Vec::new();
    write_line(&mut out, format, &line);
    assert_eq!(out.pop(), Some(b'\n'));
    out
}

/// Parses any bytes. A line that is read is the line that is written for the record that was read,
/// unless it holds a separator without fields.
pub fn line(line: &[u8]) {
    any_line(line);
    let Ok(record) = parse_line(line) else { return };
    let head = LineHead::of(line).map(|head| (head.time(), head.level));
    assert_eq!(head, Some((record.time, record.level)));
    let formats = [LineFormat::Text, LineFormat::Json];
    let [text, json] = formats.map(|format| written(&record, format));
    for again in [&text, &json] {
        assert_eq!(parse_line(again).as_ref(), Ok(&record));
    }
    if line.first() == Some(&b'{') {
        assert_eq!(line, json);
    } else if line != text {
        let unescaped = |line: &[u8]| String::from_utf8_lossy(line).replace("\\\\|", "\\|");
        assert!(record.fields.is_empty() && record.message.contains(" \\| "));
        assert_eq!(unescaped(line), unescaped(&text));
    }
}

/// Reads any bytes as a line that another program may have written. A line with a head is a record
/// with the time and the level of its head, and its start is enough to read the head.
fn any_line(line: &[u8]) {
    let head = LineHead::of(line).map(|head| (head.time(), head.level));
    assert_eq!(read_any_line(line).map(|record| (record.time, record.level)), head);
    let start = line.get(..MAX_HEAD_BYTES).unwrap_or(line);
    assert_eq!(LineHead::of(start).map(|head| (head.time(), head.level)), head);
}

/// Writes an entry with these fields in both formats. Each is one line, and reads back as the same
/// message and the same fields: nothing in them is read as another field or another line.
pub fn entry(message: &str, at: Option<i64>, fields: &[(&str, &str)]) {
    let mut list = Vec::new();
    let mut builder = FieldsBuilder::new(&mut list);
    for (name, value) in fields {
        builder.push(*name, *value);
    }
    let (_, left_out) = builder.finish();
    assert!(list.len() <= fields.len().min(MAX_SENDER_FIELDS) + usize::from(left_out > 0));
    let at = at.and_then(SenderTime::from_micros);
    entry_comes_back(&Entry { level: Level::Error, message, at, fields: &list });
}

/// Writes an entry as [`entry`] does.
pub fn entry_comes_back(entry: &Entry<'_>) {
    let Entry { message, at, fields, .. } = *entry;
    let stamp = Stamp::from(Time { micros: 0, offset: 0 });
    let line = Line { entry: *entry, stamp: &stamp, client: "c", key: "k", route: "r", pid: 1, seq: 1 };
    let at = at.map(|at| String::from_utf8_lossy(&at.rfc3339()).into_owned());
    let expected: Vec<(&str, Cow<'_, str>)> = (at.iter().map(|at| ("at", Cow::Borrowed(at.as_str()))))
        .chain(fields.iter().map(|field| (field.name(), Cow::Borrowed(field.value()))))
        .collect();
    for format in [LineFormat::Text, LineFormat::Json] {
        let mut out = Vec::new();
        write_line(&mut out, format, &line);
        assert_eq!(memchr::memchr_iter(b'\n', &out).count(), 1);
        assert!(out.iter().all(|byte| *byte >= 0x20 || matches!(byte, b'\t' | b'\n')));
        out.pop();
        let read = parse_line(&out);
        assert!(read.is_ok_and(|read| {
            read.message == message && read.fields.iter().eq(expected.iter().cloned())
        }));
        self::line(&out);
    }
}

//! Defines what a record is: its level, its time, its fields, its line and the escaping of its texts.
//! Does no I/O.

mod clock;
mod entry;
mod escape;
mod escaped_entries;
mod fields;
mod foreign;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod level;
mod line;
mod line_fields;
mod line_reader;
mod logfmt;
mod time_spec;

#[cfg(test)]
pub(crate) use clock::skew;
pub use clock::{Clock, MAX_AHEAD_MICROS, STAMP_LEN, Stamp, Time, now_micros};
pub use entry::{Entry, SenderTime};
pub use escape::{
    Escaped, escape_into, escape_json_into, escape_quoted_into, escape_shown_into, escape_word_into,
    escaped_message, escaped_value,
};
pub use escaped_entries::EscapedEntries;
pub use fields::{Field, FieldsBuilder, MAX_FIELDS_BYTES, MAX_SENDER_FIELDS, OwnField};
pub use foreign::{
    AnyBody, AnyRecord, LOCAL_CLIENT, LineHead, MAX_HEAD_BYTES, Origin, begins_record, parse_time,
    read_any_line,
};
pub use level::{Level, UnknownLevel};
pub use line::{Line, LinePrefix, MAX_LINE_BYTES, Record, write_line};
pub use line_fields::LineFields;
pub use line_reader::{LineError, parse_line, read_line};
pub use logfmt::MAX_NAME_CHARS;
pub use time_spec::{UnknownTime, parse_time_spec};

/// The format in which a record is written to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineFormat {
    /// Plain text: `[LEVEL](TIME)<CLIENT|KEY|ROUTE|PID|SEQ>MESSAGE`, with
    /// ` \| NAME=VALUE NAME=VALUE` behind the message of a record with fields.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

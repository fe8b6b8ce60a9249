//! What a record is and how it stands in the file: levels, the line grammar, the clock of a file.

mod clock;
mod escape;
mod level;
mod line;
mod time_spec;

pub use clock::{Clock, STAMP_LEN, Stamp, Time};
pub use escape::{
    Escaped, escape_into, escape_json_into, escape_quoted_into, escape_word_into, escaped_message,
};
pub use level::{Level, UnknownLevel};
pub use line::{
    Line, LineError, LinePrefix, Record, parse_level, parse_line, parse_time, read_line, write_line,
};
pub use time_spec::{UnknownTime, parse_time_spec};

/// How a record stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineFormat {
    /// `[LEVEL](TIME)<CLIENT|KEY|ROUTE|PID|SEQ>MESSAGE`
    #[default]
    Text,
    /// one JSON object a line
    Json,
}

//! What a record is and how it stands in the file: levels, the line grammar, the clock of a file.

mod escape;
mod level;
mod line;
mod stamp;
mod when;

pub use escape::{
    Escaped, escape_into, escape_json_into, escape_quoted_into, escape_word_into, escaped_message,
};
pub use level::{Level, UnknownLevel};
pub use line::{Common, Line, LineError, Record, parse_level, parse_line, parse_time, read_line, write_line};
pub use stamp::{Clock, STAMP_LEN, Stamp, Time};
pub use when::{UnknownTime, parse_when};

/// How a record stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineFormat {
    /// `[LEVEL](TIME)<CLIENT|KEY|ROUTE|PID|SEQ>MESSAGE`
    #[default]
    Text,
    /// one JSON object a line
    Json,
}

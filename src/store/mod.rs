//! Stores records. The traits of [`LogStore`] separate the service from an engine. No code above this
//! folder knows a file, a position or a setting of an engine. Only [`open`] knows which engines there
//! are.
//!
//! Every engine keeps three promises. An append completes when its records have reached what
//! [`Durability`](crate::config::Durability) names, or fails. Then nothing was stored, unless the
//! error is [`StoreError::Unknown`]. Cursors only grow, and a [`Cursor`] names the same record until
//! that record is cleared. Readers see whole, durable lines only.

mod commit;
mod cursor;
mod details;
mod error;
mod file;
mod line_chunk;
mod line_writer;
mod log_store;
#[cfg(any(test, debug_assertions))]
mod memory;
mod pattern;
mod query;
mod raw_file;
mod selection;
mod statistics;

#[cfg(test)]
mod model_tests;

pub use commit::{AppendTicket, DurableCallback, Saved};
pub use cursor::{Cursor, CursorError, CursorKey};
pub use details::Details;
pub use error::{QueueFull, ReadError, StoreError};
pub use file::is_file_of;
pub use line_chunk::LineChunk;
pub use log_store::{AppendLog, LogStore, ManageLog, Opened, Places, ReadLog, Source, append, begin};
pub use pattern::{Pattern, PatternError};
pub use query::{Extent, Form, Order, Progress, Query, Reading, Writer};
pub use raw_file::{ByteSource, RawFile, Snapshot};
pub(crate) use selection::MissingTexts;
pub use selection::{Clients, NotAClient, Selection};
pub use statistics::{Latencies, Statistics};

use std::io;

use crate::config::LogEntry;

/// Opens the log `log` with its engine, on the runtime of the caller. `queue_bytes` limits the lines
/// that wait to be stored.
///
/// # Errors
/// Fails when the log can't be opened, created or repaired.
pub fn open(log: &LogEntry, places: &Places, queue_bytes: usize) -> io::Result<Opened> {
    #[cfg(any(test, debug_assertions))]
    if crate::fault::wants_engine("memory") {
        return memory::open(log);
    }
    file::open(log, places, queue_bytes)
}

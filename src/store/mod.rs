//! Stores records. [`LogStore`] separates the service from an engine. [`FileStore`] is the engine
//! that keeps a log as one plain text file.
//!
//! Every engine keeps three promises. An append completes when its records have reached what
//! [`Durability`](crate::config::Durability) names, or fails, and then nothing was stored.
//! Positions only grow, and a [`Cursor`] names the same byte until that byte is cleared. Readers
//! see whole, durable lines only.

mod commit;
mod cursor;
mod error;
mod file;
mod line_chunk;
mod log_store;
mod query;
mod selection;
mod statistics;

pub use commit::{AppendTicket, DurableCallback, Saved};
pub use cursor::{Cursor, CursorError, CursorKey};
pub use error::{QueueFull, ReadError, StoreError};
pub use file::{FileStore, is_segment};
pub use line_chunk::LineChunk;
pub use log_store::{ByteSource, Details, LogStore, Settings, Snapshot, Source, append, begin};
pub use query::{Extent, Form, Order, Progress, Query, Reading, Writer};
pub use selection::{Clients, NotAClient, Pattern, PatternError, Selection};
pub use statistics::{Latencies, Statistics};

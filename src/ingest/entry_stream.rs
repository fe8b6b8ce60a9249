//! Entries of a body that is read while it arrives.

use bytes::Bytes;

use super::batch::Batch;
use super::entry::read_rules::ReadRules;
use super::error::IngestError;

/// Reads the entries of a body in pieces, in bounded memory.
pub(crate) trait EntryStream: Send {
    /// Reads from the front of `body` and removes what it has read. Each call does little enough work
    /// for the event loop.
    ///
    /// # Errors
    /// Fails when the body is malformed. The entries before the error can still be taken.
    fn read(&mut self, body: &mut Bytes, rules: &ReadRules<'_>) -> Result<StreamStep, IngestError>;

    /// Ends the body, which was read to its end.
    ///
    /// # Errors
    /// Fails when the body ends within an entry.
    fn end(&mut self, rules: &ReadRules<'_>) -> Result<(), IngestError>;

    /// Returns how many bytes the whole entries take that were read and not taken.
    fn held_bytes(&self) -> usize;

    /// Takes the whole entries.
    fn take(&mut self) -> Box<dyn HeldEntries>;

    /// Returns the memory that the stream may need, in bytes, without the entries that were taken.
    fn memory_bytes(&self) -> u64;
}

/// What a stream can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamStep {
    /// It has more to read in what it was given.
    HasMore,
    /// It needs more of the body.
    NeedsBytes,
}

/// Whole entries that were taken from a stream. They stay until they are durable.
pub(crate) trait HeldEntries: Send + Sync {
    /// Returns how many bytes the entries take.
    fn bytes(&self) -> usize;

    /// Returns the entries.
    fn batch(&self, rules: &ReadRules<'_>) -> Batch<'_>;
}

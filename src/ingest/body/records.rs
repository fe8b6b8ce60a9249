//! Collects the records of a body that holds any number of them.
//!
//! Their number and their memory are bounded, and long messages are cut. One record with nothing to
//! store does not refuse the others.

use std::borrow::Cow;

use super::content::MAX_RECORDS;
use super::memory::BodyMemory;
use super::stream::stream_rules;
use crate::ingest::batch::Batch;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::{EntryReader, fit};
use crate::ingest::error::IngestError;
use crate::ingest::level_names::ReadLevel;
use crate::record::{FieldsBuilder, OwnField, SenderTime};

/// Memory that is taken at a time, in bytes. Bodies whose records need less are not counted.
const MEMORY_STEP: usize = 256 * 1024;

/// A record of which the dialect says what is the message, the level and the time.
pub(crate) struct LineEntry<'a> {
    /// The level, and the words of the sender.
    pub(crate) level: Option<ReadLevel>,
    pub(crate) words: Option<Cow<'a, str>>,
    pub(crate) message: Cow<'a, str>,
    pub(crate) at: Option<SenderTime>,
    /// Whether bytes of the record were no UTF-8.
    pub(crate) is_repaired: bool,
}

/// The records of one body while they are read.
pub(crate) struct Records<'a, 'r> {
    /// Collects the members of the next record.
    pub(crate) reader: EntryReader<'a>,
    batch: Batch<'a>,
    rules: ReadRules<'r>,
    memory: &'r dyn BodyMemory,
    /// Memory that the records and their lines need, and that was taken, in bytes.
    needed: usize,
    taken: usize,
}

impl<'a, 'r> Records<'a, 'r> {
    /// Starts without records.
    pub(crate) fn new(rules: &ReadRules<'r>, memory: &'r dyn BodyMemory) -> Self {
        Self {
            reader: EntryReader::default(),
            batch: Batch::default(),
            rules: stream_rules(rules),
            memory,
            needed: 0,
            taken: MEMORY_STEP,
        }
    }

    /// Ends the record whose members the reader holds. Returns false when nothing of it can be stored.
    ///
    /// # Errors
    /// Fails for more than [`MAX_RECORDS`] records, and when the memory is used up.
    pub(crate) fn finish(&mut self) -> Result<bool, IngestError> {
        if self.batch.len() >= MAX_RECORDS {
            return Err(IngestError::TooManyRecords);
        }
        let is_stored = self.reader.finish(&self.rules, None, &mut self.batch).is_ok();
        if is_stored {
            self.count(self.batch.memory_of_last())?;
        }
        Ok(is_stored)
    }

    /// Adds a record whose parts are known. `add_fields` adds the fields that the rules keep.
    ///
    /// # Errors
    /// Fails as [`Self::finish`] does.
    pub(crate) fn push(
        &mut self,
        entry: LineEntry<'a>,
        add_fields: impl FnOnce(&mut FieldsBuilder<'_, 'a>),
    ) -> Result<(), IngestError> {
        if self.batch.len() >= MAX_RECORDS {
            return Err(IngestError::TooManyRecords);
        }
        let keeps_fields = self.rules.keeps_fields;
        // These rules cut a long message, so none is refused.
        let (message, sent_chars) = fit(entry.message, &self.rules).unwrap_or_default();
        let read = entry.level.unwrap_or(ReadLevel::ABSENT);
        let at = entry.at.filter(|_| keeps_fields);
        let dropped = self.batch.push_with(read.level, message, at, |fields| {
            if let Some(words) = entry.words.filter(|_| read.is_kept && keeps_fields) {
                fields.push_own(OwnField::Level, words);
            }
            if keeps_fields {
                add_fields(fields);
            }
            if let Some(chars) = sent_chars {
                fields.push_own(OwnField::Cut, chars.to_string());
            }
            if entry.is_repaired {
                fields.push_own(OwnField::Utf8, "replaced");
            }
        });
        let changes = &mut self.batch.changes;
        changes.unknown_levels += u64::from(!read.is_known);
        changes.cut_messages += u64::from(sent_chars.is_some());
        changes.dropped_fields += dropped as u64;
        changes.replaced_texts += u64::from(entry.is_repaired);
        self.count(self.batch.memory_of_last())
    }

    /// Returns how the records are read.
    pub(crate) const fn rules(&self) -> &ReadRules<'r> {
        &self.rules
    }

    /// Adds the records of another body.
    ///
    /// # Errors
    /// Fails as [`Self::finish`] does.
    pub(crate) fn append(&mut self, other: Batch<'a>) -> Result<(), IngestError> {
        if self.batch.len() + other.len() > MAX_RECORDS {
            return Err(IngestError::TooManyRecords);
        }
        self.batch.append(other);
        self.count(self.batch.memory_of_last())
    }

    /// Forgets the members of a record that turned out to be broken.
    pub(crate) fn discard(&mut self) {
        self.reader = EntryReader::default();
    }

    /// Takes memory that the body needs beside its records.
    ///
    /// # Errors
    /// Fails when the memory is used up.
    pub(crate) fn count(&mut self, bytes: usize) -> Result<(), IngestError> {
        self.needed += bytes;
        if self.needed > self.taken {
            let more = (self.needed - self.taken).max(MEMORY_STEP);
            self.memory.take(more)?;
            self.taken += more;
        }
        Ok(())
    }

    /// Returns the records.
    pub(crate) fn into_batch(self) -> Batch<'a> {
        self.batch
    }
}

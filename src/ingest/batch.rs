//! The entries of one request.

use std::borrow::Cow;

use bytes::Bytes;

use crate::record::{Entry, Field, FieldsBuilder, Level, SenderTime};

/// The entries of one request, in its order. They borrow from the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Batch<'a> {
    entries: Vec<BatchEntry<'a>>,
    /// The fields of all entries. One list saves an allocation for each entry with fields.
    fields: Vec<Field<'a>>,
    /// What was changed in the entries.
    pub(crate) changes: Changes,
    /// The body of the answer, if it was prepared with the entries.
    pub(crate) prepared: Option<Bytes>,
}

/// What was changed in the entries of a request so that they could be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Changes {
    /// Number of levels without a meaning, which count as INFO.
    pub(crate) unknown_levels: u64,
    /// Number of messages that were cut.
    pub(crate) cut_messages: u64,
    /// Number of fields that were left out.
    pub(crate) dropped_fields: u64,
    /// Number of records with bytes that were no UTF-8.
    pub(crate) replaced_texts: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct BatchEntry<'a> {
    level: Level,
    message: Cow<'a, str>,
    at: Option<SenderTime>,
    /// The index behind the last field. The first one follows the last field of the entry before.
    fields_end: usize,
}

impl<'a> Batch<'a> {
    /// Adds an entry without fields.
    pub(crate) fn push(&mut self, level: Level, message: Cow<'a, str>) {
        self.entries.push(BatchEntry { level, message, at: None, fields_end: self.fields.len() });
    }

    /// Adds an entry whose fields `add_fields` gives. Returns the number of fields that were left out.
    pub(crate) fn push_with(
        &mut self,
        level: Level,
        message: Cow<'a, str>,
        at: Option<SenderTime>,
        add_fields: impl FnOnce(&mut FieldsBuilder<'_, 'a>),
    ) -> usize {
        let mut fields = FieldsBuilder::new(&mut self.fields);
        add_fields(&mut fields);
        let (fields_end, left_out) = fields.finish();
        self.entries.push(BatchEntry { level, message, at, fields_end });
        left_out
    }

    /// Sets the body of the answer to a request whose entries are stored. Formats whose answer names each
    /// entry prepare it while they read the entries.
    #[allow(dead_code, reason = "for formats to come")]
    pub(crate) fn set_reply(&mut self, body: impl Into<Bytes>) {
        self.prepared = Some(body.into());
    }

    /// Returns the first entry.
    pub(crate) fn first(&self) -> Option<Entry<'_>> {
        let BatchEntry { level, message, at, fields_end } = self.entries.first()?;
        let fields = self.fields.get(..*fields_end).unwrap_or_default();
        Some(Entry { level: *level, message, at: *at, fields })
    }

    /// Returns the number of entries.
    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds the entries of another batch.
    pub(crate) fn append(&mut self, other: Self) {
        let before = self.fields.len();
        self.prepared = other.prepared.or_else(|| self.prepared.take());
        self.fields.extend(other.fields);
        let moved = |entry: BatchEntry<'a>| BatchEntry { fields_end: before + entry.fields_end, ..entry };
        self.entries.extend(other.entries.into_iter().map(moved));
        let (changes, more) = (&mut self.changes, other.changes);
        changes.unknown_levels += more.unknown_levels;
        changes.cut_messages += more.cut_messages;
        changes.dropped_fields += more.dropped_fields;
        changes.replaced_texts += more.replaced_texts;
    }

    /// Returns about how much memory the last entry and its line take. The lists grow by doubling.
    pub(crate) fn memory_of_last(&self) -> usize {
        const ENTRY: usize = 2 * size_of::<BatchEntry<'_>>() + size_of::<Entry<'_>>();
        const FIELD: usize = 2 * size_of::<Field<'_>>();
        const LINE: usize = 128;
        let mut last = self.entries.iter().rev();
        let Some(entry) = last.next() else { return 0 };
        let begin = last.next().map_or(0, |before| before.fields_end);
        let fields = self.fields.get(begin..entry.fields_end).unwrap_or_default();
        let texts: usize = fields.iter().map(|field| field.name().len() + field.value().len() + 4).sum();
        ENTRY + FIELD * fields.len() + LINE + entry.message.len() + texts
    }

    /// Returns the entries at or above the level of the log, for the store.
    pub(crate) fn entries(&self, min_level: Level) -> Vec<Entry<'_>> {
        let mut stored = Vec::with_capacity(self.entries.len());
        let mut start = 0;
        for BatchEntry { level, message, at, fields_end } in &self.entries {
            if *level >= min_level {
                let fields = self.fields.get(start..*fields_end).unwrap_or_default();
                stored.push(Entry { level: *level, message, at: *at, fields });
            }
            start = *fields_end;
        }
        stored
    }

    /// Returns the batch with copies of its texts.
    pub(crate) fn into_owned(self) -> Batch<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        let entry = |BatchEntry { level, message, at, fields_end }| BatchEntry {
            level,
            message: owned(message),
            at,
            fields_end,
        };
        Batch {
            entries: self.entries.into_iter().map(entry).collect(),
            fields: self.fields.into_iter().map(Field::into_owned).collect(),
            changes: self.changes,
            prepared: self.prepared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_below_the_level_of_the_log_are_left_out_with_their_fields() {
        let mut batch = Batch::default();
        batch.push_with(Level::Info, "one".into(), None, |fields| fields.push("a", "1"));
        batch.push_with(Level::Debug, "two".into(), None, |fields| fields.push("b", "2"));
        batch.push(Level::Error, "three".into());
        batch.push_with(Level::Error, "four".into(), SenderTime::from_micros(0), |fields| {
            fields.push("c", "3");
            fields.push("d", "4");
        });
        let batch = batch.into_owned();
        assert_eq!(batch.len(), 4);
        let shown = |entry: &Entry<'_>| {
            let fields: Vec<String> =
                entry.fields.iter().map(|field| format!("{}={}", field.name(), field.value())).collect();
            format!("{} {} {}", entry.message, entry.at.is_some(), fields.join(" "))
        };
        let entries: Vec<String> = batch.entries(Level::Info).iter().map(shown).collect();
        assert_eq!(entries, ["one false a=1", "three false ", "four true c=3 d=4"]);
        assert_eq!(batch.entries(Level::Debug).len(), 4);
        assert!(batch.entries(Level::Critical).is_empty());
    }
}

//! Entries of a journal, as the parser collects them: one buffer for the texts of all of them.

use std::borrow::Cow;
use std::ops::Range;

use crate::ingest::batch::Batch;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry_stream::HeldEntries;
use crate::ingest::level_names::{ReadLevel, Scale, read_level};
use crate::record::{Level, OwnField, SenderTime};

/// Whole entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    texts: Vec<u8>,
    fields: Vec<FieldSpan>,
    entries: Vec<EntryEnd>,
}

/// The places of one field in the texts.
#[derive(Debug, Clone)]
pub(super) struct FieldSpan {
    pub(super) name: Range<usize>,
    pub(super) value: Range<usize>,
}

/// The end of an entry in the lists, and its message.
#[derive(Debug)]
struct EntryEnd {
    fields_end: usize,
    message: Range<usize>,
    /// Number of characters of the message that were not kept.
    message_rest: usize,
    priority: Option<Range<usize>>,
    at: Option<SenderTime>,
    left_out: usize,
}

/// One entry while it is read.
#[derive(Debug, Default)]
pub(super) struct OpenEntry {
    /// The names and the values of the fields.
    pub(super) texts: Vec<u8>,
    pub(super) fields: Vec<FieldSpan>,
    pub(super) has_message: bool,
    pub(super) message: Vec<u8>,
    /// Number of characters of the message that were not kept.
    pub(super) message_rest: usize,
    pub(super) has_priority: bool,
    pub(super) priority: Vec<u8>,
    pub(super) at: Option<SenderTime>,
    /// Number of fields that were left out.
    pub(super) left_out: usize,
}

impl OpenEntry {
    /// Returns the memory of the entry, in bytes.
    pub(super) const fn memory_bytes(&self) -> usize {
        let fields = self.fields.capacity() * size_of::<FieldSpan>();
        self.texts.capacity() + self.message.capacity() + fields
    }

    /// Returns whether nothing of an entry was read that a record keeps.
    pub(super) const fn is_empty(&self) -> bool {
        !self.has_message && self.fields.is_empty() && self.left_out == 0
    }

    /// Begins anew. Keeps the buffers unless they are large.
    pub(super) fn clear(&mut self) {
        const MAX_KEPT_BYTES: usize = 64 * 1024;
        let mut old = std::mem::take(self);
        for buffer in [&mut old.texts, &mut old.message] {
            buffer.clear();
            buffer.shrink_to(MAX_KEPT_BYTES);
        }
        old.fields.clear();
        old.priority.clear();
        let Self { texts, fields, message, priority, .. } = old;
        *self = Self { texts, fields, message, priority, ..Self::default() };
    }
}

impl Entries {
    /// Returns how many bytes the entries take.
    pub(super) fn bytes(&self) -> usize {
        self.texts.len()
            + self.fields.len() * size_of::<FieldSpan>()
            + self.entries.len() * size_of::<EntryEnd>()
    }

    /// Adds a copy of an entry.
    pub(super) fn push(&mut self, entry: &OpenEntry) {
        let begin = self.texts.len();
        let moved = |range: &Range<usize>| begin + range.start..begin + range.end;
        let fields = entry.fields.iter();
        self.texts.extend_from_slice(&entry.texts);
        self.fields
            .extend(fields.map(|field| FieldSpan { name: moved(&field.name), value: moved(&field.value) }));
        let message = self.add_text(&entry.message);
        let priority = entry.has_priority.then(|| self.add_text(&entry.priority));
        self.entries.push(EntryEnd {
            fields_end: self.fields.len(),
            message,
            message_rest: entry.message_rest,
            priority,
            at: entry.at,
            left_out: entry.left_out,
        });
    }

    fn add_text(&mut self, text: &[u8]) -> Range<usize> {
        let begin = self.texts.len();
        self.texts.extend_from_slice(text);
        begin..self.texts.len()
    }

    fn bytes_of(&self, range: &Range<usize>) -> &[u8] {
        self.texts.get(range.clone()).unwrap_or_default()
    }

    /// Adds one entry to a batch.
    fn add<'a>(
        &'a self,
        entry: &EntryEnd,
        fields: &'a [FieldSpan],
        rules: &ReadRules<'_>,
        batch: &mut Batch<'a>,
    ) {
        let mut is_repaired = false;
        let mut text = |range: &Range<usize>| -> Cow<'a, str> {
            let text = String::from_utf8_lossy(self.bytes_of(range));
            is_repaired |= matches!(text, Cow::Owned(_));
            text
        };
        let priority = entry.priority.as_ref().map(&mut text);
        let level = priority.as_deref().map(|text| read_level(text, Scale::Syslog));
        let ReadLevel { level, is_kept, is_known } =
            level.unwrap_or_else(|| ReadLevel { level: Level::default(), is_kept: false, is_known: true });
        let (message, sent_chars) = self.message(entry, rules, &mut text);
        let values: Vec<(Cow<'a, str>, Cow<'a, str>)> =
            fields.iter().map(|field| (text(&field.name), text(&field.value))).collect();
        let keeps_fields = rules.keeps_fields;
        let at = entry.at.filter(|_| keeps_fields);
        let dropped = batch.push_with(level, message, at, |builder| {
            if let Some(words) = priority.filter(|_| is_kept && keeps_fields) {
                builder.push_own(OwnField::Level, words);
            }
            for (name, value) in values {
                builder.push(name, value);
            }
            builder.left_out(entry.left_out);
            if let Some(chars) = sent_chars {
                builder.push_own(OwnField::Cut, chars.to_string());
            }
            if is_repaired {
                builder.push_own(OwnField::Utf8, "replaced");
            }
        });
        let changes = &mut batch.changes;
        changes.unknown_levels += u64::from(!is_known);
        changes.cut_messages += u64::from(sent_chars.is_some());
        changes.dropped_fields += dropped as u64;
        changes.replaced_texts += u64::from(is_repaired);
    }

    /// Returns the message, cut if it is too long, and the number of characters of a message that was
    /// cut.
    fn message<'a>(
        &'a self,
        entry: &EntryEnd,
        rules: &ReadRules<'_>,
        text: &mut impl FnMut(&Range<usize>) -> Cow<'a, str>,
    ) -> (Cow<'a, str>, Option<usize>) {
        let mut range = entry.message.clone();
        let mut rest = entry.message_rest;
        let max = rules.max_message_chars;
        if rest > 0 {
            // What was kept may end within a character.
            let whole = whole_chars_len(self.bytes_of(&range));
            rest += usize::from(whole < range.len());
            range.end = range.start + whole;
        }
        if range.len() <= max && rest == 0 {
            return (text(&range), None);
        }
        let message = text(&range);
        let Some((end, _)) = message.char_indices().nth(max) else {
            let chars = (rest > 0).then(|| message.chars().count() + rest);
            return (message, chars);
        };
        let chars = max + message.get(end..).unwrap_or_default().chars().count() + rest;
        let cut = match message {
            Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
            Cow::Owned(mut text) => {
                text.truncate(end);
                Cow::Owned(text)
            }
        };
        (cut, Some(chars))
    }
}

/// Returns the length of the bytes without the character that they end within.
fn whole_chars_len(bytes: &[u8]) -> usize {
    let begin = bytes.len().saturating_sub(4);
    let tail = bytes.get(begin..).unwrap_or_default();
    // The last byte that begins a character. A character has at most four bytes.
    match tail.iter().rposition(|byte| byte & 0xc0 != 0x80) {
        Some(at) if is_cut_char(tail.get(at..).unwrap_or_default()) => begin + at,
        _ => bytes.len(),
    }
}

fn is_cut_char(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

impl HeldEntries for Entries {
    fn bytes(&self) -> usize {
        Self::bytes(self)
    }

    fn batch(&self, rules: &ReadRules<'_>) -> Batch<'_> {
        let mut batch = Batch::default();
        let mut begin = 0;
        for entry in &self.entries {
            let fields = self.fields.get(begin..entry.fields_end).unwrap_or_default();
            self.add(entry, fields, rules, &mut batch);
            begin = entry.fields_end;
        }
        batch
    }
}

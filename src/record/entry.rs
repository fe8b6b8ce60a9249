//! An entry: what a sender gives for one record. The store adds the time of arrival, the process and
//! the sequence number.

use super::clock::{self, Stamp, Time};
use super::fields::Field;
use super::level::Level;

/// One message to store, with the fields that its sender gave. Borrows all texts.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The severity.
    pub level: Level,
    /// The message: any text.
    pub message: &'a str,
    /// The sender's time. It is stored as the first field, `at`.
    pub at: Option<SenderTime>,
    /// The fields, in the order of the line. [`FieldsBuilder`](super::FieldsBuilder) keeps their
    /// rules and limits.
    pub fields: &'a [Field<'a>],
}

impl<'a> Entry<'a> {
    /// Returns an entry without fields.
    #[must_use]
    pub const fn new(level: Level, message: &'a str) -> Self {
        Self { level, message, at: None, fields: &[] }
    }

    /// Returns whether the line of the entry has a part for fields.
    #[must_use]
    pub const fn has_fields(&self) -> bool {
        self.at.is_some() | !self.fields.is_empty()
    }

    /// Returns about how many bytes the message and the fields take in a line.
    #[must_use]
    pub fn text_len(&self) -> usize {
        let fields = if self.has_fields() { self.fields_len() } else { 0 };
        self.message.len() + fields
    }

    fn fields_len(&self) -> usize {
        const AT_BYTES: usize = 40;
        self.fields.iter().fold(AT_BYTES, |sum, field| sum + field.name().len() + field.value().len() + 4)
    }
}

/// The time that a sender gave for its record: an instant of the years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderTime(i64);

/// Length of the text of a [`SenderTime`], in bytes.
const SENDER_TIME_LEN: usize = 27;

impl SenderTime {
    /// Returns the instant `micros` microseconds after the Unix epoch. `None` for one that a line
    /// cannot hold.
    #[must_use]
    pub fn from_micros(micros: i64) -> Option<Self> {
        clock::can_show(micros).then_some(Self(micros))
    }

    /// Returns the instant in microseconds since the Unix epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns the text in UTC, such as `2026-11-23T05:02:28.100000Z` (RFC 3339).
    #[must_use]
    pub fn rfc3339(self) -> [u8; SENDER_TIME_LEN] {
        let mut text = [b'Z'; SENDER_TIME_LEN];
        let stamp = Stamp::from(Time { micros: self.0, offset: 0 }).rfc3339();
        // The rest of the stamp is its offset, which `Z` stands for.
        if let (Some(to), Some(from)) =
            (text.first_chunk_mut(), stamp.first_chunk::<{ SENDER_TIME_LEN - 1 }>())
        {
            *to = *from;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_the_sender_is_written_in_utc_with_six_digits() {
        let text = |micros| String::from_utf8(SenderTime::from_micros(micros).unwrap().rfc3339().to_vec());
        assert_eq!(text(1_795_410_148_100_000).unwrap(), "2026-11-23T05:02:28.100000Z");
        assert_eq!(text(0).unwrap(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(-1).unwrap(), "1969-12-31T23:59:59.999999Z");
        assert_eq!(SenderTime::from_micros(i64::MAX), None);
        assert_eq!(SenderTime::from_micros(i64::MIN), None);
    }

    #[test]
    fn entry_without_fields_is_as_long_as_its_message() {
        let entry = Entry::new(Level::Info, "message");
        assert!(!entry.has_fields());
        assert_eq!(entry.text_len(), 7);
        let timed = Entry { at: SenderTime::from_micros(0), ..entry };
        assert!(timed.has_fields() && timed.text_len() > 7);
    }
}

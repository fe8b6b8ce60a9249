//! The options of a log and of a key that say how entries are read.

use crate::config::{ArgValue, KeyEntry, LogEntry, LongMessages};
use crate::ingest::level_names::Scale;

/// How the entries of a request are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ReadRules<'r> {
    /// The scale of levels that are numbers.
    pub(crate) scale: Scale,
    /// Whether records keep the fields of their senders.
    pub(crate) keeps_fields: bool,
    /// Names of fields that are not kept, with all names below them.
    pub(crate) dropped_fields: &'r [String],
    /// Parameters that are no fields, because the key demands them.
    pub(crate) required_args: &'r [(String, ArgValue)],
    /// Maximum length of a message in characters (code points).
    pub(crate) max_message_chars: usize,
    /// Whether a longer message is cut. Else it is refused.
    pub(crate) cuts_messages: bool,
    /// Maximum number of entries of a batch in `logs`.
    pub(crate) max_batch_entries: usize,
}

/// The rules of a log and of a key without options.
impl Default for ReadRules<'_> {
    fn default() -> Self {
        Self {
            scale: Scale::Auto,
            keeps_fields: true,
            dropped_fields: &[],
            required_args: &[],
            max_message_chars: 8192,
            cuts_messages: false,
            max_batch_entries: 1024,
        }
    }
}

impl<'r> ReadRules<'r> {
    /// Returns the rules of a log, for records of a key. Without a key, those of a key without options.
    pub(crate) fn new(log: &'r LogEntry, key: Option<&'r KeyEntry>) -> Self {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            scale: key.map(|key| key.levels).unwrap_or_default(),
            keeps_fields: log.fields,
            dropped_fields: &log.drop_fields,
            required_args: key.map(|key| key.required_args.as_slice()).unwrap_or_default(),
            max_message_chars: size(log.max_message),
            cuts_messages: log.long_messages == LongMessages::Cut,
            max_batch_entries: size(log.max_batch),
        }
    }

    /// Returns whether the record keeps a field with this name.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        let is_below = |parent: &str| {
            name.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.keeps_fields
            && !self.dropped_fields.iter().any(|dropped| is_below(dropped))
            && !self.required_args.iter().any(|(argument, _)| is_below(argument))
    }
}

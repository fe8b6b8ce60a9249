//! The options of a log and of a key that say how entries are read.

use crate::config::ArgValue;
use crate::ingest::level_names::Scale;

/// Maximum length of a message where the log names none, in characters (code points).
const MAX_MESSAGE_CHARS: usize = 8192;

/// Maximum number of entries of a batch where the log names none.
const MAX_BATCH_ENTRIES: usize = 1024;

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

impl Default for ReadRules<'_> {
    fn default() -> Self {
        Self {
            scale: Scale::Auto,
            keeps_fields: true,
            dropped_fields: &[],
            required_args: &[],
            max_message_chars: MAX_MESSAGE_CHARS,
            cuts_messages: false,
            max_batch_entries: MAX_BATCH_ENTRIES,
        }
    }
}

impl ReadRules<'_> {
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

//! Writes the answer to a bulk request: one item for each action, in the order of the request.
//!
//! `"errors":false,"items":[` stands without white space, because Fluent Bit searches these bytes in an
//! answer that it could not read whole.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::BASE64URL_NOPAD;

use super::action::Operation;
use super::filter_path::FilterPath;

/// Maximum length of the name of an index in an answer, in bytes. It is that of Elasticsearch.
const MAX_INDEX_BYTES: usize = 255;
/// Maximum length of an id in an answer, in bytes. It is that of Elasticsearch.
const MAX_ID_BYTES: usize = 512;

/// The index that an item names when neither its action nor the path does.
const DEFAULT_INDEX: &str = "logs";

/// Why an item was refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct ItemError {
    /// The type of the error, as Elasticsearch names it.
    pub(super) kind: &'static str,
    pub(super) reason: &'static str,
}

/// The items of an answer.
pub(super) struct Items {
    text: String,
    has_errors: bool,
    filter: FilterPath,
}

/// What an item tells of an action.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) operation: Operation,
    pub(super) index: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    pub(super) error: Option<ItemError>,
}

impl Items {
    /// Starts without items. `filter` says which members the client wants.
    pub(super) const fn new(filter: FilterPath) -> Self {
        Self { text: String::new(), has_errors: false, filter }
    }

    /// Adds an item, and returns its length.
    pub(super) fn push(&mut self, item: &Item<'_>) -> usize {
        self.has_errors |= item.error.is_some();
        let before = self.text.len();
        let keeps = self.filter.keeps_of(item.operation);
        if !keeps.any(item.error.is_some()) {
            return 0;
        }
        let text = &mut self.text;
        if before > 0 {
            text.push(',');
        }
        text.push_str("{\"");
        text.push_str(item.operation.name());
        text.push_str("\":{");
        let mut members = Members { text, is_first: true };
        if keeps.index {
            push_string(members.name("_index"), cut(item.index.unwrap_or(DEFAULT_INDEX), MAX_INDEX_BYTES));
        }
        if keeps.id {
            match item.id {
                Some(id) => push_string(members.name("_id"), cut(id, MAX_ID_BYTES)),
                None if item.error.is_none() => push_new_id(members.name("_id")),
                None => members.name("_id").push_str("null"),
            }
        }
        if keeps.status {
            members.name("status").push_str(if item.error.is_some() { "400" } else { "201" });
        }
        if let Some(ItemError { kind, reason }) = item.error {
            let (has_type, has_reason) = (keeps.error_type, keeps.error_reason);
            if has_type || has_reason {
                let mut error = Members { text: members.name("error"), is_first: true };
                error.text.push('{');
                if has_type {
                    push_string(error.name("type"), kind);
                }
                if has_reason {
                    push_string(error.name("reason"), reason);
                }
                error.text.push('}');
            }
        }
        text.push_str("}}");
        text.len() - before
    }

    /// Returns the whole answer.
    pub(super) fn into_body(self) -> String {
        let mut body = String::with_capacity(self.text.len() + 48);
        body.push('{');
        let mut members = Members { text: &mut body, is_first: true };
        if self.filter.keeps_took {
            members.name("took").push('0');
        }
        if self.filter.keeps_errors {
            members.name("errors").push_str(if self.has_errors { "true" } else { "false" });
        }
        if !self.text.is_empty() || self.filter.is_empty() {
            let text = members.name("items");
            text.push('[');
            text.push_str(&self.text);
            text.push(']');
        }
        body.push('}');
        body
    }
}

/// Writes the members of an object.
struct Members<'t> {
    text: &'t mut String,
    is_first: bool,
}

impl Members<'_> {
    /// Writes the name of the next member, and returns the text for its value.
    fn name(&mut self, name: &str) -> &mut String {
        if !self.is_first {
            self.text.push(',');
        }
        self.is_first = false;
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        self.text
    }
}

/// Writes a JSON string.
pub(super) fn push_string(text: &mut String, value: &str) {
    let is_plain = value.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if is_plain {
        text.push('"');
        text.push_str(value);
        text.push('"');
    } else {
        // A string always has a JSON text.
        text.push_str(&serde_json::to_string(value).unwrap_or_default());
    }
}

/// Returns the beginning of a text, at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

/// Writes an id that this process has not given before: 20 characters, as those of Elasticsearch.
fn push_new_id(text: &mut String) {
    const RANDOM_BYTES: usize = 9;
    static PROCESS: LazyLock<[u8; RANDOM_BYTES]> = LazyLock::new(|| {
        let mut random = [0; RANDOM_BYTES];
        // Without random numbers the ids of two processes may be equal, which hurts no client.
        let filled = getrandom::fill(&mut random);
        filled.map_or([0; RANDOM_BYTES], |()| random)
    });
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let [_, _, number @ ..] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut id = [0; RANDOM_BYTES + 6];
    let (random, counter) = id.split_at_mut(RANDOM_BYTES);
    random.copy_from_slice(&*PROCESS);
    counter.copy_from_slice(&number);
    text.push('"');
    BASE64URL_NOPAD.encode_append(&id, text);
    text.push('"');
}

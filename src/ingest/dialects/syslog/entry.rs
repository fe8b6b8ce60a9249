//! Makes the entry of a message.

use std::borrow::Cow;

use super::message::{Message, Priority, parse};
use super::structured::{Param, params};
use super::time::Times;
use crate::ingest::batch::Batch;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::fit;
use crate::ingest::level_names::level_by_name;
use crate::record::{FieldsBuilder, Level, OwnField};

/// Makes entries of the messages of one socket or connection.
#[derive(Default)]
pub(super) struct EntryMaker {
    times: Times,
}

impl EntryMaker {
    /// Adds the entry of a message. `cut_chars` characters of its end were left out before.
    pub(super) fn push<'a>(
        &mut self,
        message: &'a [u8],
        cut_chars: usize,
        rules: &ReadRules<'_>,
        batch: &mut Batch<'a>,
    ) {
        match String::from_utf8_lossy(message) {
            Cow::Borrowed(text) => self.push_text(text, Cow::Borrowed, false, cut_chars, rules, batch),
            Cow::Owned(text) => {
                let own = |part: &str| Cow::Owned(part.to_owned());
                self.push_text(&text, own, true, cut_chars, rules, batch);
            }
        }
    }

    /// Adds the entry of a message. `own` makes a part of the text a part of the entry.
    fn push_text<'t, 'a>(
        &mut self,
        text: &'t str,
        own: impl Fn(&'t str) -> Cow<'a, str> + Copy,
        is_repaired: bool,
        cut_chars: usize,
        rules: &ReadRules<'_>,
        batch: &mut Batch<'a>,
    ) {
        let parsed = parse(text, &mut self.times);
        let (mut level, mut words) = (Level::default(), None);
        if let Some(priority) = parsed.priority {
            let keyword = priority.severity();
            if let Some(read) = level_by_name(keyword) {
                level = read.level;
                words = read.is_kept.then_some(keyword);
            }
        }
        let message = own(parsed.text);
        let sent_chars = (cut_chars > 0).then(|| message.chars().count() + cut_chars);
        let cuts = ReadRules { cuts_messages: true, ..*rules };
        // Messages are cut here, so none is too long.
        let (message, fitted) = fit(message, &cuts).unwrap_or_default();
        let cut = sent_chars.or(fitted);
        let at = parsed.time.filter(|_| rules.keeps_fields);
        let dropped = batch.push_with(level, message, at, |fields| {
            if let Some(words) = words.filter(|_| rules.keeps_fields) {
                fields.push_own(OwnField::Level, words);
            }
            if rules.keeps_fields {
                push_fields(&parsed, own, rules, fields);
            }
            if let Some(chars) = cut {
                fields.push_own(OwnField::Cut, chars.to_string());
            }
            if is_repaired {
                fields.push_own(OwnField::Utf8, "replaced");
            }
        });
        batch.changes.cut_messages += u64::from(cut.is_some());
        batch.changes.dropped_fields += dropped as u64;
        batch.changes.replaced_texts += u64::from(is_repaired);
    }
}

fn push_fields<'t, 'a>(
    parsed: &Message<'t>,
    own: impl Fn(&'t str) -> Cow<'a, str>,
    rules: &ReadRules<'_>,
    fields: &mut FieldsBuilder<'_, 'a>,
) {
    let facility = parsed.priority.map(Priority::facility);
    if let Some(facility) = facility.filter(|_| rules.keeps("facility")) {
        fields.push("facility", facility);
    }
    let parts = [
        ("host", parsed.host),
        ("app", parsed.app),
        ("procid", parsed.procid),
        ("msgid", parsed.msgid),
        ("sequence", parsed.sequence),
    ];
    for (name, value) in parts {
        if let Some(value) = value.filter(|_| rules.keeps(name)) {
            fields.push(name, own(value));
        }
    }
    for Param { id, name, value } in params(parsed.structured) {
        let name = if name.is_empty() { own(id) } else { Cow::Owned(format!("{id}.{name}")) };
        if rules.keeps(&name) {
            let value = if value.contains('\\') { Cow::Owned(unescape(value)) } else { own(value) };
            fields.push(name, value);
        }
    }
}

/// Removes the backslash before `"`, `\` and `]` (RFC 5424, section 6.3.3). Before another character it
/// stands for itself.
fn unescape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value.chars().peekable();
    while let Some(character) = rest.next() {
        match rest.peek() {
            Some(next @ ('"' | '\\' | ']')) if character == '\\' => {
                text.push(*next);
                rest.next();
            }
            _ => text.push(character),
        }
    }
    text
}

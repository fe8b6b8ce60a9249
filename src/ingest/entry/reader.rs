//! Makes an entry of the members that a sender gave: the message, the level, the time of the sender,
//! and the fields, which are all other members.

use std::borrow::Cow;

use super::level::{EntryLevel, read_entry_level, take_level};
use super::read_rules::ReadRules;
use super::time::take_time;
use crate::ingest::batch::Batch;
use crate::ingest::flatten::{Member, Members, Role};
use crate::ingest::json::object::Value;
use crate::ingest::level_names::own_level;
use crate::ingest::python_logging;
use crate::record::{Level, OwnField, SenderTime};

/// Why an entry cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    /// Beside key, level and time, the entry has nothing.
    #[error("The message is missing: looked for {MESSAGE_NAMES}")]
    Missing,
    /// The message is too long, and the log does not cut messages.
    #[error("The message has {chars} characters, and at most {max} are allowed")]
    TooLong { chars: usize, max: usize },
}

/// The names under which a message is looked for, in this order.
pub(crate) const MESSAGE_NAMES: &str = "message, msg, text, event, log, body, short_message, MESSAGE, @m, m";

/// The names of parameters that are no fields of a record.
const PARAMETERS: [&str; 4] = ["api_key", "root_pass", "dry_run", "idempotency_key"];

/// Returns whether a member with this name can be a field.
pub(crate) fn can_be_field(name: &str) -> bool {
    !PARAMETERS.contains(&name)
}

/// The parts of an entry that its dialect gives.
#[derive(Debug, Default)]
struct Given<'a> {
    message: Option<Cow<'a, str>>,
    time: Option<SenderTime>,
    level: Option<(Level, Option<Cow<'a, str>>)>,
    /// Members that give way to those of the entry, each with the prefix that it gets then.
    outer: Vec<(Cow<'a, str>, Value<'a>, &'static str)>,
}

impl Given<'_> {
    const fn is_empty(&self) -> bool {
        self.message.is_none() && self.time.is_none() && self.level.is_none() && self.outer.is_empty()
    }
}

/// Collects the members of one entry and makes the entry. It is reused from entry to entry.
#[derive(Debug, Default)]
pub(crate) struct EntryReader<'a> {
    message: Option<Value<'a>>,
    msg: Option<Value<'a>>,
    /// The number of members before `msg`.
    msg_at: usize,
    level: Option<Value<'a>>,
    /// The parts that the dialect sets. They come before those of the members.
    given: Given<'a>,
    members: Members<'a>,
    is_form: bool,
    is_repaired: bool,
    is_unparsed: bool,
}

impl<'a> EntryReader<'a> {
    /// Adds a member of a JSON object. `None` is null, which counts as absent. Of members with the
    /// same name, the last one counts.
    pub(crate) fn add(&mut self, name: Cow<'a, str>, value: Option<Value<'a>>) {
        match &*name {
            "message" => self.message = value,
            "msg" => (self.msg, self.msg_at) = (value, self.members.list.len()),
            "level" if !value.as_ref().is_some_and(Value::is_full_object) => self.level = value,
            name if !can_be_field(name) => {}
            _ => {
                if let Some(value) = value {
                    self.members.add(name, value);
                }
            }
        }
    }

    /// Adds a field of a form or of a query. The first message and the first level that are not blank
    /// count, as for every other parameter. Of other fields with the same name, the last one counts.
    pub(crate) fn add_text(&mut self, name: Cow<'a, str>, text: Cow<'a, str>) {
        self.is_form = true;
        let slot = match &*name {
            "message" => &mut self.message,
            "msg" => &mut self.msg,
            "level" => &mut self.level,
            _ => return self.add(name, Some(Value::Text(text))),
        };
        if slot.as_ref().is_none_or(Value::is_blank) {
            if name == "msg" {
                self.msg_at = self.members.list.len();
            }
            *slot = Some(Value::Text(text));
        }
        if name == "level" {
            self.level.take_if(|level| level.is_blank());
        }
    }

    /// Sets the level that another source of the request gives.
    pub(crate) fn set_level(&mut self, level: Value<'a>) {
        self.level = Some(level);
    }

    /// Sets the message. A member of another message is a field then.
    pub(crate) fn set_message(&mut self, message: Cow<'a, str>) {
        self.given.message = Some(message);
    }

    /// Sets the time of the sender. A member that is another time is a field then.
    pub(crate) const fn set_time(&mut self, time: SenderTime) {
        self.given.time = Some(time);
    }

    /// Sets the level, with the words of the sender that the record keeps. A member that is another level
    /// is a field then.
    pub(crate) fn set_read_level(&mut self, level: Level, kept: Option<Cow<'a, str>>) {
        self.given.level = Some((level, kept));
    }

    /// Adds a member that is a field and means nothing else.
    pub(crate) fn add_field(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        self.members.add_field(name, value);
    }

    /// Adds a member that stands outside of the entry. It gets `PREFIX.` in front of its name when the
    /// entry has a member of that name.
    pub(crate) fn add_outer(&mut self, name: Cow<'a, str>, value: Value<'a>, prefix: &'static str) {
        self.given.outer.push((name, value, prefix));
    }

    /// Returns whether a member of the entry holds a message: `message` or `msg`, or a text under another
    /// name of messages.
    pub(crate) fn has_message(&self) -> bool {
        let is_text = |value: &Value<'_>| matches!(value, Value::Text(_));
        self.message.is_some() || self.msg.is_some() || self.members.has_first(Role::Message, is_text)
    }

    /// Counts members that were left out before they came here.
    pub(crate) const fn count_left_out(&mut self, members: usize) {
        self.members.left_out += members;
    }

    /// Notes that bytes of the entry were no UTF-8, and were replaced. The record says so in the field
    /// `utf8`.
    pub(crate) const fn mark_repaired(&mut self) {
        self.is_repaired = true;
    }

    /// Notes that the entry was announced as JSON and is none. The record says so in the field
    /// `parse`.
    pub(crate) const fn mark_unparsed(&mut self) {
        self.is_unparsed = true;
    }

    /// Ends the entry, adds it to the batch, and starts anew. `default_level` is the level of an entry
    /// that names none, as its sender wrote it.
    ///
    /// # Errors
    /// Fails when nothing is left to store, or for a message that is too long.
    pub(crate) fn finish(
        &mut self,
        rules: &ReadRules<'_>,
        default_level: Option<Cow<'a, str>>,
        batch: &mut Batch<'a>,
    ) -> Result<(), EntryError> {
        if let Some((level, message)) = self.take_plain(rules, default_level.is_some()) {
            batch.push(level, message);
            return Ok(());
        }
        let mut members = std::mem::take(&mut self.members);
        let outcome = self.finish_with(&mut members, rules, default_level, batch);
        members.clear();
        *self = Self { members, ..Self::default() };
        outcome
    }

    /// Takes the level and the message of an entry that has nothing else, and whose level and message are
    /// stored as they are. Most entries of a batch are such, and reading them needs nothing more. Without
    /// this step a batch takes a third longer to read.
    fn take_plain(
        &mut self,
        rules: &ReadRules<'_>,
        has_default_level: bool,
    ) -> Option<(Level, Cow<'a, str>)> {
        let is_marked = self.is_form || self.is_repaired || self.is_unparsed || !self.given.is_empty();
        if is_marked || self.msg.is_some() || !self.members.is_empty() {
            return None;
        }
        let level = match &self.level {
            Some(Value::Text(text)) => own_level(text, rules.scale)?,
            Some(Value::Number(text)) => own_level(text, rules.scale)?,
            Some(Value::Other(_)) => return None,
            None if has_default_level => return None,
            None => Level::default(),
        };
        let is_short = |message: &Value<'_>| matches!(message, Value::Text(text) if text.len() <= rules.max_message_chars);
        let message = self.message.take_if(|message| is_short(message))?;
        self.level = None;
        Some((level, message.into_text()))
    }

    fn finish_with(
        &mut self,
        members: &mut Members<'a>,
        rules: &ReadRules<'_>,
        default_level: Option<Cow<'a, str>>,
        batch: &mut Batch<'a>,
    ) -> Result<(), EntryError> {
        let mut given = std::mem::take(&mut self.given);
        let is_python = given.message.is_none() && python_logging::is_record(members);
        self.add_outer_members(&mut given, members);
        if given.message.is_some() {
            for (name, value) in [("message", self.message.take()), ("msg", self.msg.take())] {
                if let Some(value) = value {
                    members.push_field(name, value);
                }
            }
        }
        if !is_python {
            self.make_other_message_a_field(members);
        }
        let level = match given.level {
            Some((level, kept)) => {
                if let Some(value) = self.level.take() {
                    members.push_field("level", value);
                }
                EntryLevel::given(level, kept)
            }
            None => take_level(self.level.take(), members, rules.scale)
                .or_else(|| default_level.map(|text| read_entry_level(text, rules.scale)))
                .unwrap_or_default(),
        };
        let message = if given.message.is_some() {
            given.message
        } else if is_python {
            Some(python_logging::take_message(members, self.message.take(), self.msg.take()))
        } else {
            self.take_message(members)
        };
        let at = given.time.or_else(|| take_time(members, is_python));
        members.list.retain(|member| rules.keeps(&member.name));
        let left_out = if rules.keeps_fields { members.left_out } else { 0 };
        if message.is_none() && members.list.is_empty() && left_out == 0 {
            return Err(EntryError::Missing);
        }
        let (message, sent_chars) = fit(message.unwrap_or_default(), rules)?;
        let EntryLevel { level, kept, is_known } = level;
        let dropped = batch.push_with(level, message, at.filter(|_| rules.keeps_fields), |fields| {
            if let Some(words) = kept.filter(|_| rules.keeps_fields) {
                fields.push_own(OwnField::Level, words);
            }
            for Member { name, value, .. } in members.list.drain(..) {
                fields.push(name, value.into_text());
            }
            fields.left_out(left_out);
            if let Some(chars) = sent_chars {
                fields.push_own(OwnField::Cut, chars.to_string());
            }
            if self.is_repaired {
                fields.push_own(OwnField::Utf8, "replaced");
            }
            if self.is_unparsed {
                fields.push_own(OwnField::Parse, "failed");
            }
        });
        let changes = &mut batch.changes;
        changes.unknown_levels += u64::from(!is_known);
        changes.cut_messages += u64::from(sent_chars.is_some());
        changes.dropped_fields += dropped as u64;
        changes.replaced_texts += u64::from(self.is_repaired);
        Ok(())
    }

    /// Makes `msg` a field of an entry that has a `message` too. A blank message of a form counts as
    /// absent then.
    fn make_other_message_a_field(&mut self, members: &mut Members<'a>) {
        let has_msg = self.msg.as_ref().is_some_and(|msg| !msg.is_blank());
        if self.is_form && has_msg {
            self.message.take_if(|message| message.is_blank());
        }
        if self.message.is_some()
            && let Some(msg) = self.msg.take()
        {
            members.insert_field(self.msg_at, "msg", msg);
        }
    }

    /// Adds the members that stand outside of the entry, behind its own.
    fn add_outer_members(&mut self, given: &mut Given<'a>, members: &mut Members<'a>) {
        for (name, value, prefix) in given.outer.drain(..) {
            let is_taken = match &*name {
                "message" | "msg" => given.message.is_some() || self.message.is_some() || self.msg.is_some(),
                "level" => given.level.is_some() || self.level.is_some() || members.has(Role::Level),
                name => members.list.iter().any(|member| member.name == name),
            };
            match &*name {
                _ if is_taken => members.add_field(Cow::Owned(format!("{prefix}.{name}")), value),
                "message" => self.message = Some(value),
                "msg" => self.msg = Some(value),
                "level" if !value.is_full_object() => self.level = Some(value),
                name if !can_be_field(name) => {}
                _ => members.add(name, value),
            }
        }
    }

    fn take_message(&mut self, members: &mut Members<'a>) -> Option<Cow<'a, str>> {
        if let Some(message) = self.message.take().or_else(|| self.msg.take()) {
            return Some(message.into_text());
        }
        members.take_first(Role::Message, |value| matches!(value, Value::Text(_))).map(Value::into_text)
    }
}

/// Returns the message, cut if it is too long, and the number of characters of a message that was cut.
///
/// # Errors
/// Fails for a message that is too long, unless the rules cut it.
pub(crate) fn fit<'a>(
    message: Cow<'a, str>,
    rules: &ReadRules<'_>,
) -> Result<(Cow<'a, str>, Option<usize>), EntryError> {
    let max = rules.max_message_chars;
    // A message has at most as many characters as bytes, so most messages need no count.
    if message.len() <= max {
        return Ok((message, None));
    }
    let Some((end, _)) = message.char_indices().nth(max) else { return Ok((message, None)) };
    let chars = max + message.get(end..).unwrap_or_default().chars().count();
    if !rules.cuts_messages {
        return Err(EntryError::TooLong { chars, max });
    }
    let cut = match message {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    };
    Ok((cut, Some(chars)))
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;

//! Makes the entry of a GELF message, which is a JSON object.

use std::borrow::Cow;

use crate::ingest::batch::Batch;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::EntryReader;
use crate::ingest::json::lenient::with_quoted_words;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{Malformed, Scanner};
use crate::ingest::level_names::Scale;

/// The prefix of members of the message itself where it has an additional field of the same name.
const PREFIX: &str = "gelf";

/// The members of one message, as far as they are not fields.
#[derive(Debug, Default)]
struct Parts<'a> {
    short: Option<Cow<'a, str>>,
    full: Option<Cow<'a, str>>,
    /// Whether there is a `message` or `msg`, which is the message when there is no `short_message`.
    has_other: bool,
    /// Members that give way to additional fields of the same name.
    outer: Vec<(Cow<'a, str>, Value<'a>)>,
}

/// Adds the entry of a whole text. Returns false when the text is no object. A message with nothing to
/// store adds nothing.
pub(super) fn read_text<'a>(
    text: &'a str,
    is_repaired: bool,
    rules: &ReadRules<'_>,
    batch: &mut Batch<'a>,
) -> bool {
    let mut reader = EntryReader::default();
    let mut scanner = Scanner::new(text);
    if read_members(&mut reader, &mut scanner).and_then(|()| scanner.end()).is_ok() {
        finish(reader, is_repaired, rules, batch);
        return true;
    }
    let Some(quoted) = with_quoted_words(text) else { return false };
    let (mut reader, mut scanner) = (EntryReader::default(), Scanner::new(&quoted));
    let is_object = read_members(&mut reader, &mut scanner).and_then(|()| scanner.end()).is_ok();
    if is_object {
        let mut inner = Batch::default();
        finish(reader, is_repaired, rules, &mut inner);
        batch.append(inner.into_owned());
    }
    is_object
}

/// Ends a message.
fn finish<'a>(mut reader: EntryReader<'a>, is_repaired: bool, rules: &ReadRules<'_>, batch: &mut Batch<'a>) {
    if is_repaired {
        reader.mark_repaired();
    }
    // Nothing is stored of a message that holds nothing, as of an empty line.
    reader.finish(&level_rules(rules), None, batch).unwrap_or_default();
}

/// Returns the rules with the levels of GELF, which are those of syslog.
pub(super) const fn level_rules<'r>(rules: &ReadRules<'r>) -> ReadRules<'r> {
    ReadRules { scale: Scale::Syslog, ..*rules }
}

/// Adds the members of the object that is next to `reader`, for [`EntryReader::finish`] with
/// [`level_rules`].
pub(super) fn read_members<'a>(
    reader: &mut EntryReader<'a>,
    scanner: &mut Scanner<'a>,
) -> Result<(), Malformed> {
    let mut parts = Parts::default();
    scanner.object(|scanner, name| {
        let value = scanner.value()?;
        match &*name {
            "short_message" => parts.short = value.map(Value::into_text),
            "full_message" => parts.full = value.map(Value::into_text),
            "message" | "msg" => {
                parts.has_other |= value.is_some();
                reader.add(name, value);
            }
            "version" | "host" => parts.outer.extend(value.map(|value| (name, value))),
            _ => add_field(reader, name, value),
        }
        Ok(())
    })?;
    let Parts { short, full, has_other, outer } = parts;
    match (short, full) {
        (Some(short), full) => reader.set_message(join(short, full)),
        (None, Some(full)) if !has_other => reader.set_message(full),
        (None, Some(full)) => reader.add(Cow::Borrowed("full_message"), Some(Value::Text(full))),
        (None, None) => {}
    }
    for (name, value) in outer {
        reader.add_outer(name, value, PREFIX);
    }
    Ok(())
}

/// Returns the message: the full one when it begins with the short one, else both.
fn join<'a>(short: Cow<'a, str>, full: Option<Cow<'a, str>>) -> Cow<'a, str> {
    match full {
        None => short,
        Some(full) if full.is_empty() => short,
        Some(full) if full.starts_with(&*short) => full,
        Some(full) => Cow::Owned(format!("{short}\n{full}")),
    }
}

/// Adds a member that is a field. An additional field `_NAME` is stored as NAME, which has no other
/// meaning there.
fn add_field<'a>(reader: &mut EntryReader<'a>, name: Cow<'a, str>, value: Option<Value<'a>>) {
    let own = match &name {
        Cow::Borrowed(name) => name.strip_prefix('_').map(Cow::Borrowed),
        Cow::Owned(name) => name.strip_prefix('_').map(|name| Cow::Owned(name.to_owned())),
    };
    match (own.filter(|own| !own.is_empty()), value) {
        (Some(own), Some(value)) => reader.add_field(own, value),
        (Some(_), None) => {}
        (None, value) => reader.add(name, value),
    }
}

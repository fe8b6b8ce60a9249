//! Finds the level among the members of an entry.

use std::borrow::Cow;

use crate::ingest::flatten::{Members, Role};
use crate::ingest::json::object::Value;
use crate::ingest::level_names::{ReadLevel, Scale, level_by_name, python_level, read_level, whole_number};
use crate::record::Level;

/// Maximum length of a level in the words of its sender, in characters.
const MAX_WORDS_CHARS: usize = 128;

/// The names of members that hold the name of a level and nothing else.
const NAMES_OF_NUMBERS: [&str; 3] = ["levelname", "level_name", "record.level.name"];

/// A level, and the words of the sender if the record keeps them.
pub(super) struct EntryLevel<'a> {
    pub(super) level: Level,
    pub(super) kept: Option<Cow<'a, str>>,
    pub(super) is_known: bool,
}

impl Default for EntryLevel<'_> {
    fn default() -> Self {
        Self { level: Level::default(), kept: None, is_known: true }
    }
}

impl<'a> EntryLevel<'a> {
    /// Returns a level that was read already.
    pub(super) fn given(level: Level, kept: Option<Cow<'a, str>>) -> Self {
        Self { level, kept: kept.map(cut), is_known: true }
    }

    fn of(read: ReadLevel, words: Cow<'a, str>) -> Self {
        let ReadLevel { level, is_kept, is_known } = read;
        Self { level, kept: is_kept.then(|| cut(words)), is_known }
    }
}

/// Reads a level that stands alone.
pub(super) fn read_entry_level(text: Cow<'_, str>, scale: Scale) -> EntryLevel<'_> {
    EntryLevel::of(read_level(&text, scale), text)
}

/// A level, and whether a number gave it.
struct Found<'a> {
    level: EntryLevel<'a>,
    is_number: bool,
}

/// Takes the level: `sent`, the value of `level`, or the first of the other names that has one. A name
/// comes before a number.
pub(super) fn take_level<'a>(
    sent: Option<Value<'a>>,
    members: &mut Members<'a>,
    scale: Scale,
) -> Option<EntryLevel<'a>> {
    if !members.has(Role::Level) && !members.has(Role::LevelObject) && !members.has(Role::LevelNumber) {
        return sent.map(|sent| read_entry_level(sent.into_text(), scale));
    }
    let scale = scale_of_record(members, scale);
    let found = match sent {
        Some(sent) => Some(found(sent.into_text(), scale)),
        None => take_object(members, scale),
    };
    let found = match found {
        Some(Found { level, is_number: false }) => return Some(level),
        Some(Found { level, .. }) => Some(level),
        None => None,
    };
    let named = take_named(members);
    let mut level = named.or(found).or_else(|| take_python_number(members))?;
    if level.kept.as_deref().is_some_and(|words| whole_number(words.trim()).is_some()) {
        // The name of a level that only the sender knows says more than its number.
        level.kept = take_unknown_name(members).or(level.kept);
    }
    Some(level)
}

fn found(text: Cow<'_, str>, scale: Scale) -> Found<'_> {
    let is_number = whole_number(text.trim()).is_some();
    Found { level: read_entry_level(text, scale), is_number }
}

/// Returns the scale that a record shows, unless the key fixes one.
fn scale_of_record(members: &Members<'_>, scale: Scale) -> Scale {
    match scale {
        Scale::Auto if members.get("levelno").is_some() => Scale::Python,
        Scale::Auto if members.get("level_name").is_some() => Scale::Monolog,
        scale => scale,
    }
}

/// Takes the level of an object in `level`: its `name`, else its `value`, else its `no`.
fn take_object<'a>(members: &mut Members<'a>, scale: Scale) -> Option<Found<'a>> {
    if !members.has(Role::LevelObject) {
        return None;
    }
    let [name, value, number] =
        ["level.name", "level.value", "level.no"].map(|name| members.take(name).map(Value::into_text));
    if let Some(name) = &name
        && let Some(read) = level_by_name(name)
    {
        return Some(Found { level: EntryLevel::of(read, name.clone()), is_number: false });
    }
    let value = value.map(|value| (read_level(&value, scale), value));
    let number = number.and_then(|text| Some((python_level(whole_number(text.trim())?), text)));
    let (read, words) = match (value, number) {
        (Some((read, words)), None) => (read, words),
        (Some((read, words)), Some(_)) if read.is_known => (read, words),
        (_, Some((read, words))) => (read, words),
        (None, None) => return name.map(|name| found(name, scale)),
    };
    let is_number = whole_number(words.trim()).is_some();
    let mut level = EntryLevel::of(read, words);
    level.kept = name.map(cut).or(level.kept);
    Some(Found { level, is_number })
}

fn take_named<'a>(members: &mut Members<'a>) -> Option<EntryLevel<'a>> {
    let is_name = |value: &Value<'_>| matches!(value, Value::Text(text) if level_by_name(text).is_some());
    let words = members.take_first(Role::Level, is_name)?.into_text();
    Some(EntryLevel::of(level_by_name(&words)?, words))
}

/// Takes a level that only a number on the scale of Python gives.
fn take_python_number<'a>(members: &mut Members<'a>) -> Option<EntryLevel<'a>> {
    let is_number = |value: &Value<'_>| match value {
        Value::Text(text) => whole_number(text.trim()).is_some(),
        Value::Number(text) => whole_number(text).is_some(),
        Value::Other(_) => false,
    };
    let words = members.take_first(Role::LevelNumber, is_number)?.into_text();
    Some(EntryLevel::of(python_level(whole_number(words.trim())?), words))
}

fn take_unknown_name<'a>(members: &mut Members<'a>) -> Option<Cow<'a, str>> {
    let is_text = |name: &&&str| matches!(members.get(name), Some(Value::Text(text)) if !text.is_empty());
    let name = NAMES_OF_NUMBERS.iter().find(is_text)?;
    members.take(name).map(Value::into_text).map(cut)
}

/// Cuts the words of a level, because the limits of fields do not apply to them.
fn cut(words: Cow<'_, str>) -> Cow<'_, str> {
    let Some((end, _)) = words.char_indices().nth(MAX_WORDS_CHARS) else { return words };
    match words {
        Cow::Borrowed(words) => Cow::Borrowed(words.get(..end).unwrap_or_default()),
        Cow::Owned(mut words) => {
            words.truncate(end);
            Cow::Owned(words)
        }
    }
}

//! Finds the time that a sender gave among the members of its entry.

use jiff::tz::TimeZone;

use crate::ingest::flatten::{Members, Role};
use crate::ingest::json::object::Value;
use crate::ingest::timestamp::{has_time_of_day, time_of_instant, time_of_number, time_of_text};
use crate::record::SenderTime;

/// The time of log4j2: seconds, and nanoseconds below them.
const INSTANT: [&str; 2] = ["instant.epochSecond", "instant.nanoOfSecond"];

/// Takes the first member that is a time. `is_python`: the entry is a `LogRecord` of Python, whose time
/// is `created`.
pub(super) fn take_time(members: &mut Members<'_>, is_python: bool) -> Option<SenderTime> {
    for index in members.ranked(Role::Time) {
        let Some(member) = members.list.get(index) else { continue };
        let name = member.name.clone();
        let time = match &*name {
            _ if name == INSTANT[0] => time_of_members(members),
            "date" | "datetime" => time_of(&member.value, has_time_of_day),
            _ => time_of(&member.value, |_| true),
        };
        if time.is_some() {
            members.take(&name);
            if name == INSTANT[0] {
                members.take(INSTANT[1]);
            }
            return time;
        }
    }
    let created = is_python.then(|| members.get("created")).flatten();
    let created = created.and_then(|value| time_of(value, |_| true));
    if created.is_some() {
        members.take("created");
    }
    created
}

fn time_of(value: &Value<'_>, accepts: fn(&str) -> bool) -> Option<SenderTime> {
    match value {
        Value::Text(text) if accepts(text) => time_of_text(text, TimeZone::system),
        Value::Number(text) => time_of_number(text),
        Value::Text(_) | Value::Other(_) => None,
    }
}

fn time_of_members(members: &Members<'_>) -> Option<SenderTime> {
    let number = |name: &str| match members.get(name) {
        Some(Value::Text(text)) => Some(&**text),
        Some(Value::Number(text)) => Some(*text),
        _ => None,
    };
    time_of_instant(number(INSTANT[0])?, number(INSTANT[1]).unwrap_or("0"))
}

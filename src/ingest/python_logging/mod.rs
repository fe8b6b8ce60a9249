//! The records of Python's `logging`, as `logging.handlers.HTTPHandler` sends them: each attribute of
//! the `LogRecord` as the text that Python prints for it.

mod format;
mod literal;

use std::borrow::Cow;

use super::flatten::{Members, Role};
use super::json::object::Value;

/// Standard attributes under the names that their fields have.
const RENAMED: [(&str, &str); 6] = [
    ("name", "logger"),
    ("pathname", "file"),
    ("lineno", "line"),
    ("funcName", "function"),
    ("process", "process"),
    ("threadName", "thread"),
];

/// Standard attributes that other attributes or the line hold already.
const DERIVED: [&str; 10] = [
    "levelname",
    "levelno",
    "filename",
    "module",
    "msecs",
    "relativeCreated",
    "thread",
    "processName",
    "taskName",
    "asctime",
];

/// Returns whether the members are those of a `LogRecord`.
pub(crate) fn is_record(members: &Members<'_>) -> bool {
    members.has(Role::Python)
        && ["levelname", "levelno", "pathname", "args"].iter().all(|name| members.get(name).is_some())
}

/// Takes the message, formatted as Python's own `Formatter` does, and turns the standard attributes
/// into fields. `message` is there when another handler formatted the record before.
pub(crate) fn take_message<'a>(
    members: &mut Members<'a>,
    message: Option<Value<'a>>,
    msg: Option<Value<'a>>,
) -> Cow<'a, str> {
    let args = members.take("args").map(Value::into_text).unwrap_or_default();
    let template = msg.map(Value::into_text);
    let mut text = match (message, template) {
        (Some(message), _) => message.into_text(),
        (None, None) => Cow::Borrowed(""),
        (None, Some(template)) if matches!(&*args, "" | "()" | "None" | "{}") => template,
        (None, Some(template)) => match format::format(&template, &args) {
            Some(text) => Cow::Owned(text),
            None => {
                members.push_field("args", Value::Text(args));
                template
            }
        },
    };
    let exception = members.take("exc_text").filter(is_given).map(Value::into_text);
    if exception.is_some() || members.get("exc_info").is_some_and(|value| !is_given(value)) {
        members.take("exc_info");
    }
    let stack = members.take("stack_info").filter(is_given).map(Value::into_text);
    for part in [exception, stack].into_iter().flatten() {
        let text = text.to_mut();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&part);
    }
    for name in DERIVED {
        members.take(name);
    }
    for (from, to) in RENAMED {
        members.rename(from, to);
    }
    text
}

/// Returns whether an attribute has a value.
fn is_given(value: &Value<'_>) -> bool {
    !matches!(value, Value::Text(text) if text.is_empty() || text == "None")
}

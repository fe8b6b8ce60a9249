//! Supports the two formats of configuration files, JSON and TOML.
//!
//! A format deserializes a text into a type and locates values in the text. Each type is compiled
//! only for the format of its file. Compiling it for both would double the code of the options.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::step::{Step, steps_of_error, steps_of_ignored};

/// A format of configuration files.
pub(crate) trait Syntax {
    /// Deserializes a syntactically valid text. Calls `unread` with the path of each option that
    /// `T` does not read.
    ///
    /// # Errors
    /// Returns the path of the first invalid value, and what is wrong with it.
    fn read<T: DeserializeOwned>(text: &str, unread: impl FnMut(Vec<Step>))
    -> Result<T, (Vec<Step>, String)>;

    /// Returns the byte offset of the value at `path`. Parses the text again, because findings are
    /// rare.
    fn offset(text: &str, path: &[Step]) -> Option<usize>;
}

/// JSON, with spaces in place of comments.
pub(crate) struct Json;

/// TOML.
pub(crate) struct Toml;

impl Syntax for Json {
    fn read<T: DeserializeOwned>(
        text: &str,
        mut unread: impl FnMut(Vec<Step>),
    ) -> Result<T, (Vec<Step>, String)> {
        let mut note = |path: serde_ignored::Path<'_>| unread(steps_of_ignored(&path));
        let mut json = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(serde_ignored::Deserializer::new(&mut json, &mut note))
            .map_err(|error| (steps_of_error(error.path()), without_position(&error.inner().to_string())))
    }

    fn offset(text: &str, path: &[Step]) -> Option<usize> {
        let mut value: &RawValue = serde_json::from_str(text).ok()?;
        for step in path {
            value = match step {
                Step::Name(name) => {
                    let members: Members<'_> = serde_json::from_str(value.get()).ok()?;
                    members.0.into_iter().find(|(member, _)| member == name)?.1
                }
                Step::Index(index) => {
                    serde_json::from_str::<Vec<&RawValue>>(value.get()).ok()?.get(*index).copied()?
                }
            };
        }
        // Both are slices of the same text.
        (value.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)
    }
}

impl Syntax for Toml {
    fn read<T: DeserializeOwned>(
        text: &str,
        mut unread: impl FnMut(Vec<Step>),
    ) -> Result<T, (Vec<Step>, String)> {
        let mut note = |path: serde_ignored::Path<'_>| unread(steps_of_ignored(&path));
        let toml =
            toml::Deserializer::parse(text).map_err(|error| (Vec::new(), error.message().to_owned()))?;
        serde_path_to_error::deserialize(serde_ignored::Deserializer::new(toml, &mut note))
            .map_err(|error| (steps_of_error(error.path()), error.inner().message().to_owned()))
    }

    fn offset(text: &str, path: &[Step]) -> Option<usize> {
        let table = toml::de::DeTable::parse(text).ok()?;
        let (name, value) = match path {
            [Step::Name(wanted), ..] => table.get_ref().iter().find(|(name, _)| name.get_ref() == wanted)?,
            _ => return Some(0),
        };
        match (path.get(1), value.get_ref()) {
            (Some(&Step::Index(index)), toml::de::DeValue::Array(list)) => {
                Some(list.get(index)?.span().start)
            }
            _ => Some(name.span().start),
        }
    }
}

/// Removes the position, such as ` at line 1 column 2`, from a message of `serde_json`.
pub(crate) fn without_position(message: &str) -> String {
    message.rfind(" at line ").map_or(message, |end| &message[..end]).to_owned()
}

/// The members of one JSON object in file order, each with its name and its unparsed value.
pub(crate) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

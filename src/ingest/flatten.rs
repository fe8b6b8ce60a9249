//! Turns the members of a nested object into members with dotted names, such as
//! `http.request.method`.

use std::borrow::Cow;

use super::json::object::Value;
use super::json::scanner::{Malformed, Scanner};

/// Maximum depth of the objects whose members get names of their own. Deeper ones stay JSON text.
const MAX_DEPTH: usize = 8;

/// Maximum number of members of one record. A line keeps fewer, and the rest is only counted.
pub(crate) const MAX_MEMBERS: usize = 4096;

/// Maximum length of the part of a name before the last dot, in bytes. A field keeps fewer characters of
/// a name. Without this limit, a long name with many members below it would be copied for each of them.
const MAX_PREFIX_BYTES: usize = 1024;

/// A member with its dotted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) value: Value<'a>,
    /// What the name may mean, and its rank among the names that mean the same.
    role: Option<(Role, u8)>,
}

/// What a member may mean beside being a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Role {
    /// A message, if it is a string.
    Message = 1,
    /// A level, if it is the name of one.
    Level = 2,
    /// A part of a level that is an object.
    LevelObject = 4,
    /// A level on the scale of Python.
    LevelNumber = 8,
    /// The time of the sender, if it can be read.
    Time = 16,
    /// An attribute that records of Python's `logging` have.
    Python = 32,
}

/// Returns the role of a name, and its rank: the lowest one counts.
fn role_of(name: &str) -> Option<(Role, u8)> {
    Some(match name {
        "text" => (Role::Message, 0),
        "event" => (Role::Message, 1),
        "log" => (Role::Message, 2),
        "body" => (Role::Message, 3),
        "short_message" => (Role::Message, 4),
        "MESSAGE" => (Role::Message, 5),
        "@m" => (Role::Message, 6),
        "m" => (Role::Message, 7),
        "levelname" => (Role::Level, 0),
        "level_name" => (Role::Level, 1),
        "severity" => (Role::Level, 2),
        "severityText" => (Role::Level, 3),
        "lvl" => (Role::Level, 4),
        "loglevel" => (Role::Level, 5),
        "log.level" => (Role::Level, 6),
        "@l" => (Role::Level, 7),
        "p" => (Role::Level, 8),
        "priority" => (Role::Level, 9),
        "record.level.name" => (Role::Level, 10),
        "level.name" => (Role::LevelObject, 0),
        "level.value" => (Role::LevelObject, 1),
        "level.no" => (Role::LevelObject, 2),
        "levelno" => (Role::LevelNumber, 0),
        "record.level.no" => (Role::LevelNumber, 1),
        "at" => (Role::Time, 0),
        "time" => (Role::Time, 1),
        "timestamp" => (Role::Time, 2),
        "@timestamp" => (Role::Time, 3),
        "ts" => (Role::Time, 4),
        "@t" => (Role::Time, 5),
        "_time" => (Role::Time, 6),
        "eventTime" => (Role::Time, 7),
        "datetime" => (Role::Time, 8),
        "date" => (Role::Time, 9),
        "instant.epochSecond" => (Role::Time, 10),
        "record.time.timestamp" => (Role::Time, 11),
        "record.time.repr" => (Role::Time, 12),
        "pathname" => (Role::Python, 0),
        "args" => (Role::Python, 1),
        _ => return None,
    })
}

/// Returns whether a member with this name holds the message of an entry without `message` and `msg`, if
/// it is a string.
pub(crate) fn is_message_name(name: &str) -> bool {
    matches!(role_of(name), Some((Role::Message, _)))
}

/// Returns whether a member with this name may hold the level of an entry.
pub(crate) fn is_level_name(name: &str) -> bool {
    name == "level" || matches!(role_of(name), Some((Role::Level | Role::LevelNumber, _)))
}

/// The members of one record.
#[derive(Debug, Default)]
pub(crate) struct Members<'a> {
    pub(crate) list: Vec<Member<'a>>,
    /// Number of members past [`MAX_MEMBERS`].
    pub(crate) left_out: usize,
    /// The roles that at least one member has, as bits.
    roles: u8,
}

impl<'a> Members<'a> {
    /// Adds a member. An object that is not empty becomes its members.
    pub(crate) fn add(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        self.add_at(name, value, 1);
    }

    /// Adds a member that is a field and means nothing else. An object becomes its members.
    pub(crate) fn add_field(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        let (begin, roles) = (self.list.len(), self.roles);
        self.add_at(name, value, 1);
        for member in self.list.iter_mut().skip(begin) {
            member.role = None;
        }
        self.roles = roles;
    }

    fn add_at(&mut self, name: Cow<'a, str>, value: Value<'a>, depth: usize) {
        match value {
            Value::Other(text) if depth < MAX_DEPTH && value.is_full_object() => {
                // The text was read as JSON before, so this does not fail.
                self.add_object(&name, text, depth).unwrap_or_default();
            }
            value if self.list.len() < MAX_MEMBERS => {
                let role = role_of(&name);
                self.roles |= role.map_or(0, |(role, _)| role as u8);
                self.list.push(Member { name, value, role });
            }
            _ => self.left_out += 1,
        }
    }

    fn add_object(&mut self, prefix: &str, text: &'a str, depth: usize) -> Result<(), Malformed> {
        let end = (0..=MAX_PREFIX_BYTES).rev().find(|end| prefix.is_char_boundary(*end)).unwrap_or_default();
        let prefix =
            if prefix.len() > MAX_PREFIX_BYTES { prefix.get(..end).unwrap_or_default() } else { prefix };
        let mut scanner = Scanner::new(text);
        scanner.object(|scanner, name| {
            if let Some(value) = scanner.value()? {
                self.add_at(Cow::Owned(format!("{prefix}.{name}")), value, depth + 1);
            }
            Ok(())
        })
    }

    /// Returns whether there was no member.
    pub(crate) const fn is_empty(&self) -> bool {
        self.list.is_empty() && self.left_out == 0
    }

    /// Forgets all members, and keeps their memory for the next record.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        (self.left_out, self.roles) = (0, 0);
    }

    /// Returns whether a member had this role. It may have been taken since.
    pub(crate) const fn has(&self, role: Role) -> bool {
        self.roles & role as u8 != 0
    }

    /// Returns the value of the last member with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.list.iter().rev().find(|member| member.name == name).map(|member| &member.value)
    }

    /// Takes the value of the last member with this name, and removes all of this name.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let index = self.list.iter().rposition(|member| member.name == name)?;
        let value = self.list.remove(index).value;
        self.list.retain(|member| member.name != name);
        Some(value)
    }

    /// Adds a field of any name.
    pub(crate) fn push_field(&mut self, name: impl Into<Cow<'a, str>>, value: Value<'a>) {
        self.list.push(Member { name: name.into(), value, role: None });
    }

    /// Renames the last member with this name. It has no role any more.
    pub(crate) fn rename(&mut self, from: &str, to: &'static str) {
        if let Some(member) = self.list.iter_mut().rev().find(|member| member.name == from) {
            member.name = Cow::Borrowed(to);
            member.role = None;
        }
    }

    /// Adds a field of any name at a place of the list.
    pub(crate) fn insert_field(&mut self, index: usize, name: &'static str, value: Value<'a>) {
        let member = Member { name: Cow::Borrowed(name), value, role: None };
        self.list.insert(index.min(self.list.len()), member);
    }

    /// Returns the indices of the members that have the role, lowest rank first. Of members with the
    /// same name, only the last one counts.
    pub(crate) fn ranked(&self, role: Role) -> Vec<usize> {
        if !self.has(role) {
            return Vec::new();
        }
        let ranked = self.list.iter().enumerate().filter_map(|(index, member)| match member.role {
            Some((found, rank)) if found == role => Some((rank, std::cmp::Reverse(index))),
            _ => None,
        });
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_unstable();
        ranked.dedup_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, std::cmp::Reverse(index))| index).collect()
    }

    /// Returns whether a member has the role and is accepted.
    pub(crate) fn has_first(&self, role: Role, accepts: impl Fn(&Value<'a>) -> bool) -> bool {
        let has_role = |member: &Member<'a>| matches!(member.role, Some((found, _)) if found == role);
        self.list.iter().any(|member| has_role(member) && accepts(&member.value))
    }

    /// Takes the value of the member that has the role, is accepted, and has the lowest rank.
    pub(crate) fn take_first(
        &mut self,
        role: Role,
        accepts: impl Fn(&Value<'a>) -> bool,
    ) -> Option<Value<'a>> {
        let is_accepted = |index: &usize| self.list.get(*index).is_some_and(|member| accepts(&member.value));
        let index = self.ranked(role).into_iter().find(is_accepted)?;
        let name = self.list.get(index)?.name.clone();
        self.take(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flat(text: &str) -> Vec<(String, String)> {
        let mut members = Members::default();
        let mut scanner = Scanner::new(text);
        let read = scanner.object(|scanner, name| {
            if let Some(value) = scanner.value()? {
                members.add(name, value);
            }
            Ok(())
        });
        assert_eq!(read, Ok(()), "{text}");
        assert_eq!(members.left_out, 0);
        let list = members.list.into_iter();
        list.map(|member| (member.name.into_owned(), member.value.into_text().into_owned())).collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn objects_become_dotted_names_and_everything_else_stays() {
        let text = r#"{"a":1,"b":{"c":"x","d":{"e":true,"f":[1,{"g":2}]},"h":{},"n":null,"o":{ }},"n":1e400,"z":null}"#;
        let expected = [
            ("a", "1"),
            ("b.c", "x"),
            ("b.d.e", "true"),
            ("b.d.f", r#"[1,{"g":2}]"#),
            ("b.h", "{}"),
            ("b.o", "{ }"),
            ("n", "1e400"),
        ];
        assert_eq!(flat(text), owned(&expected));
    }

    #[test]
    fn depth_and_number_of_members_are_bounded() {
        let deep = format!("{}1{}", "{\"a\":".repeat(10), "}".repeat(10));
        assert_eq!(flat(&deep), owned(&[("a.a.a.a.a.a.a.a", r#"{"a":{"a":1}}"#)]));
        let long = "é".repeat(1000);
        let [(name, _)] = flat(&format!("{{\"{long}\":{{\"{long}\":1}}}}")).try_into().unwrap();
        assert_eq!(name, format!("{}.{long}", "é".repeat(MAX_PREFIX_BYTES / 2)));
        let mut members = Members::default();
        for number in 0..MAX_MEMBERS + 3 {
            members.add(Cow::Owned(number.to_string()), Value::Number("1"));
        }
        assert_eq!((members.list.len(), members.left_out), (MAX_MEMBERS, 3));
    }

    proptest! {
        #[test]
        fn any_object_keeps_its_leaves(leaves in prop::collection::btree_map("[a-c]{1,3}", "[a-z\"\\\\]{0,4}", 0..6), depth in 0..5usize) {
            let mut json = serde_json::to_value(&leaves).unwrap();
            for _ in 0..depth {
                json = serde_json::json!({ "k": json });
            }
            let prefix = "k.".repeat(depth);
            let mut expected: Vec<_> = leaves.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)).collect();
            if expected.is_empty() && depth > 0 {
                expected = vec![("k".repeat(depth).chars().map(String::from).collect::<Vec<_>>().join("."), "{}".to_owned())];
            }
            prop_assert_eq!(flat(&json.to_string()), expected);
        }
    }
}

//! Reads the action lines of a bulk request: `{"create":{"_index":"logs","_id":"1"}}`.

use std::borrow::Cow;

use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{Malformed, Scanner};

/// What a line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Index,
    Update,
    Delete,
}

impl Operation {
    /// Returns the name of the operation, which is also the name of its item in the answer.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Index => "index",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Create, Self::Index, Self::Update, Self::Delete].into_iter().find(|known| known.name() == name)
    }
}

/// An action line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action<'a> {
    /// `None` for an operation that Elasticsearch does not have.
    pub(super) operation: Option<Operation>,
    pub(super) index: Option<Cow<'a, str>>,
    pub(super) id: Option<Cow<'a, str>>,
}

impl<'a> Action<'a> {
    /// Reads an action line. Returns `None` for a line that is none.
    pub(super) fn of(line: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(line);
        let mut action = None;
        let read = scanner.object(|scanner, name| {
            let mut read = Self { operation: Operation::of(&name), index: None, id: None };
            scanner.object(|scanner, name| {
                let slot = match &*name {
                    "_index" => &mut read.index,
                    "_id" => &mut read.id,
                    _ => return scanner.raw().map(drop),
                };
                *slot = scanner.value()?.map(Value::into_text);
                Ok(())
            })?;
            if action.replace(read).is_some() { Err(Malformed) } else { Ok(()) }
        });
        read.and_then(|()| scanner.end()).ok()?;
        action
    }

    /// Returns whether a line is an action of Elasticsearch, for a line that may also be a document.
    pub(super) fn is_one(line: &str) -> bool {
        Action::of(line).is_some_and(|action| action.operation.is_some())
    }
}

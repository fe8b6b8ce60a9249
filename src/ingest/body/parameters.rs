//! Finds out what a body is, and reads the parameters that it holds.
//!
//! The content type is a hint. A body that begins like JSON and is JSON is read as JSON, under every
//! type: many tools send JSON under the type that they happen to have.

use encoding_rs::UTF_8;

use super::content::{BodyText, Content, Shape, behind_space, is_several, skip_space};
use super::media_type::{BodyKind, named_encoding};
use super::received::ReceivedBody;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::error::IngestError;
use crate::ingest::form::{PARAMETERS, fields_in};
use crate::ingest::json::batch::BatchBody;
use crate::ingest::json::object::Object;
use crate::ingest::json::scanner::Scanner;
use crate::ingest::multipart;
use crate::ingest::params::Params;

/// What a route expects of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Parameters only.
    Parameters,
    /// One record.
    Record,
    /// Any number of records, which are read by these rules where they stand in a list.
    Records(ReadRules<'a>),
}

impl<'a> Params<'a> {
    /// Adds the parameters of a body, and notes what else it holds.
    ///
    /// # Errors
    /// Fails for a body that is not what its content type says, for an unknown charset, and when the
    /// memory is used up.
    pub(crate) fn with_body(
        mut self,
        body: &ReceivedBody<'a>,
        wanted: Wanted<'a>,
    ) -> Result<Self, IngestError> {
        if body.bytes.is_empty() {
            return Ok(self);
        }
        let named = match named_encoding(body.media_type) {
            Err(_) if body.kind == BodyKind::Unreadable => None,
            named => named?,
        };
        let text = if body.is_wide(named) { Some(body.text(named)?) } else { None };
        let first = match text {
            Some(text) => first_byte(text),
            None => body.first_byte(),
        };
        if matches!(first, Some(b'{' | b'[')) || body.kind.is_json() {
            let text = text.map_or_else(|| body.text(named), Ok)?;
            if self.read_json(body, text, wanted)? {
                return Ok(self);
            }
        }
        match body.kind {
            BodyKind::Form => {
                let (bytes, encoding) = body.form_bytes(named)?;
                if encoding != UTF_8 || std::str::from_utf8(bytes).is_err() {
                    // No encoding makes more than three bytes of one.
                    body.memory.take(3 * bytes.len())?;
                }
                self.form = fields_in(bytes, encoding);
                let is_form = self.form.list.iter().any(|(name, _)| PARAMETERS.contains(&&**name));
                if !is_form && !matches!(wanted, Wanted::Parameters) {
                    // curl sends every text under the type of a form.
                    self.content = as_text(body.text(named)?, wanted);
                }
            }
            BodyKind::Multipart => {
                self.form = multipart::fields_in(body.media_type, body.bytes, named, body.memory)?;
            }
            BodyKind::Text | BodyKind::Unnamed if !matches!(wanted, Wanted::Parameters) => {
                self.content = as_text(body.text(named)?, wanted);
            }
            BodyKind::Unreadable => self.content = Content::Unreadable,
            _ => {}
        }
        Ok(self)
    }

    /// Reads a body that may be JSON. Returns false for one that is none and does not have to be.
    fn read_json(
        &mut self,
        body: &ReceivedBody<'a>,
        text: BodyText<'a>,
        wanted: Wanted<'a>,
    ) -> Result<bool, IngestError> {
        let Err(error) = self.read_object(text, wanted) else { return Ok(true) };
        if let Some(quoted) = body.quoted(text)?
            && self.read_object(quoted, wanted).is_ok()
        {
            return Ok(true);
        }
        let refused = || Err(IngestError::not_an_object(&error));
        let is_declared = body.kind.is_json();
        let first = first_byte(text);
        match wanted {
            Wanted::Record if is_several(text.text) => self.content = Content::Several,
            Wanted::Records(_) if matches!(body.kind, BodyKind::Multipart | BodyKind::Unreadable) => {
                if !is_several(text.text) {
                    return Ok(false);
                }
                self.content = records(text, body.kind);
            }
            // One JSON text must be well formed, and others may follow it.
            Wanted::Records(_) if body.kind == BodyKind::Json && first != Some(b'[') => {
                let begin = behind_space(text.text);
                let starts_well = first == Some(b'{') && Scanner::new(begin).raw().is_ok();
                if !starts_well {
                    return refused();
                }
                self.content = records(text, body.kind);
            }
            Wanted::Records(_) => self.content = records(text, body.kind),
            Wanted::Record | Wanted::Parameters if is_declared => return refused(),
            Wanted::Record | Wanted::Parameters => return Ok(false),
        }
        Ok(true)
    }

    /// Reads a body that is one JSON object.
    fn read_object(&mut self, text: BodyText<'a>, wanted: Wanted<'a>) -> serde_json::Result<()> {
        if let Wanted::Records(rules) = wanted
            && let Some(BatchBody { rest, entries }) = BatchBody::parse(text, &rules)
        {
            self.set_list(rest, entries, text, rules);
            return Ok(());
        }
        self.set_json(Object::parse(text.text)?, text);
        Ok(())
    }
}

/// Returns what a body without parameters holds.
fn as_text<'a>(text: BodyText<'a>, wanted: Wanted<'_>) -> Content<'a> {
    match wanted {
        Wanted::Records(_) => records(text, BodyKind::Text),
        Wanted::Record | Wanted::Parameters => Content::Message(text),
    }
}

fn records(text: BodyText<'_>, kind: BodyKind) -> Content<'_> {
    let shape = Shape { is_declared: kind.is_json(), is_one_text: kind == BodyKind::Json };
    Content::Records { text, shape }
}

fn first_byte(text: BodyText<'_>) -> Option<u8> {
    skip_space(text.text.as_bytes()).first().copied()
}

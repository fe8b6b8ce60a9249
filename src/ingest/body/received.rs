//! A body as it was received: its bytes, the kind that its content type names, and the texts that are
//! made of it.

use std::borrow::Cow;
use std::sync::OnceLock;

use encoding_rs::{Encoding, UTF_8};
use http::HeaderMap;

use super::content::{BodyText, skip_space};
use super::media_type::{BodyKind, content_type, named_encoding};
use super::memory::{BodyMemory, OutOfMemory};
use crate::ingest::json::lenient::with_quoted_words;
use crate::ingest::text::{Replaced, decode};

/// The texts that were made of one body. Everything that is read of the body borrows from it or from
/// these texts, so they live as long as the body.
#[derive(Debug, Default)]
pub(crate) struct BodyTexts {
    decoded: OnceLock<(String, Replaced)>,
    replaced: OnceLock<Replaced>,
    quoted: OnceLock<String>,
    unpacked: OnceLock<Vec<u8>>,
}

impl BodyTexts {
    /// Keeps the bytes that a dialect decoded. A body is decoded once.
    pub(crate) fn keep_unpacked(&self, bytes: Vec<u8>) -> &[u8] {
        self.unpacked.get_or_init(|| bytes)
    }
}

/// A body as it was received. It is whole, decompressed and decrypted.
#[derive(Clone, Copy)]
pub(crate) struct ReceivedBody<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) kind: BodyKind,
    /// The content type with its parameters.
    pub(crate) media_type: &'a str,
    pub(crate) texts: &'a BodyTexts,
    pub(crate) memory: &'a dyn BodyMemory,
}

impl<'a> ReceivedBody<'a> {
    /// Joins the bytes of a body and what the headers say of it.
    pub(crate) fn new(
        headers: &'a HeaderMap,
        bytes: &'a [u8],
        texts: &'a BodyTexts,
        memory: &'a dyn BodyMemory,
    ) -> Self {
        Self { bytes, kind: BodyKind::of(headers), media_type: content_type(headers), texts, memory }
    }

    /// Returns the first byte after white space, if that can be seen without decoding the body.
    pub(super) fn first_byte(&self) -> Option<u8> {
        skip_space(self.bytes).first().copied()
    }

    /// Returns whether the body has to be decoded as a whole before its bytes mean anything.
    pub(super) fn is_wide(&self, named: Option<&'static Encoding>) -> bool {
        Encoding::for_bom(self.bytes).is_some() || named.is_some_and(|named| !named.is_ascii_compatible())
    }

    /// Returns the whole body as text. The content type gives the charset only. An unknown
    /// charset counts as UTF-8.
    ///
    /// # Errors
    /// Fails when the memory is used up.
    pub(crate) fn any_text(&self) -> Result<BodyText<'a>, OutOfMemory> {
        self.text(named_encoding(self.media_type).ok().flatten())
    }

    /// Returns the whole body as text.
    ///
    /// # Errors
    /// Fails when the memory is used up.
    pub(crate) fn text(&self, named: Option<&'static Encoding>) -> Result<BodyText<'a>, OutOfMemory> {
        let texts = self.texts;
        if let Some((text, replaced)) = texts.decoded.get() {
            return Ok(BodyText { text, replaced });
        }
        let decoded = decode(self.bytes, named, self.memory)?;
        Ok(match decoded.text {
            Cow::Borrowed(text) => {
                BodyText { text, replaced: texts.replaced.get_or_init(|| decoded.replaced) }
            }
            Cow::Owned(text) => {
                let (text, replaced) = texts.decoded.get_or_init(|| (text, decoded.replaced));
                BodyText { text, replaced }
            }
        })
    }

    /// Returns the text with `NaN` and `Infinity` as strings, if it holds one of them.
    ///
    /// # Errors
    /// Fails when the memory is used up.
    pub(crate) fn quoted(&self, text: BodyText<'_>) -> Result<Option<BodyText<'a>>, OutOfMemory> {
        let texts = self.texts;
        if texts.quoted.get().is_none()
            && let Some(quoted) = with_quoted_words(text.text)
        {
            self.memory.take(quoted.len())?;
            drop(texts.quoted.set(quoted));
        }
        let Some(quoted) = texts.quoted.get() else { return Ok(None) };
        // The places moved.
        let replaced = if text.replaced.is_empty() {
            const { &Replaced::NONE }
        } else {
            texts.replaced.get_or_init(Replaced::anywhere)
        };
        Ok(Some(BodyText { text: quoted, replaced }))
    }

    /// Returns the bytes as those of a form, and their encoding. A body that is not ASCII in its ASCII
    /// characters is decoded first.
    ///
    /// # Errors
    /// Fails when the memory is used up.
    pub(super) fn form_bytes(
        &self,
        named: Option<&'static Encoding>,
    ) -> Result<(&'a [u8], &'static Encoding), OutOfMemory> {
        if self.is_wide(named) {
            return Ok((self.text(named)?.text.as_bytes(), UTF_8));
        }
        Ok((self.bytes, named.unwrap_or(UTF_8)))
    }
}

//! Turns bytes into text: byte order marks, charsets (WHATWG Encoding Standard), and U+FFFD for each
//! byte that is no text.

use std::borrow::Cow;
use std::ops::Range;

use encoding_rs::{Encoding, UTF_8};

use super::body::memory::{BodyMemory, OutOfMemory};

/// A text, and where some of its bytes had to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DecodedText<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) replaced: Replaced,
}

/// The places of a text at which U+FFFD stands for bytes that are not valid in the charset.
///
/// A sender may also send U+FFFD itself. Only the places tell which records were changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Replaced(Vec<Range<usize>>);

/// Maximum number of places that are kept apart. Past it, all of the rest counts as one place.
const MAX_PLACES: usize = 65_536;

impl Replaced {
    /// No place of a text.
    pub(crate) const NONE: Self = Self(Vec::new());

    /// Returns the places of a text whose replacements are known to exist, but not where. Each
    /// U+FFFD counts.
    pub(crate) fn anywhere() -> Self {
        Self(std::iter::once(0..usize::MAX).collect())
    }

    /// Returns whether the text is as it was sent.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the place of one U+FFFD. The places are added in their order.
    fn add(&mut self, at: usize) {
        let place = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
        let is_full = self.0.len() == MAX_PLACES;
        match self.0.last_mut() {
            Some(last) if last.end == at || is_full => last.end = place.end,
            _ => self.0.push(place),
        }
    }

    /// Returns whether a part of the text was changed.
    pub(crate) fn touches(&self, text: &str, span: Range<usize>) -> bool {
        let Self(places) = self;
        let first = places.partition_point(|place| place.end <= span.start);
        places.get(first).is_some_and(|place| place.start < span.end)
            && text.get(span).is_some_and(|part| part.contains(char::REPLACEMENT_CHARACTER))
    }
}

/// The charset is not one of the Encoding Standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The charset is unknown.")]
pub(crate) struct UnknownCharset;

/// Returns the parameter `charset` of a media type.
pub(crate) fn charset_of(media_type: &str) -> Option<&str> {
    media_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    })
}

/// Returns the encoding with this label.
///
/// # Errors
/// Fails for a label that the Encoding Standard does not name, or names as one to be refused.
pub(crate) fn encoding_of(label: &str) -> Result<&'static Encoding, UnknownCharset> {
    Encoding::for_label_no_replacement(label.as_bytes()).ok_or(UnknownCharset)
}

/// Decodes bytes. A byte order mark comes before the named encoding, and is skipped. Without either,
/// the bytes are UTF-8.
///
/// # Errors
/// Fails when the memory is used up. A text that stays as it is takes none.
pub(crate) fn decode<'a>(
    bytes: &'a [u8],
    named: Option<&'static Encoding>,
    memory: &dyn BodyMemory,
) -> Result<DecodedText<'a>, OutOfMemory> {
    let (encoding, mark_len) = Encoding::for_bom(bytes).unwrap_or_else(|| (named.unwrap_or(UTF_8), 0));
    decode_without_mark(bytes.get(mark_len..).unwrap_or_default(), encoding, memory)
}

/// Decodes bytes that have no byte order mark.
///
/// # Errors
/// Fails as [`decode`] does.
pub(crate) fn decode_without_mark<'a>(
    bytes: &'a [u8],
    encoding: &'static Encoding,
    memory: &dyn BodyMemory,
) -> Result<DecodedText<'a>, OutOfMemory> {
    if encoding == UTF_8 {
        return match std::str::from_utf8(bytes) {
            Ok(text) => Ok(DecodedText { text: Cow::Borrowed(text), replaced: Replaced::NONE }),
            Err(_) => repaired(bytes, memory),
        };
    }
    if Encoding::ascii_valid_up_to(bytes) == bytes.len()
        && encoding.is_ascii_compatible()
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return Ok(DecodedText { text: Cow::Borrowed(text), replaced: Replaced::NONE });
    }
    // No encoding makes more than three bytes of one.
    memory.take(3 * bytes.len())?;
    let (text, has_replacements) = encoding.decode_without_bom_handling(bytes);
    let mut replaced = Replaced::NONE;
    if has_replacements {
        text.match_indices(char::REPLACEMENT_CHARACTER).for_each(|(at, _)| replaced.add(at));
    }
    Ok(DecodedText { text, replaced })
}

/// Returns a text in UTF-8 with U+FFFD for each invalid sequence.
fn repaired(bytes: &[u8], memory: &dyn BodyMemory) -> Result<DecodedText<'static>, OutOfMemory> {
    const PLACE: usize = size_of::<Range<usize>>();
    let broken = |chunk: &std::str::Utf8Chunk<'_>| !chunk.invalid().is_empty();
    let (len, places) = bytes.utf8_chunks().fold((0, 0), |(len, places), chunk| {
        let broken = usize::from(broken(&chunk));
        (len + chunk.valid().len() + 3 * broken, places + broken)
    });
    memory.take(len + PLACE * places.min(MAX_PLACES))?;
    let (mut text, mut replaced) = (String::with_capacity(len), Replaced::NONE);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if broken(&chunk) {
            replaced.add(text.len());
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Ok(DecodedText { text: Cow::Owned(text), replaced })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::body::memory::Unlimited;
    use proptest::prelude::*;

    fn decoded(bytes: &[u8], label: Option<&str>) -> (String, bool) {
        let encoding = label.map(|label| encoding_of(label).unwrap());
        let DecodedText { text, replaced } = decode(bytes, encoding, &Unlimited).unwrap();
        (text.into_owned(), !replaced.is_empty())
    }

    #[test]
    fn charsets_and_byte_order_marks_are_read() {
        assert_eq!(decoded("é".as_bytes(), None), ("é".into(), false));
        assert_eq!(decoded(b"\xe9", Some("latin1")), ("é".into(), false));
        assert_eq!(decoded(b"\xe9", Some("ISO-8859-1")), ("é".into(), false));
        assert_eq!(decoded(b"\x93\xfa\x96\x7b", Some("Shift_JIS")), ("日本".into(), false));
        assert_eq!(decoded(b"\x1b$B", Some("iso-2022-jp")), (String::new(), false));
        assert_eq!(decoded(b"\xef\xbb\xbf{}", None), ("{}".into(), false));
        assert_eq!(decoded(b"\xef\xbb\xbfx", Some("latin1")), ("x".into(), false));
        assert_eq!(decoded(b"\xff\xfea\0b\0", None), ("ab".into(), false));
        assert_eq!(decoded(b"\xfe\xff\0a\0b", None), ("ab".into(), false));
        assert_eq!(decoded(b"\0a\0b", Some("utf-16be")), ("ab".into(), false));
        assert_eq!(decoded(b"a\xffb", None), ("a\u{fffd}b".into(), true));
        assert_eq!(encoding_of("klingon"), Err(UnknownCharset));
        assert_eq!(charset_of("text/plain; Charset=\"UTF-8\"; x=y"), Some("UTF-8"));
        assert_eq!(charset_of("text/plain"), None);
    }

    #[test]
    fn places_tell_replaced_bytes_from_sent_replacement_characters() {
        let bytes = b"\xef\xbf\xbd sent\n\xff\xff replaced\nplain\n\xc3";
        let DecodedText { text, replaced } = decode(bytes, None, &Unlimited).unwrap();
        let mut at = 0;
        let lines: Vec<bool> = text
            .split_inclusive('\n')
            .map(|line| {
                at += line.len();
                replaced.touches(&text, at - line.len()..at)
            })
            .collect();
        assert_eq!(lines, [false, true, false, true]);
        assert!(Replaced::anywhere().touches(&text, 0..5));
        assert!(!Replaced::anywhere().touches(&text, 4..8));
        let many = b"\xffx".repeat(MAX_PLACES + 10);
        let DecodedText { text, replaced } = decode(&many, None, &Unlimited).unwrap();
        assert_eq!(replaced.0.len(), MAX_PLACES);
        assert!(replaced.touches(&text, text.len() - 4..text.len()));
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text: String) {
            let is_marked = text.starts_with('\u{feff}');
            prop_assume!(!is_marked);
            prop_assert_eq!(decoded(text.as_bytes(), None), (text.clone(), false));
            let utf16: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
            prop_assert_eq!(decoded(&utf16, Some("utf-8")), (text.clone(), false));
            let utf16: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
            prop_assert_eq!(decoded(&utf16, Some("latin1")), (text, false));
        }

        #[test]
        fn any_bytes_are_decoded(bytes: Vec<u8>, which in 0..6_usize) {
            let is_marked = Encoding::for_bom(&bytes).is_some();
            let (text, has_replacements) = decoded(&bytes, None);
            prop_assert!(is_marked || has_replacements == std::str::from_utf8(&bytes).is_err());
            prop_assert!(!has_replacements || text.contains(char::REPLACEMENT_CHARACTER));
            prop_assert!(is_marked || text == String::from_utf8_lossy(&bytes));
            let label = ["latin1", "shift_jis", "utf-16le", "gb18030", "euc-jp", "koi8-r"][which];
            let (text, _) = decoded(&bytes, Some(label));
            prop_assert!(text.len() <= 3 * bytes.len() + 3);
        }
    }
}

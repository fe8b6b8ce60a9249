//! Turns bytes into text: byte order marks, charsets (WHATWG Encoding Standard), and U+FFFD for each
//! byte that is no text.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

/// A text, and whether some of its bytes had to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DecodedText<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Set when U+FFFD stands for bytes that are not valid in the charset.
    pub(crate) has_replacements: bool,
}

/// The charset is not one of the Encoding Standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown charset")]
pub(crate) struct UnknownCharset;

/// Returns the parameter `charset` of a media type.
pub(crate) fn charset_of(media_type: &str) -> Option<&str> {
    media_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

/// Decodes bytes. A byte order mark comes before the charset, and is skipped. Without a charset the
/// bytes are UTF-8.
///
/// # Errors
/// Fails for a charset that the Encoding Standard does not name.
pub(crate) fn decode<'a>(bytes: &'a [u8], charset: Option<&str>) -> Result<DecodedText<'a>, UnknownCharset> {
    let named = match charset {
        Some(label) => Encoding::for_label(label.as_bytes()).ok_or(UnknownCharset)?,
        None => UTF_8,
    };
    let (encoding, mark_len) = Encoding::for_bom(bytes).unwrap_or((named, 0));
    let bytes = bytes.get(mark_len..).unwrap_or_default();
    if encoding == UTF_8
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return Ok(DecodedText { text: Cow::Borrowed(text), has_replacements: false });
    }
    let (text, has_replacements) = encoding.decode_without_bom_handling(bytes);
    Ok(DecodedText { text, has_replacements })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(bytes: &[u8], charset: Option<&str>) -> (String, bool) {
        let DecodedText { text, has_replacements } = decode(bytes, charset).unwrap();
        (text.into_owned(), has_replacements)
    }

    #[test]
    fn charsets_and_byte_order_marks_are_read() {
        assert_eq!(decoded("é".as_bytes(), None), ("é".into(), false));
        assert_eq!(decoded(b"\xe9", Some("latin1")), ("é".into(), false));
        assert_eq!(decoded(b"\xe9", Some("ISO-8859-1")), ("é".into(), false));
        assert_eq!(decoded(b"\x93\xfa\x96\x7b", Some("Shift_JIS")), ("日本".into(), false));
        assert_eq!(decoded(b"\xef\xbb\xbf{}", None), ("{}".into(), false));
        assert_eq!(decoded(b"\xef\xbb\xbfx", Some("latin1")), ("x".into(), false));
        assert_eq!(decoded(b"\xff\xfea\0b\0", None), ("ab".into(), false));
        assert_eq!(decoded(b"\xfe\xff\0a\0b", None), ("ab".into(), false));
        assert_eq!(decoded(b"a\xffb", None), ("a\u{fffd}b".into(), true));
        assert_eq!(decode(b"a", Some("klingon")), Err(UnknownCharset));
        assert_eq!(charset_of("text/plain; Charset=\"UTF-8\"; x=y"), Some("UTF-8"));
        assert_eq!(charset_of("text/plain"), None);
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text: String) {
            let is_marked = text.starts_with('\u{feff}');
            prop_assume!(!is_marked);
            prop_assert_eq!(decoded(text.as_bytes(), None), (text.clone(), false));
            let utf16: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
            prop_assert_eq!(decoded(&utf16, Some("utf-8")), (text, false));
        }

        #[test]
        fn any_bytes_are_decoded(bytes: Vec<u8>) {
            let (text, has_replacements) = decoded(&bytes, None);
            let is_marked = Encoding::for_bom(&bytes).is_some();
            prop_assert!(is_marked || has_replacements == std::str::from_utf8(&bytes).is_err());
            prop_assert!(!has_replacements || text.contains(char::REPLACEMENT_CHARACTER));
        }
    }
}

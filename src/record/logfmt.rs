//! Names and values in logfmt, the form of fields in a text line.

use super::escape::VALUE;

/// Maximum length of a name, in characters (code points).
pub const MAX_NAME_CHARS: usize = 128;

/// Appends a value. It stands bare, or in double quotes with the escapes of a message and `\"`.
pub(super) fn write_value(out: &mut Vec<u8>, value: &str) {
    if stands_bare(value) {
        out.extend_from_slice(value.as_bytes());
    } else {
        out.push(b'"');
        VALUE.escape_into(out, value);
        out.push(b'"');
    }
}

/// Returns the length of what [`write_value`] appends.
pub(super) fn written_len(value: &str) -> usize {
    if stands_bare(value) { value.len() } else { 2 + VALUE.escaped_len(value) }
}

/// Returns whether a value stands without quotes: it is not empty and holds no white space, no
/// control character, no `"`, no `=` and no `\`.
pub(super) fn stands_bare(value: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() & (byte != b'"') & (byte != b'=') & (byte != b'\\');
    let plain_len = value.bytes().position(|byte| !is_plain(byte)).unwrap_or(value.len());
    match value.as_bytes().get(plain_len) {
        None => !value.is_empty(),
        Some(byte) if byte.is_ascii() => false,
        Some(_) => value.get(plain_len..).unwrap_or_default().chars().all(is_bare_char),
    }
}

/// Returns whether a value without quotes can hold `character`.
fn is_bare_char(character: char) -> bool {
    !(matches!(character, '"' | '=' | '\\') || character.is_whitespace() || character.is_control())
}

/// Returns whether a name can hold `character`.
pub(super) fn is_name_char(character: char) -> bool {
    is_bare_char(character) && character != '|'
}

/// Returns whether a field can have this name.
pub(super) fn is_name(name: &str) -> bool {
    // A name has at most as many characters as bytes, so most names need no count.
    let is_short = name.len() <= MAX_NAME_CHARS || name.chars().nth(MAX_NAME_CHARS).is_none();
    !name.is_empty() && is_short && name.chars().all(is_name_char)
}

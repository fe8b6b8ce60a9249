//! Escapes texts, so that every record is one line. Unescaping restores each text exactly.
//!
//! The same code escapes the message of a text line, its origin (client, key, route), its field
//! values, and the strings of a JSON line. In the origin it also escapes the separators of the
//! grammar, so that no part can forge another. The result holds no control character except TAB
//! (none at all in JSON), no C1 control, no U+2028 and no U+2029. Outside messages and values it holds
//! no bidirectional control either, so that no name changes the order in which a terminal shows the
//! rest of a line. Every text has exactly one escaped form, and unescaping rejects all others.

use std::borrow::Cow;
use std::fmt;

use super::LineFormat;
use crate::swar::{Word, first};

/// Number of bytes tested together. The compiler turns the test of a block into a few vector
/// instructions.
const BLOCK_BYTES: usize = 32;

/// Appends `text`, escaped like the message of a text line.
pub fn escape_into(out: &mut Vec<u8>, text: &str) {
    MESSAGE.escape_inlined(out, text);
}

/// Appends `text`, escaped like [`Escaped`] displays it.
pub fn escape_shown_into(out: &mut Vec<u8>, text: &str) {
    SHOWN.escape_into(out, text);
}

/// Displays a text escaped like the message of a text line, with its bidirectional controls.
///
/// Use it for every text of a client that is written to another log.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        loop {
            let (clean, stop) = rest.split_at(SHOWN.clean_len(rest.as_bytes()));
            f.write_str(clean)?;
            let mut chars = stop.chars();
            let Some(special) = chars.next() else { return Ok(()) };
            let sequence = SHOWN.sequence(special);
            f.write_str(std::str::from_utf8(sequence.as_bytes()).map_err(|_| fmt::Error)?)?;
            rest = chars.as_str();
        }
    }
}

/// Returns `text` as a line in this format contains it inside its message.
///
/// A search for the result in the line finds `text` in the message.
#[must_use]
pub fn escaped_message(text: &str, format: LineFormat) -> Vec<u8> {
    let mut out = Vec::new();
    match format {
        LineFormat::Text => MESSAGE.escape_into(&mut out, text),
        LineFormat::Json => JSON.escape_into(&mut out, text),
    }
    out
}

/// Returns `text` as a quoted value of a field of a text line contains it.
#[must_use]
pub fn escaped_value(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    VALUE.escape_into(&mut out, text);
    out
}

/// Appends `text`, escaped for a JSON string, without the quotes.
pub fn escape_json_into(out: &mut Vec<u8>, text: &str) {
    JSON.escape_inlined(out, text);
}

/// Appends `text`, escaped for a quoted field: `"` is escaped as well. The quotes are not written.
pub fn escape_quoted_into(out: &mut Vec<u8>, text: &str) {
    QUOTED.escape_into(out, text);
}

/// Appends `text`, escaped for a field without quotes: spaces, `"` and `[` are escaped as well.
pub fn escape_word_into(out: &mut Vec<u8>, text: &str) {
    WORD.escape_into(out, text);
}

/// Rules for a quoted field, which only `"` could end.
static QUOTED: EscapeRules = EscapeRules::new(Notation::Text, [b'"'; 3]).with_bidi();

/// Rules for a field without quotes.
static WORD: EscapeRules = EscapeRules::new(Notation::Text, [b' ', b'"', b'[']).without_tab().with_bidi();

/// Rules for the message of a text line.
pub(super) static MESSAGE: EscapeRules = EscapeRules::new(Notation::Text, [b'\\'; 3]);

/// Rules for a text that another log or a terminal shows.
static SHOWN: EscapeRules = EscapeRules::new(Notation::Text, [b'\\'; 3]).with_bidi();

/// Rules for client, key and route of a text line.
pub(super) static FIELD: EscapeRules = EscapeRules::new(Notation::Text, [b'|', b'<', b'>']).with_bidi();

/// Rules for a quoted value of a field in a text line: those of a message, and `"` as `\"`.
pub(super) static VALUE: EscapeRules = EscapeRules::new(Notation::Value, [b'"'; 3]);

/// Rules for a string of a JSON line.
pub(super) static JSON: EscapeRules = EscapeRules::new(Notation::Json, [b'"'; 3]);

/// Rules for client, key and route of a JSON line.
pub(super) static JSON_FIELD: EscapeRules = EscapeRules::new(Notation::Json, [b'"'; 3]).with_bidi();

/// The notation of a character that has no escape letter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notation {
    /// As `\u{1b}`.
    Text,
    /// As `\u{1b}`; `"` as `\"`.
    Value,
    /// As `\u001b`.
    Json,
}

/// The characters that must be escaped in one place, and how.
pub(super) struct EscapeRules {
    notation: Notation,
    /// ASCII characters that are escaped in addition to those escaped everywhere.
    extra: [u8; 3],
    /// The control character that is not escaped, or `u8::MAX` for none.
    kept: u8,
    /// True when bidirectional controls are escaped.
    escapes_bidi: bool,
    /// The result of [`Self::may_need_escape`] for each byte.
    table: [bool; 256],
}

/// The escape sequence of one character.
struct EscapeSequence {
    bytes: [u8; 8],
    len: usize,
}

impl EscapeRules {
    const fn new(notation: Notation, extra: [u8; 3]) -> Self {
        let kept = match notation {
            Notation::Text | Notation::Value => b'\t',
            Notation::Json => u8::MAX,
        };
        Self::keeping(notation, extra, kept)
    }

    const fn without_tab(self) -> Self {
        Self::keeping(self.notation, self.extra, u8::MAX)
    }

    const fn with_bidi(self) -> Self {
        Self { escapes_bidi: true, ..self }
    }

    const fn keeping(notation: Notation, extra: [u8; 3], kept: u8) -> Self {
        let mut rules = Self { notation, extra, kept, escapes_bidi: false, table: [false; 256] };
        let mut byte: u8 = 0;
        loop {
            rules.table[byte as usize] = rules.may_need_escape(byte);
            if byte == u8::MAX {
                return rules;
            }
            byte += 1;
        }
    }

    /// Returns whether a character that must be escaped can start with `byte`.
    ///
    /// In UTF-8, C1 controls start with C2. U+2028, U+2029 and the bidirectional controls start with
    /// E2. The expression has
    /// no branches, so that the compiler tests whole blocks at once.
    #[inline(always)]
    const fn may_need_escape(&self, byte: u8) -> bool {
        let [one, two, three] = self.extra;
        ((byte < 0x20) & (byte != self.kept))
            | (byte == b'\\')
            | (byte == 0x7f)
            | (byte == 0xc2)
            | (byte == 0xe2)
            | (byte == one)
            | (byte == two)
            | (byte == three)
    }

    /// Returns the number of bytes before the first character that must be escaped.
    #[inline(always)]
    fn clean_len(&self, text: &[u8]) -> usize {
        let mut at = 0;
        loop {
            while let Some(block) = text.get(at..at + BLOCK_BYTES)
                && (block.iter().fold(true, |plain, byte| plain & self.is_plain(*byte))
                    || !block.iter().fold(false, |found, byte| found | self.may_need_escape(*byte)))
            {
                at += BLOCK_BYTES;
            }
            while let Some(word) = Word::at(text, at)
                && first(self.not_plain(word)).is_none()
            {
                at += 8;
            }
            // The last eight bytes overlap bytes that were tested already. If one of those is not
            // plain, the loop below tests the rest byte by byte.
            if let Some(last) = text.len().checked_sub(8).and_then(|last| Word::at(text, last))
                && text.len() - at < 8
                && first(self.not_plain(last)).is_none()
            {
                return text.len();
            }
            let rest = text.get(at..).unwrap_or_default();
            let Some(found) = rest.iter().position(|byte| self.table[usize::from(*byte)]) else {
                return text.len();
            };
            at += found;
            match rest.get(found..) {
                Some([0xc2, second, ..]) if !matches!(second, 0x80..=0x9f) => at += 2,
                Some([0xe2, second, third, ..]) if !self.escapes_after_e2(*second, *third) => at += 3,
                _ => return at,
            }
        }
    }

    /// Returns whether the character of E2 and these bytes must be escaped: U+2028 and U+2029, and
    /// the bidirectional controls U+200E, U+200F, U+202A to U+202E and U+2066 to U+2069.
    #[inline(always)]
    const fn escapes_after_e2(&self, second: u8, third: u8) -> bool {
        (second == 0x80 && third & 0xfe == 0xa8)
            || self.escapes_bidi
                && matches!((second, third), (0x80, 0x8e | 0x8f | 0xaa..=0xae) | (0x81, 0xa6..=0xa9))
    }

    /// Returns whether `byte` is ASCII, no control character, and not escaped. Takes half the
    /// instructions of [`Self::may_need_escape`].
    #[inline(always)]
    const fn is_plain(&self, byte: u8) -> bool {
        let [one, two, three] = self.extra;
        (byte.wrapping_add(1).cast_signed() > 0x20)
            & (byte != b'\\')
            & (byte != one)
            & (byte != two)
            & (byte != three)
    }

    /// Marks the bytes of `word` for which [`Self::is_plain`] is false.
    const fn not_plain(&self, word: Word) -> u64 {
        let [one, two, three] = self.extra;
        word.below(0x20)
            | word.equal(b'\\')
            | word.equal(0x7f)
            | word.beyond_ascii()
            | word.equal(one)
            | word.equal(two)
            | word.equal(three)
    }

    /// Appends `text`, escaped.
    pub(super) fn escape_into(&self, out: &mut Vec<u8>, text: &str) {
        self.escape_inlined(out, text);
    }

    /// Does the same as [`Self::escape_into`], inlined into the caller. With rules that are known
    /// at compile time this takes half the instructions.
    #[inline(always)]
    fn escape_inlined(&self, out: &mut Vec<u8>, text: &str) {
        let mut rest = text;
        loop {
            let (clean, stop) = rest.split_at(self.clean_len(rest.as_bytes()));
            out.extend_from_slice(clean.as_bytes());
            let mut chars = stop.chars();
            let Some(special) = chars.next() else { return };
            out.extend_from_slice(self.sequence(special).as_bytes());
            rest = chars.as_str();
        }
    }

    /// Unescapes `escaped` up to the first character that these rules never write, such as a quote
    /// in JSON or `|` in a field. Returns the unescaped text, and the rest from that character on.
    pub(super) fn unescape<'a>(&self, escaped: &'a str) -> (Cow<'a, str>, &'a str) {
        let (first, stop) = escaped.split_at(self.clean_len(escaped.as_bytes()));
        let Some((mut special, mut rest)) = self.unescape_one(stop) else {
            return (Cow::Borrowed(first), stop);
        };
        let mut text = first.to_owned();
        loop {
            text.push(special);
            let (clean, stop) = rest.split_at(self.clean_len(rest.as_bytes()));
            text.push_str(clean);
            let Some(next) = self.unescape_one(stop) else { return (Cow::Owned(text), stop) };
            (special, rest) = next;
        }
    }

    /// Returns the rest as [`Self::unescape`] does, without building the text.
    pub(super) fn skip<'a>(&self, escaped: &'a str) -> &'a str {
        let mut rest = escaped;
        loop {
            let (_, stop) = rest.split_at(self.clean_len(rest.as_bytes()));
            let Some((_, after)) = self.unescape_one(stop) else { return stop };
            rest = after;
        }
    }

    /// Returns the length of `text` when it is escaped.
    pub(super) fn escaped_len(&self, text: &str) -> usize {
        let mut rest = text;
        let mut len = 0;
        loop {
            let (clean, stop) = rest.split_at(self.clean_len(rest.as_bytes()));
            len += clean.len();
            let mut chars = stop.chars();
            let Some(special) = chars.next() else { return len };
            len += self.sequence(special).len;
            rest = chars.as_str();
        }
    }

    fn unescape_one<'a>(&self, escaped: &'a str) -> Option<(char, &'a str)> {
        let after = escaped.strip_prefix('\\')?;
        let special = match (after.as_bytes().first()?, self.notation) {
            (b'n', _) => '\n',
            (b'r', _) => '\r',
            (b't', Notation::Json) => '\t',
            (b'u', Notation::Text | Notation::Value) => {
                let (hex, _) = after.strip_prefix("u{")?.split_once('}')?;
                char::from_u32(u32::from_str_radix(hex, 16).ok()?)?
            }
            (b'u', Notation::Json) => char::from_u32(u32::from_str_radix(after.get(1..5)?, 16).ok()?)?,
            (other, _) => char::from(*other),
        };
        // Only the one sequence that `escape_into` writes is accepted, and only for a character
        // that must be escaped.
        if self.clean_len(special.encode_utf8(&mut [0; 4]).as_bytes()) != 0 {
            return None;
        }
        let after = escaped.as_bytes().strip_prefix(self.sequence(special).as_bytes())?;
        Some((special, escaped.get(escaped.len() - after.len()..)?))
    }

    fn sequence(&self, special: char) -> EscapeSequence {
        let letter = match (special, self.notation) {
            ('\\', _) => b'\\',
            ('\n', _) => b'n',
            ('\r', _) => b'r',
            ('\t', Notation::Json) => b't',
            ('"', Notation::Json | Notation::Value) => b'"',
            _ => return self.long_sequence(special),
        };
        EscapeSequence { bytes: [b'\\', letter, 0, 0, 0, 0, 0, 0], len: 2 }
    }

    /// Returns the numeric sequence of a character that has no escape letter.
    #[cold]
    fn long_sequence(&self, special: char) -> EscapeSequence {
        let mut sequence = EscapeSequence { bytes: *b"\\u\0\0\0\0\0\0", len: 2 };
        match self.notation {
            Notation::Text | Notation::Value => {
                special.escape_unicode().skip(2).for_each(|digit| sequence.push(digit as u8));
            }
            Notation::Json => {
                for shift in [12, 8, 4, 0] {
                    sequence.push(b"0123456789abcdef"[(special as usize >> shift) & 0xf]);
                }
            }
        }
        sequence
    }
}

impl EscapeSequence {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(rules: &EscapeRules, text: &str) -> String {
        let mut out = Vec::new();
        rules.escape_into(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn characters_are_escaped_by_the_rules_of_their_place() {
        for (text, message, field, json) in [
            ("plain äöü €", "plain äöü €", "plain äöü €", "plain äöü €"),
            ("a\\b\nc\rd\te", r"a\\b\nc\rd	e", r"a\\b\nc\rd	e", r"a\\b\nc\rd\te"),
            ("\0\x1b\x7f", r"\u{0}\u{1b}\u{7f}", r"\u{0}\u{1b}\u{7f}", r"\u0000\u001b\u007f"),
            ("\u{80}\u{9f}\u{a0}", "\\u{80}\\u{9f}\u{a0}", "\\u{80}\\u{9f}\u{a0}", "\\u0080\\u009f\u{a0}"),
            (
                "\u{2027}\u{2028}\u{2029}\u{202a}\u{2068}",
                "\u{2027}\\u{2028}\\u{2029}\u{202a}\u{2068}",
                "\u{2027}\\u{2028}\\u{2029}\\u{202a}\\u{2068}",
                "\u{2027}\\u2028\\u2029\u{202a}\u{2068}",
            ),
            ("<a|b>", "<a|b>", r"\u{3c}a\u{7c}b\u{3e}", "<a|b>"),
            ("\"q\"", "\"q\"", "\"q\"", r#"\"q\""#),
        ] {
            for (rules, sequence) in [(&MESSAGE, message), (&FIELD, field), (&JSON, json)] {
                assert_eq!(escaped(rules, text), sequence);
                assert_eq!(rules.unescape(sequence), (text.into(), ""));
            }
            assert_eq!(Escaped(text).to_string(), escaped(&SHOWN, text));
        }
    }

    #[test]
    fn bidirectional_controls_are_escaped_outside_messages_and_values() {
        let controls =
            "\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        let others = "\u{200b}\u{200d}\u{2010}\u{2027}\u{202f}\u{2065}\u{206a}\u{feff}";
        for rules in [&MESSAGE, &VALUE, &JSON] {
            assert_eq!(escaped(rules, controls), controls);
        }
        for rules in [&FIELD, &JSON_FIELD, &QUOTED, &WORD, &SHOWN] {
            assert_eq!(escaped(rules, others), others);
            let escaped = escaped(rules, controls);
            assert!(escaped.is_ascii(), "{escaped}");
            assert_eq!(rules.unescape(&escaped), (controls.into(), ""));
        }
    }

    #[test]
    fn every_character_is_escaped_at_every_offset_of_a_block() {
        let pads: Vec<String> = (0..=2 * BLOCK_BYTES).map(|n| "x".repeat(n)).collect();
        for special in (0..=0x100).chain(0x2000..=0x2070).filter_map(char::from_u32) {
            for rules in [&MESSAGE, &FIELD, &VALUE, &JSON, &JSON_FIELD, &QUOTED, &WORD, &SHOWN] {
                for pad in &pads {
                    let text = format!("{pad}{special}{pad}");
                    let sequence = escaped(rules, &text);
                    assert!(
                        sequence.bytes().all(|b| b >= 0x20 && b != 0x7f || b == rules.kept),
                        "{special:?}"
                    );
                    assert_eq!(rules.skip(&sequence), "");
                    assert_eq!(rules.escaped_len(&text), sequence.len());
                    assert_eq!(rules.unescape(&sequence), (text.into(), ""));
                }
            }
        }
    }

    #[test]
    fn other_spellings_are_not_unescaped() {
        for wrong in [
            "\\",
            "\\x",
            "\\t",
            "\\u",
            "\\u{",
            "\\u{}",
            "\\u{41}",
            "\\u{00}",
            "\\u{1B}",
            "\\u{+1}",
            "\\u{a}",
            "\\u{5c}",
            "\\u{7c}",
            "\\u{d800}",
            "\\u{110000}",
            "\\u{fffffffff}",
            "\\é",
            "\n",
            "\u{85}",
            "\u{2028}",
            "\\\"",
            "\\u001b",
        ] {
            assert_eq!(MESSAGE.unescape(wrong), ("".into(), wrong));
        }
        for wrong in
            ["\"", "\\/", "\\b", "\\u", "\\u00", "\\u00é", "\\u000a", "\\u001B", "\\u+01b", "\\ud800", "\t"]
        {
            assert_eq!(JSON.unescape(wrong), ("".into(), wrong));
        }
        assert_eq!(FIELD.unescape("a|b"), ("a".into(), "|b"));
        assert_eq!(escaped(&VALUE, "a \"b\"\t\n\\"), r#"a \"b\"	\n\\"#);
        assert_eq!(VALUE.unescape(r#"a\u{22}"#), ("a".into(), r"\u{22}"));
        assert_eq!(escaped(&QUOTED, "a \"b\"\t\n"), "a \\u{22}b\\u{22}\t\\n");
        assert_eq!(escaped(&WORD, "a \"b\"\t["), "a\\u{20}\\u{22}b\\u{22}\\u{9}\\u{5b}");
    }
}

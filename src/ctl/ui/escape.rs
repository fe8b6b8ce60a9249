//! Escapes what a terminal would obey: control characters, and the characters that change the order
//! of text.
//!
//! A line of a log may come from any program that can write the file, and a name from any operator.
//! The terminal of root must show such texts and not execute them. A pipe gets the bytes unchanged.

use std::borrow::Cow;

/// Says how a character is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `\r`, `\u{1b}`, and `\x9b` for a byte that is not UTF-8.
    Text,
    /// `\u001b`, so that a JSON text keeps its value.
    Json,
}

/// Returns whether a terminal would obey this character. Line feeds and tabs are harmless.
fn is_obeyed(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // The bidirectional controls.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        character => character.is_control(),
    }
}

/// Returns the text for a terminal.
pub(crate) fn for_terminal(text: &str, style: Style) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match (character, style) {
            (character, _) if !is_obeyed(character) => shown.push(character),
            ('\r', _) => shown.push_str("\\r"),
            (character, Style::Text) => shown.push_str(&format!("\\u{{{:x}}}", u32::from(character))),
            (character, Style::Json) => shown.push_str(&format!("\\u{:04x}", u32::from(character))),
        }
    }
    Cow::Owned(shown)
}

/// Escapes a stream of bytes that comes in pieces.
#[derive(Debug)]
pub(crate) struct Escaper {
    style: Style,
    /// The begin of a character whose end is in the next piece.
    begun: Vec<u8>,
}

impl Escaper {
    pub(crate) const fn new(style: Style) -> Self {
        Self { style, begun: Vec::new() }
    }

    /// Returns the next piece for a terminal. It keeps an unfinished character at the end.
    pub(crate) fn piece(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        let mut shown = String::with_capacity(all.len());
        let mut rest = all.as_slice();
        while !rest.is_empty() {
            let Err(error) = std::str::from_utf8(rest) else { break };
            let (valid, after) = rest.split_at(error.valid_up_to());
            self.show(valid, &mut shown);
            let Some(wrong) = error.error_len() else {
                self.begun = after.to_vec();
                return shown;
            };
            Self::show_bytes(&after[..wrong], &mut shown);
            rest = &after[wrong..];
        }
        self.show(rest, &mut shown);
        shown
    }

    /// Returns the unfinished character at the end of the stream.
    pub(crate) fn end(&mut self) -> String {
        let mut shown = String::new();
        Self::show_bytes(&std::mem::take(&mut self.begun), &mut shown);
        shown
    }

    fn show(&self, valid: &[u8], shown: &mut String) {
        shown.push_str(&for_terminal(std::str::from_utf8(valid).unwrap_or_default(), self.style));
    }

    /// Shows bytes that are not UTF-8. Some terminals obey the bytes 80 to 9F.
    fn show_bytes(bytes: &[u8], shown: &mut String) {
        bytes.iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        for (text, shown) in [
            ("plain é 日本 \u{1f980}\ttab\n", "plain é 日本 \u{1f980}\ttab\n"),
            ("\u{1b}]0;t\u{7}\u{1b}[31m", "\\u{1b}]0;t\\u{7}\\u{1b}[31m"),
            ("a\rb\r\n", "a\\rb\\r\n"),
            ("\u{9b}31m\u{7f}\0", "\\u{9b}31m\\u{7f}\\u{0}"),
            ("\u{202e}evil\u{2066}\u{200f}", "\\u{202e}evil\\u{2066}\\u{200f}"),
        ] {
            assert_eq!(for_terminal(text, Style::Text), shown);
        }
        let json = "{\"a\":\"\u{9b}\u{7f}\u{202e}\"}";
        let shown = for_terminal(json, Style::Json);
        assert_eq!(shown, "{\"a\":\"\\u009b\\u007f\\u202e\"}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&shown), value(json));
        assert_eq!(Escaper::new(Style::Text).piece(b"a\x9b\xffz\xc2"), "a\\x9b\\xffz");
    }

    proptest! {
        #[test]
        fn a_stream_is_escaped_however_it_is_cut(
            text in "[a\u{1b}\r\n\u{9b}é日\u{202e}\u{1f980}]{0,12}",
            raw in prop::collection::vec(any::<u8>(), 0..8),
            cuts in prop::collection::vec(1_usize..5, 0..30),
        ) {
            let bytes = [text.as_bytes(), &raw].concat();
            let mut whole = Escaper::new(Style::Text);
            let expected = whole.piece(&bytes) + &whole.end();
            prop_assert!(!expected.chars().any(is_obeyed));
            if raw.is_empty() {
                prop_assert_eq!(&expected, &for_terminal(&text, Style::Text));
            }
            let (mut cut_up, mut shown, mut rest) = (Escaper::new(Style::Text), String::new(), &bytes[..]);
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                shown += &cut_up.piece(piece);
                rest = behind;
            }
            shown += &cut_up.piece(rest);
            shown += &cut_up.end();
            prop_assert_eq!(shown, expected);
        }
    }
}
